"""Cases of stored manifests and of wrapped keys."""

import base64
import hashlib
import json
import zlib
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.vectors.pieces import SMALL, Case, Pieces, flip, stream
from vault.envelope.context import KeyContext, ManifestContext
from vault.envelope.derive import manifest_key
from vault.envelope.manifest import Manifest, ManifestBody, manifest_sha256, seal_manifest
from vault.envelope.suite import sealed_length
from vault.envelope.wrap import WrappedKey, wrap_key


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
        written_at=1_790_000_000_000, null_version=False, object_format="parquet",
        written_by=stream("principal", 16).hex(), run_id=stream("run", 16).hex(),
        checksums={"crc32": base64.b64encode(zlib.crc32(SMALL.plain).to_bytes(4, "big")).decode()},
        checksum_type="FULL_OBJECT", tags={"projekt": "müller"},
    )  # fmt: skip
    context = KeyContext("acme", "de", manifest.dataset_id, "raw", group, version).encode()
    wrapped = WrappedKey(group, "raw", wrap_key(stream("group key", 32), object_key, context, lambda n: stream("n", n)))
    stored = seal_manifest(manifest, object_key, wrapped, lambda n: stream("manifest salt", n))
    first = manifest_sha256(stored).hex()
    newer = seal_manifest(
        replace(manifest, generation=2, previous_sha256=first, label="none"),
        object_key, wrapped, lambda n: stream("second manifest salt", n),
    )  # fmt: skip
    marker = seal_manifest(
        replace(
            manifest, kind="marker", bodies=(), size=0, etag="", content_type="", user_metadata={}, checksums={},
            checksum_type="", tags={}, null_version=True,
        ),
        object_key, wrapped, lambda n: stream("marker salt", n),
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
        "ok-marker": told("ok", "none", marker, manifest_sha256(marker).hex()),
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
        "marker-with-bytes": told("manifest.document", "an object passed off as deleted", stating(kind="marker")),
        "version-without-bodies": told("manifest.document", "drop every part", stating(bodies=[], size=0)),
        "stamp-negative": told("manifest.document", "pose as older than everything", stating(written_at=-1)),
        "checksum-without-type": told("manifest.document", "two readings of one text", stating(checksum_type="")),
        "null-version-number": told("manifest.document", "type confusion", stating(null_version=1)),
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
