"""Everything that can be done to a stored body and to a stored manifest, through the vault's reader and the S3 port.

Bodies: 30 variants × 5 sizes, each read whole and by four ranges. A read ends in the right bytes (where what was
changed lies outside of what is read), or in a failure after a right prefix; never in a shorter answer that ends well.
Manifests: every field, header and document, by whoever has the store, the database, or even another key.
"""

import base64
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from tests.fakes.gateway_world import GatewayWorld
from tests.fakes.key_holder import grant
from tests.fakes.s3_port import S3Port
from tests.fakes.vault_world import VaultWorld
from tests.vectors.pieces import stream as fixed
from tests.vectors.salamander import one_chunk_two_keys
from vault.catalog.rows import VersionRow
from vault.envelope.body import BodySealer
from vault.envelope.context import BodyContext, ManifestContext
from vault.envelope.derive import body_key, manifest_key
from vault.envelope.manifest import Manifest, open_manifest, read_header
from vault.envelope.suite import CHUNK, HEADER, SALT, SEALED_CHUNK, TAG
from vault.errors import Malformed, Refused, VaultError

SIZES = [3 * CHUNK + 1, 4 * CHUNK, 5 * CHUNK - 1, 64 * CHUNK + 1, 130 * CHUNK + 777]
"""One byte in the last chunk; an empty last chunk; a last chunk as full as it may be; beyond one and two slabs."""
Everything = None  # all chunks


class Body:
    """A genuine body in its chunks, with an older write of the same key, and one of another object, beside it."""

    def __init__(self, data: bytes, older: bytes, other: bytes) -> None:
        self.data, self.older, self.other = data, older, other
        self.count = (len(data) - HEADER + SEALED_CHUNK - 1) // SEALED_CHUNK

    def chunk(self, number: int, data: bytes | None = None) -> bytes:
        body = self.data if data is None else data
        number %= self.count
        return body[HEADER + number * SEALED_CHUNK : HEADER + (number + 1) * SEALED_CHUNK]

    def chunks(self) -> list[bytes]:
        return [self.chunk(number) for number in range(self.count)]

    def made(self, chunks: list[bytes], head: bytes | None = None) -> bytes:
        return (self.data[:HEADER] if head is None else head) + b"".join(chunks)

    def with_chunk(self, number: int, chunk: bytes) -> bytes:
        chunks = self.chunks()
        chunks[number] = chunk
        return self.made(chunks)

    def flipped(self, at: int) -> bytes:
        changed = bytearray(self.data)
        changed[at] ^= 0x40
        return bytes(changed)


Touched = Callable[[Body], set[int] | None]
Change = Callable[[Body], bytes]
LAST: Touched = lambda b: {b.count - 1}  # noqa: E731
ALL: Touched = lambda b: Everything  # noqa: E731


def swap(body: Body, one: int, two: int) -> bytes:
    chunks = body.chunks()
    chunks[one], chunks[two] = chunks[two], chunks[one]
    return body.made(chunks)


VARIANTS: dict[str, tuple[Change, Touched]] = {
    "flip salt": (lambda b: b.flipped(0), ALL),
    "flip last byte of salt": (lambda b: b.flipped(SALT - 1), ALL),
    "flip commitment": (lambda b: b.flipped(SALT), ALL),
    "flip last byte of commitment": (lambda b: b.flipped(HEADER - 1), ALL),
    "flip first chunk": (lambda b: b.flipped(HEADER), lambda b: {0}),
    "flip first tag": (lambda b: b.flipped(HEADER + CHUNK), lambda b: {0}),
    "flip middle chunk": (lambda b: b.flipped(HEADER + SEALED_CHUNK + 7), lambda b: {1}),
    "flip middle tag": (lambda b: b.flipped(HEADER + 2 * SEALED_CHUNK - 1), lambda b: {1}),
    "flip last tag": (lambda b: b.flipped(len(b.data) - 1), LAST),
    "zero a chunk": (lambda b: b.with_chunk(1, bytes(SEALED_CHUNK)), lambda b: {1}),
    "swap first two": (lambda b: swap(b, 0, 1), lambda b: {0, 1}),
    "swap first and third": (lambda b: swap(b, 0, 2), lambda b: {0, 2}),
    "rotate": (
        lambda b: b.made([*b.chunks()[1:-1], b.chunks()[0], b.chunks()[-1]]), lambda b: set(range(b.count - 1))
    ),
    "repeat first in place of second": (lambda b: b.with_chunk(1, b.chunk(0)), lambda b: {1}),
    "older write's first chunk": (lambda b: b.with_chunk(0, b.chunk(0, b.older)), lambda b: {0}),
    "older write's last chunk": (lambda b: b.with_chunk(-1, b.chunk(-1, b.older)), LAST),
    "another object's chunk": (lambda b: b.with_chunk(1, b.chunk(1, b.other)), lambda b: {1}),
    "header of the older write": (lambda b: b.made(b.chunks(), b.older[:HEADER]), ALL),
    "header of another object": (lambda b: b.made(b.chunks(), b.other[:HEADER]), ALL),
    "the older write": (lambda b: b.older, ALL),
    "another object": (lambda b: b.other, ALL),
    "drop first": (lambda b: b.made(b.chunks()[1:]), ALL),
    "drop middle": (lambda b: b.made([b.chunks()[0], *b.chunks()[2:]]), ALL),
    "drop last": (lambda b: b.made(b.chunks()[:-1]), ALL),
    "cut on the first edge": (lambda b: b.made(b.chunks()[:1]), ALL),
    "cut in the last chunk": (lambda b: b.data[:-1], ALL),
    "cut in a chunk": (lambda b: b.data[: HEADER + SEALED_CHUNK + 500], ALL),
    "cut to the header": (lambda b: b.data[:HEADER], ALL),
    "cut in the header": (lambda b: b.data[: HEADER - 1], ALL),
    "nothing": (lambda b: b"", ALL),
    "a byte more": (lambda b: b.data + b"\0", ALL),
    "the last chunk twice": (lambda b: b.data + b.chunk(-1), ALL),
    "a full chunk before the last": (lambda b: b.made([*b.chunks()[:-1], b.chunk(0), b.chunk(-1)]), ALL),
}  # fmt: skip


def ranges(size: int) -> dict[str, tuple[int, int]]:
    return {
        "whole": (0, size), "first chunk": (0, CHUNK), "middle chunk": (CHUNK, 2 * CHUNK),
        "last chunk": ((size - 1) // CHUNK * CHUNK, size), "early": (10, 20),
    }  # fmt: skip


@pytest.fixture(scope="module")
def vaults(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[VaultWorld, VersionRow, bytes, str, Body]]:
    made = {}
    for size in SIZES:
        world = VaultWorld(tmp_path_factory.mktemp(f"vault-{size}"))
        plain = os.urandom(size)
        found = {}
        for name, key in (("older", "k"), ("other", "o"), ("data", "k")):
            before = set(world.memory.objects)
            row = world.put(key, plain if name == "data" else os.urandom(size))
            (stored,) = [each for each in set(world.memory.objects) - before if each.startswith("b/")]
            found[name] = world.memory.objects[stored]
        made[size] = (world, row, plain, stored, Body(**found))
    return made


def read(world: VaultWorld, row: VersionRow, span: tuple[int, int]) -> tuple[bytes, VaultError | None]:
    """What left before the end or the failure."""
    got = bytearray()
    try:
        reader = world.vault.open(row, row.key, grant())
        try:
            for piece in reader.stream(*span):
                got += piece
        finally:
            reader.close()
    except VaultError as error:
        return bytes(got), error
    return bytes(got), None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", VARIANTS)
def test_a_changed_body_is_never_an_answer(
    name: str, size: int, vaults: dict[int, tuple[VaultWorld, VersionRow, bytes, str, Body]]
) -> None:
    world, row, plain, stored, body = vaults[size]
    change, touches = VARIANTS[name]
    changed, touched = change(body), touches(body)
    assert changed != body.data
    world.memory.objects[stored] = changed
    try:
        for what, (start, stop) in ranges(size).items():
            got, failure = read(world, row, (start, stop))
            asked = set(range(start // CHUNK, (stop - 1) // CHUNK + 1))
            if what == "whole" and start == 0:
                asked.add(body.count - 1)
            assert plain[start:stop].startswith(got)
            if touched is Everything or asked & touched:
                # An empty last chunk holds no byte of a whole read: what it proves, the manifest's length has proven.
                if failure is None and touched == {body.count - 1} and size % CHUNK == 0:
                    assert got == plain[start:stop]
                    continue
                assert isinstance(failure, Malformed), what
                assert failure.reason in {"tag", "truncated", "length", "commitment", "store.short"}
                assert len(got) < stop - start or stop == start
                if touched is Everything:
                    assert got == b""
            else:
                assert failure is None
                assert got == plain[start:stop]
    finally:
        world.memory.objects[stored] = body.data
    assert read(world, row, (0, size)) == (plain, None)


def test_how_many_there_are() -> None:
    print({"variants": len(VARIANTS), "sizes": len(SIZES), "reads": len(VARIANTS) * len(SIZES) * 5})
    assert len(VARIANTS) >= 30
    assert len(MANIFEST) + len(HEADER_FIELDS) + len(ROWS) >= 40


# --- the same at the S3 port: a connection that is cut, never one that ends well


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Port, GatewayWorld, bytes, str, Body]]:
    world = GatewayWorld(tmp_path_factory.mktemp("port"))
    served = S3Port(world)
    plain, found = os.urandom(SIZES[-1]), {}
    for name, key in (("older", "k"), ("other", "o"), ("data", "k")):
        before = set(world.store.objects)
        data = plain if name == "data" else os.urandom(len(plain))
        assert served.put(world.steward, key, data).status == 200
        (stored,) = [each for each in set(world.store.objects) - before if each.startswith("b/")]
        found[name] = world.store.objects[stored]
    yield served, world, plain, stored, Body(**found)
    world.close()


@pytest.mark.parametrize("name", VARIANTS)
def test_at_the_port_a_changed_body_is_an_error_or_a_cut_connection(
    name: str, port: tuple[S3Port, GatewayWorld, bytes, str, Body]
) -> None:
    served, world, plain, stored, body = port
    change, touches = VARIANTS[name]
    touched = touches(body)
    world.store.objects[stored] = change(body)
    who = world.attested()
    try:
        for what in ("whole", "first chunk", "last chunk"):
            start, stop = ranges(len(plain))[what]
            answer = served.get(who, "k", None if what == "whole" else (start, stop))
            asked = set(range(start // CHUNK, (stop - 1) // CHUNK + 1))
            if touched is not Everything and not asked & touched:
                assert (answer.body, answer.ended) == (plain[start:stop], True)
            elif answer.status < 300:
                assert answer.error is not None
                assert not answer.ended
                assert plain[start:stop].startswith(answer.body)
                assert int(answer.headers["content-length"]) > len(answer.body)
            else:
                assert (answer.status, answer.code) == (500, "InternalError")
    finally:
        world.store.objects[stored] = body.data


# --- manifests


@pytest.fixture
def one(tmp_path: Path) -> tuple[VaultWorld, VersionRow, bytes]:
    world = VaultWorld(tmp_path)
    plain = os.urandom(50_000)
    world.put("other", os.urandom(50_000))
    return world, world.put("k", plain), plain


def manifest_of(world: VaultWorld, row: VersionRow) -> tuple[str, bytes]:
    place = world.catalog.manifest(row.manifest_id, row.generation).store_key
    return place, world.memory.objects[place]


def object_key(world: VaultWorld, row: VersionRow) -> bytes:
    header = read_header(manifest_of(world, row)[1])
    from vault.keys.hierarchy import KeyScope

    scope = KeyScope("main", "de", row.dataset_id, header.wrapped_key.key_class)
    return world.broker._unwrap(scope, header.subject, header.wrapped_key.wrapped, "test")


def rebound(stored: bytes, key: bytes, line: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The manifest that somebody who even holds the object's key would write: authentic, and saying something else."""
    header = json.loads(stored.split(b"\n", 1)[0])
    data_key = manifest_key(key, header["manifest_id"], header["generation"])
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from vault.envelope.schedule import schedule

    sealed = stored.split(b"\n", 1)[1]
    context = ManifestContext(hashlib.sha256(stored.split(b"\n", 1)[0]).digest()).encode()
    aead, base, _ = schedule(data_key, sealed[:SALT], context)
    assert isinstance(aead, AESGCM)
    document = json.loads(aead.decrypt(base.to_bytes(12, "big"), sealed[HEADER:], None))
    change(document)
    sealer = BodySealer(data_key, ManifestContext(hashlib.sha256(line).digest()).encode())
    raw = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    return b"".join((line, b"\n", sealer.header, sealer.update(raw), sealer.finalize()))


def pinned(world: VaultWorld, row: VersionRow, stored: bytes) -> None:
    """Store it, and let the catalog's pin be of it, its seal too: what is left is the manifest's own defence."""
    place, _ = manifest_of(world, row)
    world.memory.objects[place] = stored
    found = world.catalog.manifest(row.manifest_id, row.generation)
    changed = replace(found, sha256=hashlib.sha256(stored).digest())
    world.catalog.manifest = lambda manifest_id, generation: changed  # type: ignore[method-assign]


def put(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.update(changes)


def body_put(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda document: document["bodies"][0].update(changes)


MANIFEST: dict[str, Callable[[dict[str, Any]], None]] = {
    "format": put(format=1), "suite": put(suite="cobblestone-128"), "tenant": put(tenant="other"),
    "zone": put(zone="fr"), "dataset": put(dataset_id="0" * 32), "manifest id": put(manifest_id="0" * 32),
    "generation": put(generation=2), "subject": put(subject="0" * 32), "kind": put(kind="view"),
    "kind unknown": put(kind="link"), "key": put(key="other"), "key empty": put(key=""),
    "version": put(version_id="0" * 32), "size": put(size=49_999), "size negative": put(size=-1),
    "etag": put(etag="0" * 32), "plan": put(plan_id="p"), "previous": put(previous_sha256="0" * 64),
    "written at": put(written_at=1), "null version": put(null_version=False), "label unknown": put(label="public"),
    "placement unsorted": put(placement=["fr", "de"]), "placement no list": put(placement="de"),
    "contract negative": put(contract_version=-1), "field unknown": put(extra=""),
    "field missing": lambda document: document.pop("label"), "no bodies": put(bodies=[]),
    "body twice": lambda document: document.update(bodies=document["bodies"] * 2),
    "body id": body_put(body_id="0" * 32), "body part": body_put(part=1), "body shorter": body_put(plain_length=49_999),
    "sealed shorter": body_put(sealed_length=49_999), "commitment": body_put(commitment="0" * 64),
    "store key": body_put(store_key="b/aa/none"), "body field unknown": body_put(extra=""),
}  # fmt: skip


@pytest.mark.parametrize("name", MANIFEST)
def test_an_authentic_document_that_says_something_else_opens_nothing(
    name: str, one: tuple[VaultWorld, VersionRow, bytes]
) -> None:
    world, row, _ = one
    _, stored = manifest_of(world, row)
    line = stored.split(b"\n", 1)[0]
    pinned(world, row, rebound(stored, object_key(world, row), line, MANIFEST[name]))
    got, failure = read(world, row, (0, 10))
    assert got == b""
    assert isinstance(failure, VaultError)


HEADER_FIELDS = {
    "format": 1, "suite": "cobblestone-128", "tenant": "other", "zone": "fr", "dataset_id": "0" * 32,
    "manifest_id": "0" * 32, "generation": 2, "subject": "0" * 32, "key_class": "view", "group_id": "0" * 32,
    "wrapped": base64.b64encode(bytes(61)).decode(), "extra": "",
}  # fmt: skip


@pytest.mark.parametrize("pin", [True, False], ids=["pin changed too", "pin kept"])
@pytest.mark.parametrize("name", HEADER_FIELDS)
def test_a_header_that_says_something_else_opens_nothing(
    name: str, pin: bool, one: tuple[VaultWorld, VersionRow, bytes]
) -> None:
    world, row, _ = one
    place, stored = manifest_of(world, row)
    line, sealed = stored.split(b"\n", 1)
    header = json.loads(line) | {name: HEADER_FIELDS[name]}
    changed = json.dumps(header, sort_keys=True, separators=(",", ":")).encode() + b"\n" + sealed
    if pin:
        pinned(world, row, changed)
    else:
        world.memory.objects[place] = changed
    got, failure = read(world, row, (0, 10))
    assert got == b""
    assert isinstance(failure, VaultError)
    assert pin or failure.reason == "manifest.hash"


@pytest.mark.parametrize("cut", [0, 1, TAG, 32])
def test_a_manifest_without_its_tag_opens_nothing(cut: int, one: tuple[VaultWorld, VersionRow, bytes]) -> None:
    world, row, _ = one
    _, stored = manifest_of(world, row)
    stripped = stored[:-cut] if cut else stored + bytes(TAG)
    pinned(world, row, stripped)
    got, failure = read(world, row, (0, 10))
    assert (got, isinstance(failure, Malformed)) == (b"", True)


def test_another_objects_wrap_in_the_header_opens_nothing(one: tuple[VaultWorld, VersionRow, bytes]) -> None:
    """The instruction-file attack: a genuine wrapped key of the same group, class and dataset."""
    world, row, _ = one
    other = world.catalog.latest(row.dataset_id, "other")
    assert other is not None
    _, stored = manifest_of(world, row)
    line, sealed = stored.split(b"\n", 1)
    foreign = json.loads(manifest_of(world, other)[1].split(b"\n", 1)[0])["wrapped"]
    header = json.dumps(json.loads(line) | {"wrapped": foreign}, sort_keys=True, separators=(",", ":")).encode()
    pinned(world, row, header + b"\n" + sealed)
    got, failure = read(world, row, (0, 10))
    assert got == b""
    assert isinstance(failure, Refused)
    assert failure.reason == "wrap.context"


def test_a_salamander_is_refused_by_the_commitment(one: tuple[VaultWorld, VersionRow, bytes]) -> None:
    """One chunk that authenticates under two keys: GCM accepts it, the commitment in header and manifest does not."""
    world, row, _ = one
    key = object_key(world, row)
    stored_at = next(name for name in world.memory.objects if name.startswith("b/"))
    manifest: Manifest = open_manifest(manifest_of(world, row)[1], key, None)
    (body,) = manifest.bodies
    context = BodyContext("main", "de", row.dataset_id, body.body_id, body.part).encode()
    mine = body_key(key, body.body_id, body.part)
    salt = fixed("a salt", SALT)
    _, _, chunk, _ = one_chunk_two_keys(os.urandom(32), mine, salt, context)
    genuine = world.memory.objects[body.store_key]
    for head in (genuine[:HEADER], salt + genuine[SALT:HEADER], salt + bytes(32)):
        world.memory.objects[body.store_key] = head + chunk
        got, failure = read(world, row, (0, 10))
        assert (got, isinstance(failure, Malformed)) == (b"", True)
    assert stored_at in world.memory.objects


def test_swapped_bodies_of_two_objects_open_neither(one: tuple[VaultWorld, VersionRow, bytes]) -> None:
    world, row, _ = one
    first, second = [name for name in world.memory.objects if name.startswith("b/")]
    objects = world.memory.objects
    objects[first], objects[second] = objects[second], objects[first]
    for each in (row, world.catalog.latest(row.dataset_id, "other")):
        assert each is not None
        got, failure = read(world, each, (0, 10))
        assert got == b""
        assert isinstance(failure, Malformed)


def test_a_rollback_to_the_older_genuine_version_opens_nothing(one: tuple[VaultWorld, VersionRow, bytes]) -> None:
    world, row, _ = one
    place, older = manifest_of(world, row)
    newer = world.put("k", os.urandom(50_000))
    world.memory.objects[manifest_of(world, newer)[0]] = older
    got, failure = read(world, newer, (0, 10))
    assert got == b""
    assert isinstance(failure, Malformed)
    assert failure.reason == "manifest.hash"
    pinned(world, newer, older)
    got, failure = read(world, newer, (0, 10))
    assert got == b""
    assert isinstance(failure, VaultError)
    del place


ROWS = {
    "size": "update object_version set size = 10 where key = 'k'",
    "etag": "update object_version set etag = '0' where key = 'k'",
    "label": "update object_version set label = 'none' where key = 'k'",
    "key": "update object_version set key = 'z' where key = 'k'",
    "manifest": "update object_version set manifest_id = (select manifest_id from object_version where key = 'other')"
                " where key = 'k'",
    "class": "update object_version set key_class = 'view' where key = 'k'",
    "placement": "update object_version set placement = '[\"de\",\"us\"]' where key = 'k'",
    "deleted again": "update object_version set state = 'deleted' where key = 'k'",
    "pin": "update manifest_generation set sha256 = x'00' where subject = (select version_id from object_version"
           " where key = 'k')",
    "place": "update manifest_generation set store_key = 'm/aa/other' where subject = (select version_id from"
             " object_version where key = 'k')",
    "generation": "update object_version set generation = 2 where key = 'k'",
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_a_row_edited_by_sql_opens_nothing(name: str, one: tuple[VaultWorld, VersionRow, bytes]) -> None:
    world, row, plain = one
    assert read(world, row, (0, len(plain)))[0] == plain
    with world.catalog._database.write() as connection:
        assert connection.execute(text(ROWS[name])).rowcount == 1
    asked = len(world.broker.unwraps)

    def again() -> tuple[bytes, VaultError | None]:
        found = world.catalog.latest(row.dataset_id, "z" if name == "key" else "k")
        assert found is not None, "the row is gone without a word"
        return read(world, found, (0, 10))

    try:
        got, failure = again()
    except VaultError as error:
        got, failure = b"", error
    assert got == b""
    assert isinstance(failure, Refused)
    assert failure.reason == "catalog.row-edited"
    assert len(world.broker.unwraps) == asked
