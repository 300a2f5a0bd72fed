"""Whole zones whose epoch keys are elsewhere: in OpenBao Transit, in AWS KMS, and on a PKCS#11 token."""

import io
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import DATASET
from tests.e2e.people import Input
from tests.e2e.world import World, refused, started, until, work_dir
from tests.fakes.key_providers import missing
from tests.fakes.kms_server import REGION, KmsServer, kms_server
from tests.fakes.openbao import OpenBao, openbao
from tests.fakes.softhsm import SoftHsm, softhsm
from vault.keys.provider import KeyClass

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]
KEY, UNREAD = "part-0.parquet", "part-1.parquet"


def on_transit(bao: OpenBao) -> dict[str, str]:
    return {
        "DEMESNE_KEY_PROVIDER": f"vault+{bao.url}/transit?location=de", "DEMESNE_KEY_PROVIDER_CA": str(bao.ca),
        "DEMESNE_KEY_NETWORKS": "127.0.0.0/8",
        "DEMESNE_KEY_CREDENTIAL_RAW": str(bao.approles[KeyClass.RAW]),
        "DEMESNE_KEY_CREDENTIAL_VIEW": str(bao.credentials[KeyClass.VIEW]),
    }  # fmt: skip


def on_token(hsm: SoftHsm) -> dict[str, str]:
    return {
        "DEMESNE_KEY_PROVIDER": f"pkcs11:{hsm.module}?token=demesne&location=de",
        "DEMESNE_KEY_CREDENTIAL_RAW": str(hsm.pins[KeyClass.RAW]),
        "DEMESNE_KEY_CREDENTIAL_VIEW": str(hsm.pins[KeyClass.VIEW]), "SOFTHSM2_CONF": str(hsm.configuration),
    }  # fmt: skip


def in_kms(kms: KmsServer) -> dict[str, str]:
    return {
        "DEMESNE_KEY_PROVIDER": f"awskms://{REGION}?endpoint={kms.url}", "DEMESNE_KEY_NETWORKS": "127.0.0.0/8",
        "DEMESNE_KEY_CREDENTIAL_RAW": str(kms.credentials[KeyClass.RAW]),
        "DEMESNE_KEY_CREDENTIAL_VIEW": str(kms.credentials[KeyClass.VIEW]),
    }  # fmt: skip


@pytest.fixture(scope="module", params=["transit", "kms", "pkcs11"])
def zone(request: pytest.FixtureRequest, made: Input) -> Iterator[tuple[str, World]]:
    if why := missing(request.param):
        pytest.skip(why)
    with ExitStack() as stack:
        directory = stack.enter_context(work_dir(request.param))
        if request.param == "transit":
            extra = on_transit(stack.enter_context(openbao(directory / "bao")))
        elif request.param == "kms":
            extra = in_kms(stack.enter_context(kms_server(directory / "kms")))
        else:
            extra = on_token(softhsm(directory / "hsm"))
        world = stack.enter_context(started(directory, zones=("de",), extra=extra, locations={REGION: "de"}))
        world.ingest(made.directory, DATASET)
        yield request.param, world


def columns(body: bytes) -> dict[str, list[object]]:
    found: dict[str, list[object]] = pq.read_table(io.BytesIO(body)).to_pydict()
    return found


def test_masked_for_the_analyst_raw_for_the_attested_job_and_again_after_the_broker_was_killed(
    zone: tuple[str, World],
) -> None:
    _, world = zone
    for _ in range(2):
        masked = columns(world.s3("analyst").get_object(Bucket=DATASET, Key=KEY)["Body"].read())
        with world.attest(DATASET, run=f"keys-{secrets.token_hex(4)}") as session:
            raw = columns(world.s3(session.credentials).get_object(Bucket=DATASET, Key=KEY)["Body"].read())
        assert set(raw) >= set(masked)
        assert raw != masked
        world.kill("broker")
        world.revive()


def test_keys_lie_in_the_provider_and_not_in_the_state_directory(zone: tuple[str, World]) -> None:
    kind, world = zone
    keys = world.zone_dir() / "keys"
    assert not {"epochs", "credentials"} & {path.name for path in keys.iterdir()}
    ((wrapped,),) = world.catalog("SELECT wrapped FROM key_group WHERE key_class = 'raw' LIMIT 1")
    assert (b"vault:v1:" in wrapped) == (kind == "transit")


def test_zone_tells_where_its_keys_are_and_by_whose_word(zone: tuple[str, World]) -> None:
    kind, world = zone
    strength = {"transit": "network", "kms": "self-reported", "pkcs11": "self-reported"}[kind]
    ((observed,),) = world.catalog("SELECT observed FROM zone WHERE name = 'de'")
    assert observed.count("key-provider") == 2  # raw and view are asked each under its own credential
    assert f'"{strength}"' in observed
    assert world.readiness()[0] == 200


def test_nothing_new_opens_while_the_provider_is_away(zone: tuple[str, World], made: Input) -> None:
    kind, world = zone
    steward = world.s3("steward")
    with _away(kind, world):
        world.kill("broker")  # its cache with it
        found = refused(lambda: world.s3("analyst").get_object(Bucket=DATASET, Key=UNREAD))
        assert (found.status, found.code) == (503, "ServiceUnavailable")
        fresh = refused(lambda: steward.put_object(Bucket=DATASET, Key="new.csv", Body=b"a,b\n1,2\n"))
        assert fresh.status == 503
    world.revive()
    assert until(
        lambda: world.s3("analyst").get_object(Bucket=DATASET, Key=UNREAD)["Body"].read()[:4], 20, "nothing is read"
    ) == b"PAR1"
    assert refused(lambda: steward.head_object(Bucket=DATASET, Key="new.csv")).status == 404


@contextmanager
def _away(kind: str, world: World) -> Iterator[None]:
    """The credential files are gone: for a process that starts, as good as a provider that is."""
    extra = world.zones.options.extra
    moved = [Path(extra[f"DEMESNE_KEY_CREDENTIAL_{name}"]) for name in ("RAW", "VIEW")]
    for path in moved:
        path.rename(path.with_suffix(".away"))
    try:
        yield
    finally:
        for path in moved:
            path.with_suffix(".away").rename(path)
