"""A second reader of sealed objects, written from docs/spec/sealed-object.md and docs/spec/keys.md alone.

It imports nothing of the vault: where it and the vault disagree, the page is wrong, or the vault is.
"""

import base64
import hashlib
import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

SUITE = "cobblestone-256"
_ID = re.compile(r"[0-9a-f]{32}")
_HEX64 = re.compile(r"[0-9a-f]{64}")


class Refusal(Exception):
    """`str(error)` is the failure's name on the page."""


def expand(key: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(hashes.SHA512(), length, info).derive(key)


def lp(value: bytes | str) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(4, "big") + raw


# --- §3 contexts, §4 keys


def body_context(tenant: str, zone: str, dataset: str, body: str, part: int) -> bytes:
    fields: list[bytes | str] = [SUITE, tenant, zone, dataset, body, part.to_bytes(4, "big")]
    return b"demesne/body/1" + b"".join(map(lp, fields))


def key_context(tenant: str, zone: str, dataset: str, key_class: str, group: str, subject: str) -> bytes:
    return b"demesne/key/1" + b"".join(map(lp, [SUITE, tenant, zone, dataset, key_class, group, subject]))


def group_context(tenant: str, zone: str, dataset: str, key_class: str, group: str, epoch: str) -> bytes:
    return b"demesne/group/1" + b"".join(map(lp, [SUITE, tenant, zone, dataset, key_class, group, epoch]))


def body_key(object_key: bytes, body: str, part: int) -> bytes:
    return expand(object_key, b"demesne/body-key/1" + lp(body) + part.to_bytes(4, "big"), 32)


def manifest_key(object_key: bytes, manifest: str, generation: int) -> bytes:
    return expand(object_key, b"demesne/manifest-key/1" + lp(manifest) + generation.to_bytes(8, "big"), 32)


def unwrap(wrapping_key: bytes, wrapped: bytes, context: bytes) -> bytes:
    if len(wrapped) != 61 or wrapped[0] != 1:
        raise Refusal("wrap")
    try:
        return AESGCM(wrapping_key).decrypt(wrapped[1:13], wrapped[13:], b"\x01" + context)
    except InvalidTag:
        raise Refusal("wrap.context") from None


# --- §2, §5 bodies


@dataclass(frozen=True)
class Pin:
    sealed_length: int
    commitment: bytes


def read_body(
    data_key: bytes, context: bytes, body: bytes, span: tuple[int, int] | None = None, pin: Pin | None = None
) -> bytes:
    if pin is not None and len(body) != pin.sealed_length:
        raise Refusal("truncated" if len(body) < pin.sealed_length else "length")
    if len(body) < 56:
        raise Refusal("length")
    full, last = divmod(len(body) - 56, 16_400)
    if last == 0:
        raise Refusal("truncated")
    if last < 16:
        raise Refusal("length")
    size = full * 16_384 + last - 16
    label = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
    okm = expand(data_key, label + body[:24] + context, 76)
    if not hmac.compare_digest(okm[44:], body[24:56]) or (pin is not None and pin.commitment != okm[44:]):
        raise Refusal("commitment")
    aead, base = AESGCM(okm[:32]), int.from_bytes(okm[32:44], "big")

    def chunk(number: int) -> bytes:
        stored = body[56 + 16_400 * number : 56 + 16_400 * (number + 1)]
        try:
            return aead.decrypt((base ^ number).to_bytes(12, "big"), stored, None)
        except InvalidTag:
            raise Refusal("tag") from None

    if pin is None:
        chunk(full)  # fixes the length
    start, stop = span or (0, size)
    first, end = start // 16_384, (stop // 16_384 if span is None else max(start, stop - 1) // 16_384)
    plain = b"".join(chunk(number) for number in range(first, end + 1))
    return plain[start - first * 16_384 : stop - first * 16_384]


# --- §6 manifests

_HEADER: dict[str, type] = {
    "format": int, "suite": str, "tenant": str, "zone": str, "dataset_id": str, "manifest_id": str, "generation": int,
    "subject": str, "key_class": str, "group_id": str, "wrapped": str,
}  # fmt: skip
_DOCUMENT: dict[str, type] = {
    "format": int, "suite": str, "tenant": str, "zone": str, "dataset_id": str, "manifest_id": str, "generation": int,
    "subject": str, "kind": str, "key": str, "version_id": str, "label": str, "placement": list,
    "contract_version": int, "content_type": str, "user_metadata": dict, "tags": dict, "written_at": int,
    "null_version": bool, "object_format": str, "written_by": str, "run_id": str, "checksums": dict,
    "checksum_type": str, "size": int, "etag": str, "bodies": list, "plan_id": str, "previous_sha256": str,
}  # fmt: skip
_BODY: dict[str, type] = {
    "body_id": str, "store_key": str, "part": int, "plain_length": int, "sealed_length": int, "commitment": str,
    "checksums": dict,
}  # fmt: skip
_AGAIN = ("format", "suite", "tenant", "zone", "dataset_id", "manifest_id", "generation", "subject")


def canonical(raw: bytes, schema: dict[str, type], failure: str) -> dict[str, Any]:
    try:
        found = json.loads(raw.decode())
        again = json.dumps(found, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise Refusal(failure) from None
    _need(isinstance(found, dict) and again == raw, failure)
    _shape(found, schema, failure)
    return dict(found)


def _shape(found: Any, schema: dict[str, type], failure: str) -> None:
    _need(isinstance(found, dict) and set(found) == set(schema), failure)
    _need(all(type(found[name]) is kind for name, kind in schema.items()), failure)


def _need(holds: bool, failure: str = "manifest.document") -> None:
    if not holds:
        raise Refusal(failure)


def read_header(stored: bytes) -> tuple[bytes, dict[str, Any]]:
    end = stored.find(b"\n")
    _need(0 <= end <= 4096, "manifest.header")
    line = stored[:end]
    header = canonical(line, _HEADER, "manifest.header")
    _need(header["format"] == 2 and header["suite"] == SUITE and header["generation"] >= 1, "manifest.header")
    _need(all(_ID.fullmatch(header[name]) for name in ("dataset_id", "manifest_id", "group_id")), "manifest.header")
    _need(header["key_class"] in {"raw", "view"}, "manifest.header")
    return line, header


def read_manifest(stored: bytes, object_key: bytes, pin: bytes | None) -> dict[str, Any]:
    if pin is not None and hashlib.sha256(stored).digest() != pin:
        raise Refusal("manifest.hash")
    line, header = read_header(stored)
    context = b"demesne/manifest/1" + lp(SUITE) + lp(hashlib.sha256(line).digest())
    key = manifest_key(object_key, header["manifest_id"], header["generation"])
    try:
        raw = read_body(key, context, stored[len(line) + 1 :])
    except Refusal as refusal:
        raise Refusal(f"manifest.{refusal}") from None
    document = canonical(raw, _DOCUMENT, "manifest.document")
    _need(all(document[name] == header[name] for name in _AGAIN))
    _check(document)
    return document


def _check(document: dict[str, Any]) -> None:
    bodies, kind, placement = document["bodies"], document["kind"], document["placement"]
    _need(document["label"] in {"personal", "none"} and 1 <= len(document["key"].encode()) <= 1024)
    _need(placement == sorted(set(placement)) and document["contract_version"] >= 0 and document["written_at"] >= 0)
    _need((document["generation"] == 1) == (document["previous_sha256"] == ""))
    _need(bool(document["checksums"]) == bool(document["checksum_type"]) and len(document["tags"]) <= 50)
    own = document["subject"] == document["version_id"] and document["plan_id"] == ""
    _need(own if kind in {"version", "marker"} else kind == "view" and document["plan_id"] != "")
    for body in bodies:
        _shape(body, _BODY, "manifest.document")
        length = body["plain_length"]
        _need(length >= 0 and body["sealed_length"] == 56 + length + 16 * (length // 16_384 + 1))
        _need(bool(_HEX64.fullmatch(body["commitment"])) and bool(_ID.fullmatch(body["body_id"])))
    _need(sum(body["plain_length"] for body in bodies) == document["size"])
    if kind == "marker":
        _need(not bodies and document["generation"] == 1)
        return
    parts = [body["part"] for body in bodies]
    _need(1 <= len(parts) <= 10_000)
    _need(parts == [0] or (parts == sorted(set(parts)) and parts[0] >= 1 and parts[-1] <= 10_000))


# --- keys.md §3.1 and §5: the local provider


def open_blob(key: bytes, blob: bytes, context: bytes) -> bytes:
    assert blob[0] == 1
    derived = expand(key, b"demesne/keys/1 blob " + blob[1:25], 32)
    return AESGCM(derived).decrypt(bytes(12), blob[25:], b"demesne/blob/1\x00" + context)


def local_group_key(credential: bytes, epoch_file: bytes, key_class: str, epoch: str, wrap: bytes, context: bytes) -> bytes:  # noqa: E501
    """The group key inside `wrap`, by the credential of its class and the epoch's file."""
    assert epoch_file[:1] == key_class[:1].upper().encode()
    named = b"local-epoch/1\x00" + key_class.encode() + b"\x00" + epoch.encode()
    epoch_key = open_blob(credential, epoch_file[1:], named)
    return open_blob(epoch_key, wrap, b"wrap\x00" + context)


def read_object(
    store: dict[str, bytes], stored: bytes, object_key: bytes, span: tuple[int, int] | None = None
) -> tuple[dict[str, Any], bytes]:
    """A whole object, or a range of it, by its stored manifest."""
    manifest = read_manifest(stored, object_key, None)
    start, stop = span or (0, manifest["size"])
    out, at = b"", 0
    for body in manifest["bodies"]:
        low, high = max(start - at, 0), min(stop - at, body["plain_length"])
        at += body["plain_length"]
        if low >= high:
            continue
        context = body_context(
            manifest["tenant"], manifest["zone"], manifest["dataset_id"], body["body_id"], body["part"]
        )
        pin = Pin(body["sealed_length"], bytes.fromhex(body["commitment"]))
        key = body_key(object_key, body["body_id"], body["part"])
        out += read_body(key, context, store[body["store_key"]], (low, high), pin)
    return manifest, out


def wrapped_in(header: dict[str, Any]) -> bytes:
    return base64.b64decode(header["wrapped"])
