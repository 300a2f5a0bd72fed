"""Manifests: one cleartext header line, then the manifest's document as a sealed body.

    stored = header (canonical JSON) ‖ "\\n" ‖ Cobblestone-256(manifest key, context = SHA-256(header), document)

The header names only what it takes to find the key; it is untrusted until the document has opened, because the
context binds its every byte. Source: `docs/spec/sealed-object.md` §6.
"""

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vault.envelope.body import BodyOpener, BodySealer
from vault.envelope.context import ManifestContext, check_id, check_key_class, check_name
from vault.envelope.derive import MAX_GENERATION, manifest_key
from vault.envelope.manifest_document import (
    FORMAT,
    Manifest,
    ManifestBody,
    canonical,
    closed,
    from_document,
    parse,
    to_document,
)
from vault.envelope.suite import HEADER, SUITE
from vault.envelope.wrap import WRAPPED, WrappedKey
from vault.errors import Malformed

__all__ = [
    "Manifest",
    "ManifestBody",
    "ManifestHeader",
    "manifest_sha256",
    "open_manifest",
    "open_manifest_under",
    "read_header",
    "seal_manifest",
    "seal_manifest_under",
]

MAX_STORED = 16 << 20
_MAX_HEADER = 4096
_HEADER: dict[str, type] = {
    "format": int, "suite": str, "tenant": str, "zone": str, "dataset_id": str, "manifest_id": str,
    "generation": int, "subject": str, "key_class": str, "group_id": str, "wrapped": str,
}  # fmt: skip
_SHARED = ("format", "suite", "tenant", "zone", "dataset_id", "manifest_id", "generation", "subject")


@dataclass(frozen=True, slots=True)
class ManifestHeader:
    """What a stored manifest claims to be. Good for finding its key; believed only once `open_manifest` returns."""

    tenant: str
    zone: str
    dataset_id: str
    manifest_id: str
    generation: int
    subject: str
    wrapped_key: WrappedKey
    format: int = FORMAT
    suite: str = SUITE


def manifest_sha256(stored: bytes) -> bytes:
    """The 32-byte hash of the stored bytes, which the catalog pins."""
    return hashlib.sha256(stored).digest()


def seal_manifest(
    manifest: Manifest, object_key: bytes, wrapped: WrappedKey, entropy: Callable[[int], bytes] = os.urandom
) -> bytes:
    """The bytes to store. `wrapped` is `object_key` wrapped for this manifest's subject.

    Raises Malformed "manifest.document" or "manifest.header" for what no reader would accept.
    """
    try:
        data_key = manifest_key(object_key, manifest.manifest_id, manifest.generation)
    except Malformed as error:
        raise Malformed("manifest.document", str(error)) from error
    return seal_manifest_under(manifest, data_key, wrapped, entropy)


def seal_manifest_under(
    manifest: Manifest, data_key: bytes, wrapped: WrappedKey, entropy: Callable[[int], bytes] = os.urandom
) -> bytes:
    """As `seal_manifest`, by whoever holds the manifest's own data key and not the object's."""
    document = to_document(manifest)
    header: dict[str, Any] = {name: getattr(manifest, name) for name in _SHARED}
    header["key_class"] = wrapped.key_class
    header["group_id"] = wrapped.group_id
    header["wrapped"] = base64.b64encode(wrapped.wrapped).decode("ascii")
    line = canonical(header, "header")
    _parse_header(line)
    sealer = BodySealer(data_key, _context(line), entropy)
    stored = b"".join((line, b"\n", sealer.header, sealer.update(document), sealer.finalize()))
    if len(stored) > MAX_STORED:
        raise Malformed("manifest.length", f"{len(stored)} bytes")
    return stored


def read_header(stored: bytes) -> ManifestHeader:
    """The unverified header. Raises Malformed "manifest.length" or "manifest.header"."""
    return _parse_header(_split(stored)[0])


def open_manifest(stored: bytes, object_key: bytes, expected_sha256: bytes | None) -> Manifest:
    """The manifest, every byte of it authenticated.

    `expected_sha256` is the catalog's pin: without it (None, only for rebuilding a catalog from the store) an
    older genuine generation passes. Raises Malformed "manifest.hash", "manifest.length", "manifest.header",
    "manifest.commitment", "manifest.tag", "manifest.truncated" or "manifest.document".
    """
    _check_pin(stored, expected_sha256)
    header = read_header(stored)
    data_key = manifest_key(object_key, header.manifest_id, header.generation)
    return open_manifest_under(stored, data_key, None)  # the pin held above


def open_manifest_under(stored: bytes, data_key: bytes, expected_sha256: bytes | None) -> Manifest:
    """As `open_manifest`, by whoever holds the manifest's own data key and not the object's."""
    _check_pin(stored, expected_sha256)
    line, sealed = _split(stored)
    header = _parse_header(line)
    try:
        opener = BodyOpener(data_key, _context(line), sealed[:HEADER], len(sealed))
        opener.check_end(sealed[slice(*_ends(opener.end_span))])
        span = opener.sealed_span(0, opener.plain_length)
        document = opener.open_span(0, opener.plain_length, sealed[slice(*_ends(span))])
    except Malformed as error:
        raise Malformed(f"manifest.{error.reason}", error.detail) from error
    manifest = from_document(document)
    # Both are authentic by now; a difference would be two answers to one question.
    if any(getattr(manifest, name) != getattr(header, name) for name in _SHARED):
        raise Malformed("manifest.document", "the document is not the one its header names")
    return manifest


def _check_pin(stored: bytes, expected_sha256: bytes | None) -> None:
    if expected_sha256 is not None and not hmac.compare_digest(manifest_sha256(stored), expected_sha256):
        raise Malformed("manifest.hash", "not the manifest the catalog pins")


def _context(line: bytes) -> bytes:
    return ManifestContext(hashlib.sha256(line).digest()).encode()


def _ends(span: tuple[int, int]) -> tuple[int, int]:
    return span[0], span[0] + span[1]


def _split(stored: bytes) -> tuple[bytes, bytes]:
    if len(stored) > MAX_STORED:
        raise Malformed("manifest.length", f"{len(stored)} bytes")
    end = stored.find(b"\n", 0, _MAX_HEADER + 1)
    if end < 0:
        raise Malformed("manifest.header", f"no line of at most {_MAX_HEADER} bytes")
    return stored[:end], stored[end + 1 :]


def _parse_header(line: bytes) -> ManifestHeader:
    document = parse(line, "header")
    closed(document, _HEADER, "header")
    # A closed list of one: an unknown suite is refused here, before its bytes are touched.
    if document["format"] != FORMAT or document["suite"] != SUITE:
        raise Malformed("manifest.header", "unknown format or suite")
    if not 1 <= document["generation"] <= MAX_GENERATION:
        raise Malformed("manifest.header", "generation")
    try:
        return ManifestHeader(
            tenant=check_name(document["tenant"], "tenant"),
            zone=check_name(document["zone"], "zone"),
            dataset_id=check_id(document["dataset_id"], "dataset_id"),
            manifest_id=check_id(document["manifest_id"], "manifest_id"),
            generation=document["generation"],
            subject=check_name(document["subject"], "subject"),
            wrapped_key=WrappedKey(
                group_id=check_id(document["group_id"], "group_id"),
                key_class=check_key_class(document["key_class"]),
                wrapped=_wrapped(document["wrapped"]),
            ),
        )
    except Malformed as error:
        raise Malformed("manifest.header", str(error)) from error


def _wrapped(text: str) -> bytes:
    try:
        wrapped = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Malformed("wrap", "not base64") from error
    # Base64 has spare bits: only the one encoding a sealer writes is accepted.
    if len(wrapped) != WRAPPED or base64.b64encode(wrapped).decode("ascii") != text:
        raise Malformed("wrap", "not one wrapped key in canonical base64")
    return wrapped
