"""The store's fault table, from the S3 port down: what a client is told, and what did not change.

A read that fails is an honest 503 with Retry-After, a 500 that names integrity, or a connection that is aborted after
a verified prefix; never a short answer that ends cleanly. A write that fails is not acknowledged and not visible.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.identity.principal import Principal
from tests.fakes.faulty_proxy import FaultyProxy, Toxic
from tests.fakes.gateway_world import GatewayWorld
from tests.fakes.lying_s3 import BUCKET, Answer, Asked, LyingS3, error, lying_s3
from tests.fakes.s3_client import Response
from tests.fakes.s3_port import S3Port
from vault.endpoint.address import parse_networks
from vault.endpoint.pace import Paced
from vault.errors import Unavailable
from vault.store.files import FileStore
from vault.store.minio import MinioStore
from vault.store.s3 import S3Store

MIB = 1 << 20
BIG = os.urandom(3 * MIB + 77)
SMALL = os.urandom(50_000)
READ_SECONDS = 0.3  # of silence, in these tests


class Rig:
    """A zone whose store is a lying server behind a faulty proxy."""

    def __init__(self, directory: Path, server: LyingS3, proxy: FaultyProxy, driver: Any) -> None:
        self.server, self.proxy = server, proxy
        self.world = GatewayWorld(directory, store=driver.connect(
            bucket=BUCKET, endpoint=proxy.endpoint, region="de", access_key="a", secret_key="s", attempts=1,
            networks=parse_networks("127.0.0.0/8"), timeout=READ_SECONDS,
        ))  # fmt: skip
        self.port = S3Port(self.world)
        self.steward = self.world.steward
        self._trainer: Principal | None = None
        assert self.port.put(self.steward, "big", BIG).status == 200
        assert self.port.put(self.steward, "small", SMALL).status == 200

    @property
    def trainer(self) -> Principal:
        """Whoever reads raw rows; attested for this test."""
        return self.world.attested()

    def honest(self) -> None:
        self.server.honest()
        self.proxy.toxic = None

    def stored(self) -> dict[str, bytes]:
        return dict(self.server.objects)

    def rows(self) -> list[Any]:
        return self.world.rows("select * from object_version order by version_id")


@pytest.fixture(scope="module", params=[S3Store, MinioStore], ids=["s3", "minio"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with lying_s3() as server, FaultyProxy(server.port) as proxy:
        rig = Rig(tmp_path_factory.mktemp("rig"), server, proxy, request.param)
        yield rig
        rig.world.close()


@pytest.fixture
def rig(made: Rig) -> Iterator[Rig]:
    """Right before the test, and right after it: a fault leaves nothing behind."""
    made.honest()
    yield made
    made.honest()
    who = made.trainer
    assert made.port.get(who, "small").body == SMALL
    assert made.port.get(who, "big", (MIB, MIB + 10)).body == BIG[MIB : MIB + 10]


def ended_badly(answer: Response, true: bytes) -> str:
    """How a failed answer told so: its status, or "aborted" after a prefix of what is true."""
    assert true.startswith(answer.body) or answer.status >= 400
    if answer.error is not None:
        assert not answer.ended
        return "aborted"
    assert answer.status >= 400, f"{answer.status} and {len(answer.body)} bytes that ended cleanly"
    if answer.status == 503:
        assert int(answer.headers["retry-after"]) >= 1
    return str(answer.status)


Bend = Callable[[Asked, Answer], Answer]


def bodies(bend: Bend, first: int = 0) -> Bend:
    """Applied to ranged GETs that begin at `first` of the stored body or later, and to no manifest."""

    def bent(asked: Asked, answer: Answer) -> Answer:
        at = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        body = asked.what == "GET object" and len(answer.body) > 20_000
        return bend(asked, answer) if body and at >= first else answer

    return bent


LIES: dict[str, tuple[Bend, set[str]]] = {
    "200 with the wrong body": (bodies(lambda q, a: a.but(body=os.urandom(len(a.body)))), {"500"}),
    "wrong body later on": (bodies(lambda q, a: a.but(body=a.body[:-1] + b"!"), MIB), {"aborted"}),
    "bytes of another range": (bodies(lambda q, a: a.but(body=a.body[5:] + a.body[:5])), {"500"}),
    "short body": (bodies(lambda q, a: a.but(cut=len(a.body) // 2)), {"503", "aborted"}),
    "short body, honest length": (bodies(lambda q, a: a.but(body=a.body[:-7])), {"500"}),
    "wrong range": (bodies(lambda q, a: a.but(headers=a.headers | {"content-range": "bytes 1-2/3"})), {"500"}),
    "200 for a range": (bodies(lambda q, a: a.but(status=200, headers={"etag": a.headers["etag"]})), {"500"}),
    "stale version": (bodies(lambda q, a: a.but(headers=a.headers | {"etag": '"older"'})), {"500"}),
    "304": (bodies(lambda q, a: Answer(304)), {"503"}),
    "redirect": (bodies(lambda q, a: Answer(307, {"location": "http://169.254.169.254/"})), {"503"}),
    "other region": (
        bodies(lambda q, a: error(400, "AuthorizationHeaderMalformed", "<Region>us-east-1</Region>")), {"503"}
    ),
    "moved for good": (bodies(lambda q, a: error(301, "PermanentRedirect", location="http://x.example/")), {"503"}),
    "500": (bodies(lambda q, a: error(500, "InternalError")), {"503"}),
    "slow down": (bodies(lambda q, a: error(503, "SlowDown")), {"503"}),
    "forbidden": (bodies(lambda q, a: error(403, "AccessDenied")), {"503"}),
    "lost": (bodies(lambda q, a: error(404, "NoSuchKey")), {"500"}),
    "no answer": (bodies(lambda q, a: a.but(drop=True)), {"503"}),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_a_store_that_lies_is_never_believed(name: str, rig: Rig) -> None:
    bend, expected = LIES[name]
    who, before, rows = rig.trainer, rig.stored(), rig.rows()
    rig.server.bend = bend
    assert ended_badly(rig.port.get(who, "big"), BIG) in expected
    assert (rig.stored(), rig.rows()) == (before, rows)


def test_a_manifest_that_is_another_one_is_a_rollback(rig: Rig) -> None:
    who = rig.trainer
    manifest, other = (
        rig.world.rows(
            "select store_key from manifest_generation where manifest_id = ?", rig.world.version(key).manifest_id
        )[0][0]
        for key in ("small", "big")
    )
    rig.server.bend = lambda q, a: a.but(body=rig.server.objects[other]) if q.key == manifest else a
    answer = rig.port.get(who, "small")
    assert (answer.status, answer.code) in {(500, "InternalError"), (503, "ServiceUnavailable")}
    assert SMALL[:100] not in answer.body


def test_a_partial_list_hides_nothing_from_a_reader(rig: Rig) -> None:
    """What is there is what the catalog says; a store's listing is only ever asked by those who rebuild or sweep."""
    rig.server.bend = lambda q, a: error(500, "InternalError") if q.what == "GET list-type" else a
    listing = rig.port.ask(rig.steward, "GET", "/claims?list-type=2")
    assert listing.status == 200
    assert b"<Key>big</Key>" in listing.body
    assert b"<Key>small</Key>" in listing.body


TOXICS: dict[str, tuple[Toxic, set[str]]] = {
    "latency": (Toxic("latency", seconds=0.005), {"200"}),
    "latency beyond the budget": (Toxic("latency", seconds=3 * READ_SECONDS), {"503"}),
    "down": (Toxic("down"), {"503"}),
    "bandwidth": (Toxic("bandwidth", rate=40 * MIB), {"200"}),
    "slow close": (Toxic("slow_close", seconds=0.2), {"200"}),
    "timeout": (Toxic("timeout"), {"503"}),
    "reset at once": (Toxic("reset_peer", limit=0), {"503"}),
    "reset in the middle": (Toxic("reset_peer", limit=2 * MIB), {"aborted", "503"}),
    "slicer": (Toxic("slicer", limit=16_384, seconds=0), {"200"}),
    "limit data": (Toxic("limit_data", limit=2 * MIB), {"aborted", "503"}),
    "limit data at once": (Toxic("limit_data", limit=10), {"503"}),
    "nothing goes up": (Toxic("timeout", upstream=True), {"503"}),
}


@pytest.mark.parametrize("name", TOXICS)
def test_a_road_that_is_bad_is_told_and_bounded(name: str, rig: Rig) -> None:
    toxic, expected = TOXICS[name]
    who, before, rows = rig.trainer, rig.stored(), rig.rows()
    rig.proxy.toxic = toxic
    began = time.monotonic()
    answer = rig.port.get(who, "big")
    assert time.monotonic() - began < 5
    if expected == {"200"}:
        assert (answer.status, answer.body, answer.ended) == (200, BIG, True)
    else:
        assert ended_badly(answer, BIG) in expected
    assert (rig.stored(), rig.rows()) == (before, rows)


@pytest.mark.parametrize(
    "toxic",
    [
        Toxic("down"), Toxic("timeout"), Toxic("timeout", upstream=True), Toxic("reset_peer", limit=0),
        Toxic("reset_peer", limit=60_000, upstream=True), Toxic("limit_data", limit=0),
        Toxic("limit_data", limit=60_000, upstream=True), Toxic("latency", seconds=3 * READ_SECONDS),
    ],
    ids=lambda toxic: f"{toxic.verb}-{'up' if toxic.upstream else 'down'}-{toxic.limit}",
)  # fmt: skip
def test_a_write_over_a_bad_road_is_not_acknowledged_and_not_visible(toxic: Toxic, rig: Rig) -> None:
    rows = rig.rows()
    old = rig.port.get(rig.trainer, "small").body
    rig.proxy.toxic = toxic
    began = time.monotonic()
    for key in ("new", "small") if toxic.verb == "down" else ("small",):  # a new name, and one that has a version
        answer = rig.port.put(rig.steward, key, os.urandom(200_000))
        assert (answer.status, answer.code) == (503, "ServiceUnavailable")
        assert int(answer.headers["retry-after"]) >= 1
    assert time.monotonic() - began < 10
    rig.proxy.toxic = None
    assert rig.rows() == rows
    assert rig.port.get(rig.trainer, "new").status == 404
    assert rig.port.get(rig.trainer, "small").body == old == SMALL


REFUSALS = {
    "500": error(500, "InternalError"), "507": error(507, "QuotaExceeded"), "503": error(503, "SlowDown"),
    "403": error(403, "AccessDenied"), "redirect": Answer(307, {"location": "http://169.254.169.254/"}),
    "other region": error(400, "AuthorizationHeaderMalformed", "<Region>us-east-1</Region>"),
    "no answer": Answer(drop=True),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
@pytest.mark.parametrize("nth", [1, 2], ids=["body", "manifest"])
def test_a_write_the_store_refuses_is_not_acknowledged(name: str, nth: int, rig: Rig) -> None:
    rows, seen = rig.rows(), 0

    def refuse(asked: Asked) -> Answer | None:
        nonlocal seen
        seen += asked.what == "PUT object"
        return REFUSALS[name] if asked.what == "PUT object" and seen == nth else None

    rig.server.refuse = refuse
    answer = rig.port.put(rig.steward, "new", os.urandom(200_000))
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    rig.honest()
    assert rig.rows() == rows
    assert rig.port.get(rig.trainer, "new").status == 404


def test_a_deletion_the_store_refuses_stays_a_deletion_or_is_not_told(rig: Rig) -> None:
    rig.port.put(rig.steward, "gone", SMALL)
    rig.server.refuse = lambda q: error(500, "InternalError") if q.method == "DELETE" else None
    answer = rig.port.ask(rig.steward, "DELETE", "/claims/gone")
    rig.honest()
    found = rig.port.get(rig.trainer, "gone")
    assert (answer.status, found.status) in {(204, 404), (503, 404), (503, 200)}
    assert found.status == 404 or found.body == SMALL


def test_silence_and_drops_are_both_counted_by_the_pace() -> None:
    class Drops:
        def __init__(self) -> None:
            self.now, self.closed = 0.0, False

        def read1(self, amount: int) -> bytes:
            self.now += 5.0  # less than any timeout of silence
            return b"x"

        def close(self) -> None:
            self.closed = True

    drops = Drops()
    paced = Paced(drops, "store", lambda: drops.now)
    with pytest.raises(Unavailable, match=r"store\.slow"):
        b"".join(paced.read(MIB) for _ in range(100))
    assert drops.closed
    assert drops.now < 30


# --- plain files: the disk itself


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[GatewayWorld, S3Port, Path]]:
    root = tmp_path / "store"
    world = GatewayWorld(tmp_path, store=FileStore.initialise(root, "de"))
    port = S3Port(world)
    assert port.put(world.steward, "small", SMALL).status == 200
    yield world, port, root
    world.close()


def failing(number: int, *, nth: int = 1) -> Callable[..., Any]:
    calls = 0

    def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls >= nth:
                raise OSError(number, os.strerror(number))
            return real(*arguments)

        return call

    return wrap


DISK = {
    "disk full": ("write", errno.ENOSPC, "store.full"), "quota": ("write", errno.EDQUOT, "store.full"),
    "EIO on write": ("write", errno.EIO, "store.io"), "EIO on fsync": ("fsync", errno.EIO, "store.io"),
    "full at fsync": ("fsync", errno.ENOSPC, "store.full"), "read-only": ("open", errno.EROFS, "store.io"),
    "no descriptors": ("open", errno.EMFILE, "store.io"),
}  # fmt: skip


@pytest.mark.parametrize("name", DISK)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_disk_that_does_not_take_it(
    name: str, nth: int, files: tuple[GatewayWorld, S3Port, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, port, root = files
    call, number, rule = DISK[name]
    before = {path for path in root.rglob("*") if path.is_file()}
    rows = world.rows("select * from object_version")
    with monkeypatch.context() as broken:
        broken.setattr(f"vault.store.files.os.{call}", only_in_store(call, failing(number, nth=nth)))
        answer = port.put(world.steward, "new", os.urandom(200_000))
    if answer.status == 200:  # the n-th such call came after the last one of this write
        assert nth > 1
        assert port.get(world.attested(), "new").status == 200
        return
    assert (answer.status, answer.code) == (503, "ServiceUnavailable")
    assert rule in answer.body.decode()
    assert int(answer.headers["retry-after"]) >= 1
    assert world.rows("select * from object_version") == rows
    assert list((root / ".unfinished").iterdir()) == []
    assert before <= {path for path in root.rglob("*") if path.is_file()}
    assert port.get(world.attested(), "new").status == 404
    assert port.get(world.attested(), "small").body == SMALL
    assert port.put(world.steward, "new", SMALL).status == 200


def only_in_store(name: str, wrap: Callable[..., Any]) -> Callable[..., Any]:
    """The module's `os` is everybody's: only calls of the store's own code may fail."""
    import sys

    real = getattr(os, name)
    bad = wrap(real)

    def call(*arguments: Any, **options: Any) -> Any:
        caller = sys._getframe(1).f_code
        mine = caller.co_filename.endswith("vault/store/files.py")
        opens = name != "open" or (len(arguments) > 1 and arguments[1] & os.O_CREAT)
        return bad(*arguments, **options) if mine and opens else real(*arguments, **options)

    return call


def test_bytes_are_on_the_disk_before_their_name_is(
    files: tuple[GatewayWorld, S3Port, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rename that reaches the disk before the data does is an acknowledged object of zeros after a power cut."""
    world, port, root = files
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        done.append("data" if stat.S_ISREG(os.fstat(descriptor).st_mode) else "directory")

    def renamed(self: Path, target: Path) -> Path:
        if root in self.parents:
            done.append("name")
        return rename(self, target)

    monkeypatch.setattr("vault.store.files.os.fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    assert port.put(world.steward, "new", SMALL).status == 200
    names = [at for at, each in enumerate(done) if each == "name"]
    assert len(names) >= 2  # a body and a manifest
    for at in names:
        assert "data" in done[max(0, at - 3) : at]
        assert done[at + 1] == "directory"


def test_eio_on_read_is_503_and_another_object_is_read(
    files: tuple[GatewayWorld, S3Port, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    world, port, _ = files
    port.put(world.steward, "big", BIG)
    who = world.attested()
    with monkeypatch.context() as broken:
        broken.setattr("vault.store.files.os.preadv", only_in_store("preadv", failing(errno.EIO)))
        assert ended_badly(port.get(who, "small"), SMALL) == "503"
    with monkeypatch.context() as broken:
        broken.setattr("vault.store.files.os.preadv", only_in_store("preadv", failing(errno.EIO, nth=4)))
        assert ended_badly(port.get(who, "big"), BIG) in {"aborted", "503"}
    assert port.get(who, "small").body == SMALL
    assert port.get(who, "big").body == BIG


def test_a_store_that_was_unmounted_is_not_an_empty_one(files: tuple[GatewayWorld, S3Port, Path]) -> None:
    world, port, root = files
    root.rename(root.with_name("away"))
    root.mkdir()
    answer = port.get(world.attested(), "small")
    assert answer.status in {500, 503}
    assert port.put(world.steward, "new", SMALL).status == 503
    root.rmdir()
    root.with_name("away").rename(root)
    assert port.get(world.attested(), "small").body == SMALL
