"""Cases of single bodies: what a reader holds, and what it is given."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.vectors.pieces import CHUNK, KEY, SMALL, TAG, THREE, TWO, Case, Pieces, flip, place, stream
from tests.vectors.salamander import one_chunk_two_keys


def case(expect: str, attack: str, origin: Pieces, body: bytes | None = None, **more: Any) -> Case:
    """A case as it is written: what the reader holds (`origin`'s key and context), and the bytes it is given."""
    return {
        "attack": attack,
        "body": (origin.body if body is None else body).hex(),
        "context": origin.context.hex(),
        "data_key": origin.key.hex(),
        "expect": expect,
        "plaintext_sha256": hashlib.sha256(origin.plain).hexdigest(),
        **more,
    }


def pin(origin: Pieces) -> dict[str, Any]:
    return {"sealed_length": len(origin.body), "commitment": origin.header[24:].hex()}


def good() -> dict[str, Case]:
    sizes = {"empty": 0, "one-byte": 1, "chunk-less-one": CHUNK - 1, "one-chunk": CHUNK, "chunk-and-one": CHUNK + 1}
    cases = {
        f"ok-{name}": case("ok", "none", Pieces(KEY, place(), stream(name, size), stream("salt " + name, 24)))
        for name, size in sizes.items()
    }
    return cases | {
        "ok-three-chunks": case("ok", "none", THREE),
        "ok-part-seven": case("ok", "none", replace(SMALL, context=place(part=7))),
        "ok-empty-context": case("ok", "none", replace(SMALL, context=b"")),
        "ok-range-over-an-edge": case("ok", "none", TWO, range=[CHUNK - 5, CHUNK + 5]),
        "ok-range-pinned": case("ok", "none", TWO, range=[0, 10], pin=pin(TWO)),
    }


def changed_bytes() -> dict[str, Case]:
    a, b, end = THREE.chunks
    older = replace(THREE, salt=stream("salt of an older write", 24))
    other = replace(THREE, context=place(body_id=stream("other body", 16).hex()))
    head = THREE.header
    return {
        "bit-flip-chunk": case("tag", "bit flip", TWO, flip(TWO.body, 56 + 1000)),
        "bit-flip-tag": case("tag", "bit flip", TWO, flip(TWO.body, 56 + CHUNK)),
        "bit-flip-last-chunk": case("tag", "bit flip; release of unverified plaintext", TWO, flip(TWO.body, -20)),
        "bit-flip-salt": case("commitment", "bit flip", SMALL, flip(SMALL.body, 3)),
        "bit-flip-commitment": case("commitment", "bit flip", SMALL, flip(SMALL.body, 24)),
        "chunk-dropped": case("tag", "drop a segment", THREE, head + b + end),
        "chunk-repeated": case("tag", "duplicate a segment", TWO, TWO.header + TWO.chunks[0] * 2 + TWO.chunks[1]),
        "chunks-swapped": case("tag", "reorder segments", THREE, head + b + a + end),
        "chunk-of-another-object": case("tag", "swap a segment", TWO, TWO.header + other.chunks[0] + TWO.chunks[1]),
        "chunk-of-an-older-write": case("tag", "swap a segment", TWO, TWO.header + older.chunks[0] + TWO.chunks[1]),
        "retry-spliced": case("tag", "nonce reuse by retry or crash", THREE, head + a + older.chunks[1] + end),
    }


def lengths() -> dict[str, Case]:
    body, full = TWO.body, replace(TWO, plain=TWO.plain[:CHUNK])
    early = {"range": [0, 10]}
    cut = "truncate, ranged read of an early range"
    return {
        "truncated-on-a-chunk-edge": case("truncated", "truncate, whole read", TWO, body[: 56 + CHUNK + TAG]),
        "truncated-in-a-chunk": case("tag", "truncate, whole read", TWO, body[:-30]),
        "truncated-to-one-short-chunk": case("tag", "truncate, whole read", TWO, body[: 56 + 5000]),
        "truncated-in-a-tag": case("length", "truncate, whole read", TWO, body[: 56 + CHUNK + TAG + 15]),
        "truncated-to-header": case("truncated", "truncate, whole read", SMALL, SMALL.header),
        "truncated-header": case("length", "truncate, whole read", SMALL, SMALL.header[:55]),
        "nothing": case("length", "truncate, whole read", SMALL, b""),
        "full-last-chunk": case("truncated", "truncate, whole read", full, full.header + full.chunks[0]),
        "extended-by-bytes": case("tag", "extend", SMALL, SMALL.body + bytes(16)),
        "extended-by-a-chunk": case("tag", "extend", TWO, body + TWO.chunks[1]),
        "range-of-truncated-on-edge": case("truncated", cut, TWO, body[: 56 + CHUNK + TAG], **early),
        "range-of-truncated": case("tag", cut, TWO, body[:-30], **early),
        "range-of-truncated-pinned": case("truncated", cut, TWO, body[:-30], **early, pin=pin(TWO)),
        "range-of-extended-pinned": case("length", "extend", TWO, body + bytes(16), **early, pin=pin(TWO)),
    }


def moved() -> dict[str, Case]:
    """A genuine body, opened where it does not belong: the reader's context or key is another one."""

    def elsewhere(attack: str, **changes: Any) -> Case:
        return case("commitment", attack, replace(SMALL, context=place(**changes)), SMALL.body)

    id_of: Callable[[str], str] = lambda name: stream(name, 16).hex()  # noqa: E731
    first, second, chunk, plain = one_chunk_two_keys(
        stream("salamander", 32), stream("amphibian", 32), TWO.salt, place()
    )
    front, back = Pieces(first, place(), plain, TWO.salt), Pieces(second, place(), plain, TWO.salt)
    weak = replace(SMALL, weak=True)
    renamed = place().replace(b"cobblestone-256", b"cobblestone-128")
    return {
        "body-of-another-object": elsewhere("swap the whole object", body_id=id_of("other body")),
        "body-of-another-part": elsewhere("reorder parts", part=1),
        "body-of-another-dataset": elsewhere("swap the whole object", dataset_id=id_of("other dataset")),
        "body-of-another-zone": elsewhere("swap the whole object", zone="fr"),
        "body-of-another-tenant": elsewhere("swap the whole object", tenant="emca"),
        "fields-shifted": elsewhere("swap the whole object", tenant="acm", zone="ede"),
        "older-version": elsewhere("rollback to an older genuine version", body_id=id_of("newer body")),
        "key-substituted": case("commitment", "wrapped-key substitution", replace(SMALL, key=second), SMALL.body),
        "suite-renamed": case("commitment", "downgrade of suite", replace(SMALL, context=renamed), SMALL.body),
        "hash-downgraded": case("commitment", "downgrade of suite", SMALL, weak.body),
        "ok-salamander-first-key": case("ok", "two keys, one ciphertext", front, front.header + chunk),
        "salamander-second-key": case("commitment", "two keys, one ciphertext", back, front.header + chunk),
    }
