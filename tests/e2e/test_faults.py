"""Processes killed, a full disk, a store that says it moved: refusals while it lasts, nothing half done, recovery.

All on a real zone with two front workers; nothing starts a dead process again before `spare.revive()`.
"""

import contextlib
import http.client
import json
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from gateway.facts import ZONE_CACHE_MS
from gateway.processes.zone import open_catalog, open_store
from gateway.settings import Settings
from lineage.ledger.reader import LedgerReader
from lineage.ledger.verify import verify_directory
from tests.e2e.conftest import DATASET
from tests.e2e.people import Input
from tests.e2e.world import Answer, World, refused, until
from vault.broker.client import BrokerClient
from vault.keys.signing import verify_signature
from vault.objects import Vault

pytestmark = pytest.mark.timeout(180)

MIB = 1 << 20
KEY = "part-0.parquet"
WEEK_MS = 8 * 86_400_000


@pytest.fixture
def bucket(spare: World, request: pytest.FixtureRequest) -> str:
    """An open bucket of the test's own."""
    name = request.node.name.split("[")[0].replace("_", "-")[:40].rstrip("-") + f"-{time.monotonic_ns() % 10_000}"
    spare.s3("steward").create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "de"})
    return str(name)


def settings_of(world: World) -> Settings:
    return Settings.model_validate({"zone": "de", "jurisdiction": "de", "state_dir": world.state_dir})


def read(world: World, who: Any = "analyst") -> bytes:
    body: bytes = world.s3(who).get_object(Bucket=DATASET, Key=KEY)["Body"].read()
    return body


def keys_of(world: World, bucket: str) -> list[str]:
    return [entry["Key"] for entry in world.s3("analyst").list_objects_v2(Bucket=bucket).get("Contents", [])]


def store_files(world: World) -> set[str]:
    store = world.zone_dir() / "store"
    return {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file() and path.name[0] != "."}


def unfinished(world: World) -> list[Path]:
    return list((world.zone_dir() / "store" / ".unfinished").iterdir())


def sweep_as_a_week_later(world: World) -> None:
    """What the sweeper of the jobs process does, with its clock moved on: nothing of today is in use then."""
    settings = settings_of(world)
    with BrokerClient(settings.broker_socket) as broker:
        catalog = open_catalog(settings, broker.hello().catalog_mac_key)
        try:
            vault = Vault(open_store(settings), catalog, broker, "de", lambda: time.time_ns() // 1_000_000 + WEEK_MS)
            while vault.sweep() == 100:
                pass
        finally:
            catalog.close()


def nothing_is_orphaned(world: World) -> None:
    """After the sweeper every file of the store is named by the catalog, and nothing is half written."""
    sweep_as_a_week_later(world)
    assert unfinished(world) == []
    named = {row[0] for row in world.catalog("select store_key from body")}
    named |= {row[0] for row in world.catalog("select store_key from manifest_generation")}
    named |= {row[0] for row in world.catalog("select name from store_record")}
    assert store_files(world) <= named
    assert world.catalog("select count(*) from upload where completed is null and state = 'open'") == [(0,)]


def fronts(world: World) -> list[Any]:
    return [child for child in world.zone().children if child.role.startswith("front")]


def worker_writing(world: World) -> Any:
    """The front worker that has an unfinished body open, once there is one."""

    def look() -> Any:
        for child in fronts(world):
            folder = Path(f"/proc/{child.process.pid}/fd")
            for descriptor in folder.iterdir():
                with contextlib.suppress(OSError):
                    if ".unfinished" in str(descriptor.readlink()):
                        return child
        return None

    return until(look, 10, "nobody writes")


class HalfSent:
    """A request with a body of `length` bytes of which only `sent` are sent before the test goes on."""

    def __init__(self, url: str, length: int, sent: int) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=20)
        self._connection.putrequest("PUT", f"{parts.path}?{parts.query}")
        self._connection.putheader("Content-Length", str(length))
        self._connection.endheaders()
        self._connection.send(os.urandom(sent))

    def __enter__(self) -> "HalfSent":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def is_cut_off(self) -> None:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            self._connection.getresponse()


def killed(child: Any) -> None:
    child.process.kill()
    child.process.wait(10)


# --- a front worker dies in the middle of a write -------------------------------------------------------------------


def test_a_worker_killed_in_the_middle_of_a_put_leaves_nothing_visible(spare: World, bucket: str) -> None:
    steward, analyst = spare.s3("steward"), spare.s3("analyst")
    steward.put_object(Bucket=bucket, Key="kept", Body=b"before")
    url = steward.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "torn"})
    with HalfSent(url, 8 * MIB, 5 * MIB) as half:
        killed(worker_writing(spare))
        half.is_cut_off()
    # Another client of the zone is unharmed: the second worker answers before the first is there again.
    assert answered(analyst.get_object, Bucket=bucket, Key="kept")["Body"].read() == b"before"
    assert keys_of(spare, bucket) == ["kept"]
    spare.revive()
    assert refused(lambda: steward.head_object(Bucket=bucket, Key="torn")).status == 404
    assert unfinished(spare)  # what it leaves is the sweeper's
    nothing_is_orphaned(spare)
    steward.put_object(Bucket=bucket, Key="torn", Body=b"again")
    assert analyst.get_object(Bucket=bucket, Key="torn")["Body"].read() == b"again"


def test_a_put_that_was_killed_over_an_object_leaves_the_object_as_it_was(spare: World, bucket: str) -> None:
    steward = spare.s3("steward")
    steward.put_object(Bucket=bucket, Key="same", Body=b"old")
    url = steward.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "same"})
    with HalfSent(url, 8 * MIB, 5 * MIB) as half:
        killed(worker_writing(spare))
        half.is_cut_off()
    spare.revive()
    assert spare.s3("analyst").get_object(Bucket=bucket, Key="same")["Body"].read() == b"old"
    nothing_is_orphaned(spare)
    assert spare.s3("analyst").get_object(Bucket=bucket, Key="same")["Body"].read() == b"old"


def test_a_worker_killed_in_the_middle_of_a_part(spare: World, bucket: str) -> None:
    """The part before it stays, the upload can be finished, and one that never is goes away."""
    steward, analyst = spare.s3("steward"), spare.s3("analyst")
    first, second = os.urandom(5 * MIB), os.urandom(MIB)
    upload = steward.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    given_up = steward.create_multipart_upload(Bucket=bucket, Key="given-up")["UploadId"]
    steward.upload_part(Bucket=bucket, Key="given-up", UploadId=given_up, PartNumber=1, Body=second)
    named = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    one = steward.upload_part(**named, PartNumber=1, Body=first)["ETag"]
    url = steward.generate_presigned_url("upload_part", Params={**named, "PartNumber": 2})
    with HalfSent(url, 6 * MIB, 3 * MIB) as half:
        killed(worker_writing(spare))
        half.is_cut_off()
    spare.revive()
    assert keys_of(spare, bucket) == []
    assert [part["PartNumber"] for part in steward.list_parts(**named)["Parts"]] == [1]
    two = steward.upload_part(**named, PartNumber=2, Body=second)["ETag"]
    parts = [{"PartNumber": 1, "ETag": one}, {"PartNumber": 2, "ETag": two}]
    steward.complete_multipart_upload(**named, MultipartUpload={"Parts": parts})
    nothing_is_orphaned(spare)
    assert keys_of(spare, bucket) == ["parts"]
    assert analyst.get_object(Bucket=bucket, Key="parts")["Body"].read() == first + second


def answered(call: Callable[..., Any], **options: Any) -> Any:
    """`call` once a connection that died with its worker has been replaced."""
    end = time.monotonic() + 5
    while True:
        try:
            return call(**options)
        except (BotoCoreError, ClientError):
            assert time.monotonic() < end
            time.sleep(0.1)


# --- a full disk ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def full_store(world: World, how: str) -> Iterator[None]:
    """The store's disk is filled up; where the user may not mount one, the workers may not write longer files."""
    store = world.zone_dir() / "store"
    if how == "disk" and os.path.ismount(store):
        filler = store / ".filler"
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(store).free - 2 * MIB)
        try:
            yield
        finally:
            filler.unlink()
        return
    with limited(fronts(world), 6 * MIB):
        yield


@contextlib.contextmanager
def limited(children: list[Any], size: int) -> Iterator[None]:
    """No file of these processes can grow beyond `size` bytes: a write fails as on a full disk."""
    for child in children:
        resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        for child in children:
            if child.running:
                free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, free)


@pytest.mark.parametrize("how", ["disk", "limit"])
def test_a_full_disk_refuses_the_write_and_shows_nothing(how: str, spare: World, bucket: str) -> None:
    steward, analyst = spare.s3("steward"), spare.s3("analyst")
    steward.put_object(Bucket=bucket, Key="kept", Body=b"before")
    before = store_files(spare)
    with full_store(spare, how):
        refusal = refused(lambda: steward.put_object(Bucket=bucket, Key="large", Body=os.urandom(12 * MIB)))
        assert refusal.status in {500, 503, 507}
        assert "store.full" in refusal.message
        assert keys_of(spare, bucket) == ["kept"]
        assert analyst.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"before"  # reads go on
        assert unfinished(spare) == []  # and the disk is not fuller than before
        upload = steward.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
        part = refused(
            lambda: steward.upload_part(
                Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=os.urandom(12 * MIB)
            )
        )
        assert part.status in {500, 503, 507}
        assert "Parts" not in steward.list_parts(Bucket=bucket, Key="parts", UploadId=upload)
    assert store_files(spare) == before
    steward.put_object(Bucket=bucket, Key="large", Body=b"x" * MIB)
    assert keys_of(spare, bucket) == ["kept", "large"]
    nothing_is_orphaned(spare)


def test_no_room_for_the_catalog_is_503_and_nothing_happened(spare: World, bucket: str) -> None:
    steward, analyst = spare.s3("steward"), spare.s3("analyst")
    steward.put_object(Bucket=bucket, Key="kept", Body=b"before")
    with limited(fronts(spare), 1):
        calls = {
            "get": lambda: analyst.get_object(Bucket=bucket, Key="kept"),
            "put": lambda: steward.put_object(Bucket=bucket, Key="new", Body=b"x"),
            "delete": lambda: steward.delete_object(Bucket=bucket, Key="kept"),
            "begin": lambda: steward.create_multipart_upload(Bucket=bucket, Key="new"),
        }
        assert {name: refused(call).status for name, call in calls.items()} == dict.fromkeys(calls, 503)
    assert keys_of(spare, bucket) == ["kept"]
    assert analyst.get_object(Bucket=bucket, Key="kept")["Body"].read() == b"before"
    nothing_is_orphaned(spare)


def test_no_room_for_the_ledger_is_no_data(spare: World) -> None:
    """Without a durable record nothing is answered; with room again everything goes on and nothing is lost."""
    spare.s3("analyst").head_object(Bucket=DATASET, Key=KEY)
    with limited([spare.child("jobs")], 1):
        until(lambda: outcome(read, spare), 10, "reads go on without a record", is_503)
    until(lambda: revived(spare), 20, "reads do not recover", lambda answer: answer is None)
    assert ledger_report(spare).verified


# --- the sequencer --------------------------------------------------------------------------------------------------


def outcome(call: Callable[..., Any], *arguments: Any) -> Answer | None:
    """None when answered, else the refusal."""
    with contextlib.suppress(AssertionError):
        return refused(call, *arguments)
    return None


def revived(world: World) -> Answer | None:
    """What a read says after what died was started again."""
    world.revive()
    return outcome(read, world)


def is_503(answer: Answer | None) -> bool:
    return answer is not None and answer.status == 503


def ledger_report(world: World) -> Any:
    with world.api() as api:
        key = bytes.fromhex(api.request("GET", "/v1/ledger/key")["public_key"])
    return verify_directory(world.zone_dir() / "ledger", key, verify_signature, zone="de")


def test_without_the_sequencer_nothing_is_answered_and_no_acknowledged_record_is_lost(
    spare: World, bucket: str
) -> None:
    analyst, steward = spare.s3("analyst"), spare.s3("steward")
    acknowledged = []
    for _ in range(20):
        head = analyst.head_object(Bucket=DATASET, Key=KEY)
        acknowledged.append(head["ResponseMetadata"]["HTTPHeaders"]["x-demesne-decision"])
    spare.kill("jobs")
    refusals = [refused(lambda: read(spare)), refused(lambda: analyst.list_objects_v2(Bucket=DATASET)),
                refused(lambda: steward.put_object(Bucket=bucket, Key="unrecorded", Body=b"x"))]  # fmt: skip
    assert {refusal.status for refusal in refusals} == {503}
    assert "ledger.unavailable" in refusals[0].message
    status, ready = spare.readiness()
    assert (status, ready["ledger"]["state"]) == (503, "no answer")
    spare.revive()
    read(spare)
    assert keys_of(spare, bucket) == []
    reader = LedgerReader(spare.zone_dir() / "ledger")
    assert all(reader.find(decision) >= 0 for decision in acknowledged)
    report = ledger_report(spare)
    assert report.verified, report.problems
    told = spare.run("ledger", "verify", "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["verified"] is True


# --- the broker -----------------------------------------------------------------------------------------------------


def test_without_the_broker_no_key_opens_anything(spare: World, bucket: str, made: Input) -> None:
    analyst = spare.s3("analyst")
    session = spare.attest(DATASET, run="broker-gone")
    raw = read(spare, session.credentials)
    assert raw == (made.directory / KEY).read_bytes()
    masked = read(spare)
    spare.s3("steward").put_object(Bucket=bucket, Key="unread", Body=b"x")
    spare.kill("broker")
    try:
        # Keys that the workers had are used for at most 60 s; whatever else there is stays shut.
        for who in (analyst, spare.s3(session.credentials)):
            refusal = refused(who.get_object, Bucket=DATASET, Key="part-1.parquet")
            assert refusal.status == 503
        refusal = refused(lambda: analyst.get_object(Bucket=bucket, Key="unread"))
        assert refusal.status == 503
        refusal = refused(lambda: spare.s3("steward").put_object(Bucket=bucket, Key="unsealed", Body=b"x"))
        assert refusal.status == 503
        assert analyst.list_objects_v2(Bucket=DATASET)["KeyCount"] == 3  # needs no key
        status, ready = spare.readiness()
        assert (status, ready["broker"]["state"]) == (503, "no answer")
    finally:
        spare.revive()
    assert read(spare) == masked
    assert read(spare, session.credentials) == raw
    assert keys_of(spare, bucket) == ["unread"]
    session.close()


def test_a_killed_sequencer_does_not_close_the_zone_for_longer_than_its_restart(spare: World) -> None:
    """What was observed of the zone stays good until the next process observes: its predecessor's lease ends first."""
    spare.kill("jobs")
    spare.revive()
    end = time.monotonic() + 12  # three intervals of 3 s, and one more
    while time.monotonic() < end:
        spare.s3("analyst").head_object(Bucket=DATASET, Key=KEY)
        assert spare.readiness()[0] == 200
        time.sleep(0.5)


def test_without_the_builder_views_wait_and_are_built_later(spare: World, made: Input) -> None:
    spare.kill("builder")
    spare.s3("steward").upload_file(str(made.directory / KEY), DATASET, "late.parquet")
    waiting = refused(lambda: spare.s3("analyst").get_object(Bucket=DATASET, Key="late.parquet"))
    assert (waiting.status, waiting.code) == (503, "SlowDown")
    assert "view.building" in waiting.message
    spare.revive()
    spare.wait_for_views(DATASET)
    body = spare.s3("analyst").get_object(Bucket=DATASET, Key="late.parquet")["Body"].read()
    assert body[:4] == b"PAR1"
    assert made.emails[0].encode() not in body
    spare.s3("steward").delete_object(Bucket=DATASET, Key="late.parquet")


# --- where the zone lies, and what lies in it -----------------------------------------------------------------------


def all_workers_say(world: World, status: int) -> dict[str, Any]:
    """/readyz once eight connections, which fall on either front worker, are answered `status`.

    They may all have fallen on one: the other keeps what it knew of the zone for a moment more.
    """
    answers = until(
        lambda: [world.readiness() for _ in range(8)], 12, f"/readyz is not {status} everywhere",
        lambda found: all(each[0] == status for each in found),
    )  # fmt: skip
    return answers[0][1]


@pytest.mark.parametrize("drift", ["elsewhere", "gone"])
def test_a_store_that_says_it_moved_closes_the_zone_until_it_is_back(drift: str, spare: World, bucket: str) -> None:
    marker = spare.zone_dir() / "store" / ".location.json"
    true = marker.read_text()
    session = spare.attest(DATASET, run=f"drift-{drift}")
    read(spare, session.credentials)
    try:
        if drift == "gone":
            marker.unlink()
        else:
            marker.write_text(json.dumps({"format": 1, "observed": "fr"}))
        ready = all_workers_say(spare, 503)
        assert ready["zone"]["state"] == "closed"
        assert ready["zone"]["reason"].startswith("store."), (ready, spare.log("jobs")[-1500:])
        for who in ("analyst", session.credentials):
            refusal = until(lambda w=who: outcome(read, spare, w), 10, "read", is_503)  # type: ignore[misc]
            assert refusal is not None
            assert "residency.zone-closed" in refusal.message
        write = refused(lambda: spare.s3("steward").put_object(Bucket=bucket, Key="drifted", Body=b"x"))
        assert write.status == 503
    finally:
        marker.write_text(true)
    all_workers_say(spare, 200)
    time.sleep(ZONE_CACHE_MS / 1000)  # until no worker remembers the closed zone: the next test needs both open
    read(spare)
    read(spare, session.credentials)
    session.close()
    with spare.api() as api:
        states = [entry["state"] for entry in api.decisions(limit=1000) if entry["type"] == "residency"]
    assert states[:2] == ["open", "closed"]  # newest first


def test_a_lost_body_is_an_error_and_not_an_absent_object(spare: World, bucket: str) -> None:
    """A client that is told "no such key" believes that it was deleted; a sync would delete its copy too."""
    spare.s3("steward").put_object(Bucket=bucket, Key="lost", Body=b"x" * 100_000)
    rows = spare.catalog(
        "select b.store_key from body b join object_version v on b.subject = v.version_id where v.key = 'lost'"
    )
    for (store_key,) in rows:
        (spare.zone_dir() / "store" / store_key).unlink()
    analyst = spare.s3("analyst")
    refusal = refused(lambda: analyst.get_object(Bucket=bucket, Key="lost"))
    assert refusal.status == 500
    assert "integrity." in refusal.message
    spare.s3("steward").delete_object(Bucket=bucket, Key="lost")
