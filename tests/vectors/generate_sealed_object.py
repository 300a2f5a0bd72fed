"""Writes the sealed-object vectors; run again it writes the same bytes.

    python -m tests.vectors.generate_sealed_object

One file, one case, one failure. `docs/spec/sealed-object.md` §8 explains the fields and lists the attacks.
Bodies are put together here from the C2SP text alone (`Pieces`), not by the sealer under test.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.vectors.salamander import one_chunk_two_keys
from vault.envelope.context import BodyContext, KeyContext, ManifestContext
from vault.envelope.derive import manifest_key
from vault.envelope.manifest import Manifest, ManifestBody, manifest_sha256, seal_manifest
from vault.envelope.suite import sealed_length
from vault.envelope.wrap import WrappedKey, wrap_key

HERE = Path(__file__).parent
CHUNK, TAG = 16384, 16
Case = dict[str, Any]


def stream(label: str, length: int) -> bytes:
    """Bytes that look random and never change."""
    return hashlib.shake_256(b"demesne sealed-object vectors/" + label.encode()).digest(length)


@dataclass(frozen=True)
class Pieces:
    """One sealed body, in the pieces an attacker can move about."""

    key: bytes
    context: bytes
    plain: bytes
    salt: bytes
    weak: bool = False

    @property
    def schedule(self) -> tuple[bytes, int, bytes]:
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + self.salt + self.context
        okm = HKDFExpand(hashes.SHA256() if self.weak else hashes.SHA512(), 76, info).derive(self.key)
        return okm[:32], int.from_bytes(okm[32:44], "big"), okm[44:]

    @property
    def header(self) -> bytes:
        return self.salt + self.schedule[2]

    @property
    def chunks(self) -> list[bytes]:
        aead, base = AESGCM(self.schedule[0]), self.schedule[1]
        return [
            aead.encrypt((base ^ k).to_bytes(12, "big"), self.plain[k * CHUNK : (k + 1) * CHUNK], None)
            for k in range(len(self.plain) // CHUNK + 1)
        ]

    @property
    def body(self) -> bytes:
        return self.header + b"".join(self.chunks)


def place(**changes: Any) -> bytes:
    """The context every case starts from, with changes."""
    ids = {"dataset_id": stream("dataset", 16).hex(), "body_id": stream("body", 16).hex()}
    return replace(BodyContext("acme", "de", part=0, **ids), **changes).encode()


KEY = stream("data key", 32)
TWO = Pieces(KEY, place(), stream("two chunks", CHUNK + 100), stream("salt", 24))
THREE = Pieces(KEY, place(), stream("three chunks", 2 * CHUNK + 100), stream("salt of three", 24))
SMALL = Pieces(KEY, place(), stream("small", 100), stream("salt of small", 24))


def flip(raw: bytes, at: int) -> bytes:
    changed = bytearray(raw)
    changed[at] ^= 1
    return bytes(changed)


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


def pin(origin: Pieces) -> dict[str, Any]:
    return {"sealed_length": len(origin.body), "commitment": origin.header[24:].hex()}


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
        "pinned-commitment-differs": case(
            "commitment", "swap a write of the same body", TWO, pin=pin(TWO) | {"commitment": "00" * 32}
        ),
    }


def manifests() -> dict[str, Case]:
    """Stored manifests. `pin` is the catalog's hash (null: rebuilding), `expect` ok or the failure's name."""
    object_key, group = stream("object key", 32), stream("group", 16).hex()
    version = stream("version", 16).hex()
    body = ManifestBody(
        stream("body", 16).hex(), "00/" + "ab" * 16, 0, 100, sealed_length(100), SMALL.header[24:].hex()
    )
    manifest = Manifest(
        tenant="acme", zone="de", dataset_id=stream("dataset", 16).hex(), manifest_id=stream("manifest", 16).hex(),
        generation=1, subject=version, kind="version", key="2026/müller.parquet", version_id=version, label="personal",
        placement=("de",), contract_version=3, content_type="application/vnd.apache.parquet",
        user_metadata={"note": "names are data"}, size=100, etag=hashlib.md5(SMALL.plain).hexdigest(), bodies=(body,),
    )  # fmt: skip
    context = KeyContext("acme", "de", manifest.dataset_id, "raw", group, version).encode()
    wrapped = WrappedKey(group, "raw", wrap_key(stream("group key", 32), object_key, context, lambda n: stream("n", n)))
    stored = seal_manifest(manifest, object_key, wrapped, lambda n: stream("manifest salt", n))
    first = manifest_sha256(stored).hex()
    newer = seal_manifest(
        replace(manifest, generation=2, previous_sha256=first, label="none"),
        object_key, wrapped, lambda n: stream("second manifest salt", n),
    )  # fmt: skip
    line, sealed = stored.split(b"\n", 1)
    header = json.loads(line)
    document = Pieces(manifest_key(object_key, manifest.manifest_id, 1), b"", b"", stream("forged salt", 24))

    def rewritten(**changes: Any) -> bytes:
        return json.dumps(header | changes, sort_keys=True, separators=(",", ":")).encode() + b"\n" + sealed

    def resealed(text: bytes) -> bytes:
        """A document that a holder of the key sealed against the schema: authentic, and still refused."""
        bound = ManifestContext(hashlib.sha256(line).digest()).encode()
        return line + b"\n" + replace(document, context=bound, plain=text).body

    opened = json.loads(plain_document(stored, object_key))

    def stating(**changes: Any) -> bytes:
        text = json.dumps(opened | changes, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return resealed(text.encode())

    def told(expect: str, attack: str, raw: bytes, pinned: str | None = None) -> Case:
        return {
            "attack": attack, "expect": expect, "object_key": object_key.hex(), "pin": pinned,
            "stored": base64.b64encode(raw).decode(),
        }  # fmt: skip

    last = stored[:-1] + bytes([stored[-1] ^ 1])
    return {
        "ok": told("ok", "none", stored, first),
        "ok-second-generation": told("ok", "none", newer, manifest_sha256(newer).hex()),
        "rolled-back": told("manifest.hash", "rollback to an older generation", stored, manifest_sha256(newer).hex()),
        "bit-flip-pinned": told("manifest.hash", "bit flip", last, first),
        "bit-flip": told("manifest.tag", "bit flip", last),
        "truncated": told("manifest.tag", "truncate", stored[:-40]),
        "truncated-to-header": told("manifest.truncated", "truncate", line + b"\n" + sealed[:56]),
        "truncated-line": told("manifest.header", "truncate", line[:100]),
        "zone-rewritten": told("manifest.commitment", "move to another zone", rewritten(zone="fr")),
        "subject-rewritten": told("manifest.commitment", "pose as another version", rewritten(subject="0" * 32)),
        "generation-rewritten": told("manifest.commitment", "pose as the newest", rewritten(generation=9)),
        "class-rewritten": told("manifest.commitment", "raw key asked for as view", rewritten(key_class="view")),
        "group-rewritten": told("manifest.commitment", "wrapped-key substitution", rewritten(group_id="0" * 32)),
        "suite-unknown": told("manifest.header", "downgrade of suite", rewritten(suite="cobblestone-128")),
        "format-unknown": told("manifest.header", "downgrade of format", rewritten(format=0)),
        "header-field-unknown": told("manifest.header", "open schema", rewritten(extra="")),
        "header-spaced": told(
            "manifest.header", "two texts, one meaning", line.replace(b":", b": ", 1) + b"\n" + sealed
        ),
        "header-doubled-name": told(
            "manifest.header", "two readings of one text", line[:-1] + b',"zone":"fr"}\n' + sealed
        ),
        "document-field-unknown": told("manifest.document", "open schema", stating(extra="")),
        "document-relabelled-true": told("manifest.document", "type confusion", stating(generation=True)),
        "document-other-zone": told("manifest.document", "header and document disagree", stating(zone="fr")),
        "parts-out-of-order": told("manifest.document", "reorder parts", stating(bodies=parts(opened, 2, 1))),
        "part-twice": told("manifest.document", "duplicate a part", stating(bodies=parts(opened, 1, 1))),
        "size-not-the-sum": told("manifest.document", "drop a part", stating(size=99)),
        "sealed-length-impossible": told(
            "manifest.document", "truncate", stating(bodies=[opened["bodies"][0] | {"sealed_length": 100}])
        ),
    }


def parts(document: Case, *numbers: int) -> list[Case]:
    body = document["bodies"][0]
    return [
        body | {"part": n, "plain_length": 50, "sealed_length": 122, "body_id": f"{i:032x}"}
        for i, n in enumerate(numbers)
    ]


def plain_document(stored: bytes, object_key: bytes) -> bytes:
    """The document inside a genuine one-chunk manifest, opened by hand."""
    line, sealed = stored.split(b"\n", 1)
    header = json.loads(line)
    context = ManifestContext(hashlib.sha256(line).digest()).encode()
    data_key = manifest_key(object_key, header["manifest_id"], header["generation"])
    key, base, _ = Pieces(data_key, context, b"", sealed[:24]).schedule
    return AESGCM(key).decrypt(base.to_bytes(12, "big"), sealed[56:], None)


def wraps() -> dict[str, Case]:
    """Wrapped keys: `context` is what the reader expects."""
    ids = {"dataset_id": stream("dataset", 16).hex(), "group_id": stream("group", 16).hex()}
    context = KeyContext("acme", "de", key_class="raw", subject=stream("version", 16).hex(), **ids)
    outer, inner = stream("group key", 32), stream("object key", 32)
    wrapped = wrap_key(outer, inner, context.encode(), lambda n: stream("n", n))

    def told(expect: str, attack: str, raw: bytes = wrapped, key: bytes = outer, **changes: Any) -> Case:
        return {
            "attack": attack, "context": replace(context, **changes).encode().hex(), "expect": expect,
            "key": inner.hex(), "wrapped": raw.hex(), "wrapping_key": key.hex(),
        }  # fmt: skip

    move = "wrapped-key substitution"
    return {
        "ok": told("ok", "none"),
        "bit-flip": told("wrap.context", "bit flip", flip(wrapped, -1)),
        "bit-flip-nonce": told("wrap.context", "bit flip", flip(wrapped, 1)),
        "version-unknown": told("wrap", "downgrade of version", b"\x02" + wrapped[1:]),
        "cut": told("wrap", "truncate", wrapped[:-1]),
        "extended": told("wrap", "extend", wrapped + b"\x00"),
        "another-wrapping-key": told("wrap.context", move, key=stream("other group key", 32)),
        "another-subject": told("wrap.context", move, subject="0" * 32),
        "another-group": told("wrap.context", move, group_id="0" * 32),
        "another-dataset": told("wrap.context", move, dataset_id="0" * 32),
        "another-zone": told("wrap.context", move, zone="fr"),
        "another-tenant": told("wrap.context", move, tenant="emca"),
        "another-class": told("wrap.context", "raw key asked for as view", key_class="view"),
    }


def files() -> dict[str, bytes]:
    """Every vector file by its path under tests/vectors."""
    kinds = {
        "sealed_object": good() | changed_bytes() | lengths() | moved(),
        "sealed_manifest": manifests(),
        "wrapped_key": wraps(),
    }
    return {
        f"{kind}/{name}.json": (json.dumps({"name": name, **told}, indent=1, sort_keys=True) + "\n").encode()
        for kind, cases in kinds.items()
        for name, told in cases.items()
    }


def main() -> None:
    for path, raw in files().items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_bytes(raw)


if __name__ == "__main__":
    main()
