"""No identity leaves on a masked road, and none is at rest: every byte is looked at, in every dress.

The wire is recorded by a proxy in front of both ports; the disk is read file by file. That the search finds what
it looks for is asserted too: on the raw road, and with a canary planted at every place that is searched.
"""

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb
import httpx2
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from botocore.exceptions import ClientError

import demesne
from tests.e2e.conftest import DATASET
from tests.e2e.people import Input, canaries_of, people
from tests.e2e.world import World, until
from tests.fakes.canary import CanaryScanner
from tests.fakes.wire import Wire

pytestmark = pytest.mark.timeout(240)

NOTES = "notes"
METADATA_CANARY = "Rueckfragen an Wilhelmine Ueberschaer"
KEYS = ("members.csv", "part-0.parquet", "part-1.parquet")
NOTED = ("good.csv", "wide.csv", "cut.parquet", "free.txt")
OBJECTS = [(DATASET, key) for key in KEYS] + [(NOTES, key) for key in NOTED]


@dataclass(frozen=True)
class Recorded:
    """Both ports of zone de behind recorders."""

    world: World
    s3: Wire
    api: Wire

    def client(self, who: Any) -> Any:
        return self.world.s3(who, endpoint=self.s3.endpoint)

    def everything(self) -> list[bytes]:
        return self.s3.everything() + self.api.everything()

    def forget(self) -> None:
        self.s3.forget()
        self.api.forget()


@pytest.fixture(scope="module")
def canaries(made: Input) -> tuple[str, ...]:
    """Identities of `claims`, those only in objects no view can be built of, and one in user metadata."""
    return (*made.canaries, *canaries_of(people(20, seed=99)), METADATA_CANARY)


@pytest.fixture(scope="module")
def scanner(canaries: tuple[str, ...]) -> CanaryScanner:
    return CanaryScanner(canaries)


@pytest.fixture(scope="module")
def unmaskable(world: World) -> None:
    """What goes wrong while masking must not tell either: broken files full of identities, written by a steward."""
    world.make_dataset(NOTES, name="pii.name", email="pii.email", phone="pii.phone")
    members = people(20, seed=99)
    lines = [",".join(str(value) for value in member.values()) for member in members]
    steward = world.s3("steward")
    wide = "\n".join(["name,email,phone", *lines]).encode()
    good = "\n".join(["name,email,phone", *(",".join(list(member.values())[:3]) for member in members)]).encode()
    text = "\n".join(f"{member['name']} {member['iban']}" for member in members).encode()
    cut = b"PAR1" + wide + b"\x10\0\0\0PAR1"
    for key, body in {"good.csv": good, "wide.csv": wide, "cut.parquet": cut, "free.txt": text}.items():
        steward.put_object(Bucket=NOTES, Key=key, Body=body, Metadata={"contact": METADATA_CANARY})
    world.wait_for_views(NOTES)


@pytest.fixture
def recorded(world: World, unmaskable: None) -> Iterator[Recorded]:
    zone = world.zone()
    with Wire(urlsplit(zone.s3_endpoint).port or 0) as s3, Wire(urlsplit(zone.api_endpoint).port or 0) as api:
        yield Recorded(world, s3, api)


def tried(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Refusals are answers too; what they say is on the wire. Bodies are read to their end."""
    with contextlib.suppress(ClientError, demesne.DemesneError):
        answer = call(*arguments, **options)
        if isinstance(answer, dict) and "Body" in answer:
            answer["Body"].read()
        return answer
    return None


def masked_roads(recorded: Recorded, callers: tuple[str, ...] = ("analyst", "steward")) -> None:
    """Everything somebody without an attested session may ask, of both ports, and much that is refused."""
    world = recorded.world
    for who in callers:
        client = recorded.client(who)
        for bucket, key in OBJECTS:
            tried(client.get_object, Bucket=bucket, Key=key)
            tried(client.head_object, Bucket=bucket, Key=key)
            tried(client.get_object, Bucket=bucket, Key=key, Range="bytes=-5000")
            tried(client.get_object, Bucket=bucket, Key=key, Range="bytes=999999999-")
            tried(client.get_object, Bucket=bucket, Key=key, IfMatch='"0"')
        for bucket in (DATASET, NOTES):
            tried(client.list_objects_v2, Bucket=bucket)
            tried(client.list_objects, Bucket=bucket)
            tried(client.list_multipart_uploads, Bucket=bucket)
            tried(client.get_bucket_acl, Bucket=bucket)
        client.list_buckets()
        api_roads(recorded, who)
    keys = world.credentials("analyst")
    filesystem = s3fs.S3FileSystem(
        key=keys.access_key_id, secret=keys.secret_access_key, endpoint_url=recorded.s3.endpoint,
        client_kwargs={"region_name": "de"}, skip_instance_cache=True,
    )  # fmt: skip
    connection = duckdb.connect()
    connection.register_filesystem(filesystem)
    connection.execute(f"select * from read_parquet('s3://{DATASET}/part-*.parquet')").fetchall()
    connection.execute(f"select * from read_csv('s3://{DATASET}/members.csv')").fetchall()
    connection.close()
    raw_refused = replace(keys, secret_access_key=keys.secret_access_key[::-1])
    tried(recorded.client(raw_refused).get_object, Bucket=DATASET, Key=KEYS[0])
    for path in ("/metrics", "/readyz", "/healthz", "/openapi.json", "/v1/decisions"):
        httpx2.get(recorded.api.endpoint + path, trust_env=False)
    httpx2.get(f"{recorded.s3.endpoint}/{DATASET}/{KEYS[0]}", trust_env=False)


def api_roads(recorded: Recorded, who: str) -> None:
    with recorded.world.api(who, endpoint=recorded.api.endpoint) as api:
        tried(api.datasets)
        for name in (DATASET, NOTES):
            tried(api.dataset, name)
            tried(api.views, name)
            tried(api.lineage, dataset=name)
        tried(api.lineage_events)
        for entry in (tried(api.decisions, limit=200) or [])[:5]:
            tried(api.receipt, entry["id"])
        tried(api.doctrine)
        tried(api.checkpoint)
        tried(api.declassify, NOTES, "absent.txt", name="none", reason="to see what it says")


def test_nothing_of_a_person_leaves_on_a_masked_road(recorded: Recorded, scanner: CanaryScanner) -> None:
    masked_roads(recorded, ("analyst",))
    assert scanner.scan(recorded.everything()) == []
    # The steward's HEAD shows the metadata he wrote himself (design 4.2), and nothing else of a person.
    masked_roads(recorded, ("steward",))
    left = recorded.everything()
    own = [body for body in left if METADATA_CANARY.encode() in body]
    assert all(METADATA_CANARY.encode() not in body.replace(b"x-amz-meta-contact: " + METADATA_CANARY.encode(), b"")
               for body in own)  # fmt: skip
    left = [body.replace(METADATA_CANARY.encode(), b"") for body in left]
    assert sum(len(stream) for stream in left) > 100_000  # the roads were really taken
    assert any(body.startswith(b"PAR1") for body in left)
    assert any(body.startswith(b"name,email,phone") for body in left)
    assert sum(stream.count(b"HTTP/1.1 403") for stream in left) >= 5
    assert scanner.scan(left) == []


def test_the_recorder_sees_what_leaves_on_the_raw_road(
    recorded: Recorded, scanner: CanaryScanner, made: Input
) -> None:
    """The same search on the same ports: with masking out of the way it finds people in every body."""
    session = recorded.world.attest(
        DATASET, NOTES, run="canaries", endpoint=recorded.api.endpoint, s3_endpoint=recorded.s3.endpoint
    )
    recorded.forget()
    client = session.boto3()
    for key in KEYS:
        assert client.get_object(Bucket=DATASET, Key=key)["Body"].read() == (made.directory / key).read_bytes()
    noted = client.head_object(Bucket=NOTES, Key="free.txt")
    assert noted["Metadata"] == {"contact": METADATA_CANARY}
    client.close()
    session.close()
    found = scanner.scan(recorded.s3.everything())
    assert len({finding.canary for finding in found}) >= len(made.canaries)
    assert any("page" in finding.place for finding in found)  # compressed pages are opened
    assert any(finding.canary == len(made.canaries) + 100 for finding in found)  # the header


def test_nothing_of_a_person_is_at_rest(world: World, unmaskable: None, scanner: CanaryScanner) -> None:
    """Store, catalog with its journal, ledger, sealed decisions, lineage, logs, temporary files, ready file."""
    for zone in ("de", "fr"):
        names = {path.name for path in world.zone_dir(zone).iterdir()}
        assert {"catalog.sqlite3", "store", "ledger", "decisions", "logs", "tmp"} <= names
    assert scanner.scan(world.work_dir) == []


def test_the_views_were_really_refused_or_built(world: World, unmaskable: None) -> None:
    """The broken files above did reach the decoder: otherwise the scans would prove little."""
    assert "failed" in {view["state"] for view in world.wait_for_views(NOTES)}
    assert all(view["state"] == "ready" for view in world.wait_for_views(DATASET))


@pytest.mark.parametrize("place", ["store", "ledger", "decisions", "logs", "tmp"])
@pytest.mark.parametrize("dress", ["utf-8", "utf-16-le", "hex"])
def test_a_planted_canary_is_found(
    place: str, dress: str, world: World, made: Input, unmaskable: None
) -> None:
    """What the searches above would do if masking or sealing were broken."""
    canary = made.canaries[17]
    planted = world.zone_dir() / place / "planted.bin"
    data = canary.encode().hex().encode() if dress == "hex" else canary.encode(dress)
    planted.write_bytes(b"\0" * 1001 + data + b"\0" * 77)
    try:
        found = CanaryScanner([canary]).scan(world.zone_dir() / place)
    finally:
        planted.unlink()
    assert [Path(finding.place.split(" at ")[0]) for finding in found][:1] == [planted]


def test_a_view_that_let_one_value_through_is_found(world: World, made: Input, scanner: CanaryScanner) -> None:
    """A masked answer, one cell of which is as it was: compressed, dictionary-coded, in one of many pages."""
    got = world.s3("analyst").get_object(Bucket=DATASET, Key="part-0.parquet")["Body"].read()
    table = pq.read_table(io.BytesIO(got))
    emails = table["email"].to_pylist()
    emails[311] = made.emails[311]
    broken = table.set_column(table.schema.get_field_index("email"), "email", pa.array(emails))
    out = io.BytesIO()
    pq.write_table(broken, out, compression="zstd", write_statistics=False)
    assert scanner.scan(got) == []
    assert scanner.scan(out.getvalue())


def test_a_doctrine_that_does_not_mask_is_found(spare: World, doctrine_dir: Path, made: Input) -> None:
    """The whole road with masking broken where it is decided: e-mails are kept. The search must say so."""
    rules = doctrine_dir / "data" / "masking" / "data.json"
    shipped = rules.read_text()
    document = json.loads(shipped)
    document["classes"]["analytics"]["pii.email"] = {"action": "keep", "params": {}}
    before = revisions(spare)
    try:
        rules.write_text(json.dumps(document))
        until(lambda: revisions(spare), 15, "the doctrine was not loaded", lambda now: len(now) == 1 and now != before)
        spare.ingest(made.directory / "part-0.parquet", "leaky")
        with Wire(urlsplit(spare.zone().s3_endpoint).port or 0) as wire:
            client = spare.s3("analyst", endpoint=wire.endpoint)
            client.get_object(Bucket="leaky", Key=KEYS[1])["Body"].read()
            client.close()
            left = wire.everything()
    finally:
        rules.write_text(shipped)
        until(lambda: revisions(spare), 15, "the doctrine is not back", lambda now: now == before)
    assert CanaryScanner(made.emails[:50]).scan(left)
    assert not CanaryScanner(made.canaries[2::5]).scan(left)  # phones are masked as before
    assert CanaryScanner(made.canaries).scan(spare.state_dir) == []  # and at rest it is sealed all the same


def revisions(world: World) -> set[str]:
    """Of all front workers; a connection falls on either."""
    with contextlib.ExitStack() as stack:
        return {stack.enter_context(world.api()).doctrine()["revision"] for _ in range(8)}


def test_what_the_ledger_says_of_a_read_names_no_key(world: World, made: Input) -> None:
    """Object keys and principals are in the ledger as keyed hashes only."""
    head = world.s3("analyst").head_object(Bucket=DATASET, Key=KEYS[0])
    decision = head["ResponseMetadata"]["HTTPHeaders"]["x-demesne-decision"]
    with world.api() as api:
        entry = until(
            lambda: next((e for e in api.decisions(limit=100) if e.get("id") == decision), None), 10,
            "the read is not on record",
        )  # fmt: skip
    assert entry is not None
    assert len(entry["object"]) == 64
    assert KEYS[0] not in str(entry)
    assert "analyst" not in str(entry["principal"])
