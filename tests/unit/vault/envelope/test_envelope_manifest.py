"""Manifests: what goes in comes out, and no manifest is sealed that a reader would refuse."""

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from vault.envelope.manifest import (
    Manifest,
    ManifestBody,
    manifest_sha256,
    open_manifest,
    read_header,
    seal_manifest,
)
from vault.envelope.suite import sealed_length
from vault.envelope.wrap import WRAPPED, WrappedKey, unwrap_key, wrap_key
from vault.errors import Broken, Malformed, Refused

VERSION, VIEW, PLAN = "e" * 32, "f" * 32, "9" * 32
OBJECT_KEY = bytes(range(32))
WRAPPED_KEY = WrappedKey("a" * 32, "raw", wrap_key(bytes(32), OBJECT_KEY, b"context"))


def body(number: int, part: int, size: int) -> ManifestBody:
    return ManifestBody(f"{number:032x}", f"00/{number:032x}", part, size, sealed_length(size), "cd" * 32)


ONE = Manifest(
    tenant="acme", zone="de", dataset_id="d" * 32, manifest_id="c" * 32, generation=1, subject=VERSION, kind="version",
    key="2026/müller \U0001f600.parquet", version_id=VERSION, label="personal", placement=("de", "fr"),
    contract_version=0, content_type="", user_metadata={"ключ": '\x00\n"', "": ""}, size=5, etag="e",
    bodies=(body(1, 0, 5),), written_at=1_790_000_000_000, null_version=True, object_format="parquet",
    written_by="b" * 32, run_id="9" * 32, checksums={"crc32": "AAAAAA=="}, checksum_type="FULL_OBJECT",
    tags={"проект": "x", "empty": ""},
)  # fmt: skip
PARTS = replace(ONE, size=12, bodies=(body(1, 1, 5), body(2, 4, 0), body(3, 10_000, 7)))
OF_VIEW = replace(
    ONE, kind="view", subject=VIEW, plan_id=PLAN, generation=2, previous_sha256="0" * 64, tags={}, null_version=False
)
MARKER = replace(
    ONE, kind="marker", content_type="", user_metadata={}, size=0, etag="", bodies=(), checksums={}, checksum_type="",
    tags={},
)  # fmt: skip


@pytest.mark.parametrize("manifest", [ONE, PARTS, OF_VIEW, MARKER, replace(ONE, placement=(), user_metadata={})])
def test_what_is_sealed_opens_as_it_was(manifest: Manifest) -> None:
    stored = seal_manifest(manifest, OBJECT_KEY, WRAPPED_KEY)
    assert open_manifest(stored, OBJECT_KEY, manifest_sha256(stored)) == manifest
    assert open_manifest(stored, OBJECT_KEY, None) == manifest
    header = read_header(stored)
    assert header.wrapped_key == WRAPPED_KEY
    assert (header.subject, header.generation) == (manifest.subject, manifest.generation)


def test_a_manifest_longer_than_a_chunk_opens() -> None:
    many = replace(ONE, size=3000, bodies=tuple(body(n, n, 1) for n in range(1, 3001)))
    stored = seal_manifest(many, OBJECT_KEY, WRAPPED_KEY)
    assert len(stored) > 10 * 16384
    assert open_manifest(stored, OBJECT_KEY, None) == many


def test_names_are_not_in_the_clear() -> None:
    manifest = replace(
        ONE, key="canary-key", content_type="canary-type", etag="canary-etag", user_metadata={"x": "canary"}
    )
    stored = seal_manifest(manifest, OBJECT_KEY, WRAPPED_KEY)
    assert b"canary" not in stored
    assert VERSION.encode() in stored


IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "unknown kind": {"kind": "both"},
    "version of another version": {"subject": VIEW},
    "version with a plan": {"plan_id": PLAN},
    "view that is the version": {"kind": "view", "plan_id": PLAN},
    "marker with bytes": {"kind": "marker"},
    "view with tags": {"kind": "view", "subject": VIEW, "plan_id": PLAN, "null_version": False},
    "view that is a null version": {"kind": "view", "subject": VIEW, "plan_id": PLAN, "tags": {}},
    "stamp before the epoch": {"written_at": -1},
    "checksums of no type": {"checksum_type": ""},
    "type without checksums": {"checksums": {}},
    "unknown checksum type": {"checksum_type": "HALF"},
    "too many tags": {"tags": {str(n): "" for n in range(51)}},
    "view without a plan": {"kind": "view", "subject": VIEW},
    "unknown label": {"label": "public"},
    "no key": {"key": ""},
    "key too long": {"key": "k" * 1025},
    "key not UTF-8": {"key": "\ud800"},
    "no bodies": {"bodies": (), "size": 0},
    "size is not the sum": {"size": 6},
    "two bodies of part 0": {"bodies": (body(1, 0, 5), body(2, 0, 0))},
    "part 0 among parts": {"bodies": (body(1, 0, 5), body(2, 1, 0))},
    "falling parts": {"bodies": (body(1, 2, 5), body(2, 1, 0))},
    "one part twice": {"bodies": (body(1, 1, 5), body(2, 1, 0))},
    "one body twice": {"bodies": (body(1, 1, 5), body(1, 2, 0))},
    "part too high": {"bodies": (body(1, 10_001, 5),)},
    "body lengths disagree": {"bodies": (replace(body(1, 0, 5), sealed_length=78),)},
    "body of negative length": {"size": -1, "bodies": (replace(body(1, 0, 0), plain_length=-1),)},
    "commitment not hex": {"bodies": (replace(body(1, 0, 5), commitment="zz"),)},
    "body id not an id": {"bodies": (replace(body(1, 0, 5), body_id="1"),)},
    "no store key": {"bodies": (replace(body(1, 0, 5), store_key=""),)},
    "generation 0": {"generation": 0},
    "generation is true": {"generation": True},
    "generation 1 after something": {"previous_sha256": "0" * 64},
    "generation 2 after nothing": {"generation": 2},
    "previous is not a hash": {"generation": 2, "previous_sha256": "x"},
    "placement unsorted": {"placement": ("fr", "de")},
    "placement twice": {"placement": ("de", "de")},
    "placement of a number": {"placement": (1,)},
    "metadata of a number": {"user_metadata": {"a": 1}},
    "metadata too long": {"user_metadata": {"a": "x" * 8192}},
    "float": {"contract_version": 1.0},
    "not a number": {"contract_version": float("nan")},
    "integer beyond 2^53": {"contract_version": 1 << 53},
    "another format": {"format": 1},
    "another suite": {"suite": "cobblestone-128"},
    "tenant empty": {"tenant": ""},
    "dataset id not an id": {"dataset_id": "claims"},
    "no etag": {"etag": ""},
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_nothing_is_sealed_that_a_reader_would_refuse(name: str) -> None:
    with pytest.raises(Malformed) as refused:
        seal_manifest(replace(ONE, **IMPOSSIBLE[name]), OBJECT_KEY, WRAPPED_KEY)
    assert refused.value.reason == "manifest.document"


@pytest.mark.parametrize(
    "wrapped",
    [
        WrappedKey("a" * 31, "raw", WRAPPED_KEY.wrapped),
        WrappedKey("a" * 32, "both", WRAPPED_KEY.wrapped),
        WrappedKey("a" * 32, "raw", b""),
        WrappedKey("a" * 32, "raw", WRAPPED_KEY.wrapped + b"\0"),
    ],
)
def test_no_header_is_written_that_a_reader_would_refuse(wrapped: WrappedKey) -> None:
    with pytest.raises(Malformed, match=r"manifest\.header"):
        seal_manifest(ONE, OBJECT_KEY, wrapped)


def test_every_byte_of_a_stored_manifest_matters() -> None:
    stored = seal_manifest(ONE, OBJECT_KEY, WRAPPED_KEY)
    for at in range(len(stored)):
        changed = bytearray(stored)
        changed[at] ^= 1
        with pytest.raises(Malformed):
            open_manifest(bytes(changed), OBJECT_KEY, None)
        with pytest.raises(Malformed, match=r"manifest\.hash"):
            open_manifest(bytes(changed), OBJECT_KEY, manifest_sha256(stored))


def test_every_cut_of_a_stored_manifest_is_refused() -> None:
    stored = seal_manifest(ONE, OBJECT_KEY, WRAPPED_KEY)
    for length in range(len(stored)):
        with pytest.raises(Malformed):
            open_manifest(stored[:length], OBJECT_KEY, None)


def test_another_object_key_does_not_open_it() -> None:
    stored = seal_manifest(ONE, OBJECT_KEY, WRAPPED_KEY)
    with pytest.raises(Malformed, match=r"manifest\.commitment"):
        open_manifest(stored, bytes(32), None)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 4000,
        b"9" * 4000,
        b'{"format":1e400}',
        b"x" * 5000,
        b'{"a":"\\ud800"}',
    ],
)
def test_hostile_header_lines_are_refused_and_nothing_else(line: bytes) -> None:
    with pytest.raises(Malformed, match=r"manifest\.header"):
        read_header(line + b"\n" + bytes(100))


def test_too_long_a_manifest_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(Malformed, match=r"manifest\.length"):
        read_header(bytes((16 << 20) + 1))


def test_the_header_shows_only_what_finds_the_key() -> None:
    line = seal_manifest(ONE, OBJECT_KEY, WRAPPED_KEY).split(b"\n")[0]
    assert sorted(json.loads(line)) == [
        "dataset_id", "format", "generation", "group_id", "key_class", "manifest_id",
        "subject", "suite", "tenant", "wrapped", "zone",
    ]  # fmt: skip


def test_wrapped_keys_are_fresh_each_time_and_in_no_repr() -> None:
    wraps = {wrap_key(bytes(32), OBJECT_KEY, b"c") for _ in range(100)}
    assert len(wraps) == 100
    assert {len(wrapped) for wrapped in wraps} == {WRAPPED}
    assert "wrapped=" not in repr(WRAPPED_KEY)


def test_every_byte_of_a_wrapped_key_matters() -> None:
    wrapped = WRAPPED_KEY.wrapped
    assert unwrap_key(bytes(32), wrapped, b"context") == OBJECT_KEY
    for at in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[at] ^= 1
        with pytest.raises(Refused if at else Malformed):
            unwrap_key(bytes(32), bytes(changed), b"context")


def test_wrapping_with_or_of_another_length_is_our_own_mistake() -> None:
    for outer, inner in ((bytes(16), OBJECT_KEY), (bytes(32), os.urandom(31)), (b"", b"")):
        with pytest.raises(Broken, match=r"key\.length"):
            wrap_key(outer, inner, b"")
    with pytest.raises(Broken, match=r"key\.length"):
        unwrap_key(bytes(16), WRAPPED_KEY.wrapped, b"context")
