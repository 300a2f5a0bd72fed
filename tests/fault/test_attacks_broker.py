"""A front worker that was taken over: it has the catalog, the broker's front socket, and no attested session."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.s3.ports import CompletedPart
from tests.fakes.gateway_world import CSV, GatewayWorld
from vault.broker.methods import Role, call
from vault.broker.protocol import encode_bytes
from vault.errors import Malformed, Refused, VaultError


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def upload(world: GatewayWorld, *, finish: str) -> str:
    """The id of a steward's multipart upload of raw rows, completed or aborted."""
    front, ref = world.front, world.ref("parts.csv")
    upload_id = world.run(front.create_upload(world.steward, ref, "text/csv", {}, "req"))

    async def part() -> str:
        async with front.open_part(world.steward, ref, upload_id, 1, "req") as opened:
            await opened.write(CSV)
            return (await opened.commit()).etag

    etag = world.run(part())
    if finish == "complete":
        world.run(front.complete_upload(world.steward, ref, upload_id, [CompletedPart(1, etag)], None, "req"))
    else:
        world.run(front.abort_upload(world.steward, ref, upload_id, "req"))
    return upload_id


@pytest.mark.parametrize("finish", ["complete", "abort"])
def test_an_upload_set_to_open_again_opens_no_raw_key(world: GatewayWorld, finish: str) -> None:
    upload_id = upload(world, finish=finish)
    world.sql("update upload set state = 'open' where upload_id = ?", upload_id)
    row = world.catalog.find_upload(world.dataset.dataset_id, upload_id)
    assert row is not None
    scope = {"tenant": "main", "zone": "de", "dataset_id": row.dataset_id, "key_class": "raw"}
    opened = world.raw_opened()
    with pytest.raises((Refused, Malformed)):
        call(world.broker, Role.FRONT, "unwrap_upload", {
            "scope": scope, "subject": row.version_id, "upload_id": upload_id,
            "upload_wrapped": encode_bytes(row.upload_wrapped),
        })  # fmt: skip
    assert world.raw_opened() == opened


def test_a_repeated_complete_answers_as_before(world: GatewayWorld) -> None:
    upload_id = upload(world, finish="complete")
    row = world.catalog.find_upload(world.dataset.dataset_id, upload_id)
    assert row is not None
    assert row.completed is not None
    ref, same = world.ref("parts.csv"), [CompletedPart(1, hashlib.md5(CSV).hexdigest())]
    again = world.run(world.front.complete_upload(world.steward, ref, upload_id, same, None, "req"))
    assert again.etag == row.completed["etag"]
    other = world.front.complete_upload(world.steward, ref, upload_id, [CompletedPart(1, "anything")], None, "req")
    assert world.refused(other).code == "NoSuchUpload"


@pytest.mark.parametrize("method", ["builder_unwrap", "pseudonym_key", "record_refusal", "_seal", "__init__"])
def test_the_front_socket_has_no_method_of_the_builders(world: GatewayWorld, method: str) -> None:
    with pytest.raises(VaultError, match=r"broker\.method|not offered"):
        call(world.broker, Role.FRONT, method, {})
