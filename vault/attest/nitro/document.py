"""The attestation document: the payload of a COSE_Sign1 (aws-nitro-enclaves-nsm-api, docs/attestation_process.md).

    {module_id, digest "SHA384", timestamp ms, pcrs {int: bytes}, certificate, cabundle [root first],
     public_key?, user_data?, nonce?}

The prose of AWS says 512 bytes for the last three; its CDDL and real documents go to 1024.
"""

from dataclasses import dataclass
from typing import Any

from vault.attest.certificates import MAX_CHAIN
from vault.attest.claims import Refusal, refuse
from vault.attest.cose import Sign1, parse_sign1, strict_cbor

MAX_DOCUMENT = 32 * 1024
MAX_FREE = 1024
_REQUIRED = {"module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle"}
_OPTIONAL = {"public_key", "user_data", "nonce"}
_PCR_LENGTHS = frozenset({32, 48, 64})
_MAX_TIME = 1 << 45  # ms, beyond the year 3000: no date needs more


@dataclass(frozen=True, slots=True)
class Document:
    """What a document says, before anything is believed."""

    signed: Sign1
    module_id: str
    timestamp: int
    pcrs: dict[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None


def parse_document(raw: bytes) -> Document:
    """`Refused`: `malformed`, `algorithm`."""
    if not 0 < len(raw) <= MAX_DOCUMENT:
        raise refuse(Refusal.MALFORMED, "document length")
    signed = parse_sign1(raw, "document")
    payload = strict_cbor(signed.payload, "payload")
    if not isinstance(payload, dict) or not _REQUIRED <= set(payload) <= _REQUIRED | _OPTIONAL:
        raise refuse(Refusal.MALFORMED, "fields of the document")
    if payload["digest"] != "SHA384":
        raise refuse(Refusal.ALGORITHM, "digest")
    module_id, timestamp = payload["module_id"], payload["timestamp"]
    if not isinstance(module_id, str) or not 0 < len(module_id) <= 256:
        raise refuse(Refusal.MALFORMED, "module_id")
    if type(timestamp) is not int or not 0 < timestamp < _MAX_TIME:
        raise refuse(Refusal.MALFORMED, "timestamp")
    return Document(
        signed,
        module_id,
        timestamp,
        _pcrs(payload["pcrs"]),
        _bytes(payload["certificate"], "certificate", MAX_FREE),
        _bundle(payload["cabundle"]),
        *(_free(payload, name) for name in ("public_key", "user_data", "nonce")),
    )


def _pcrs(value: Any) -> dict[int, bytes]:
    if not isinstance(value, dict) or not 1 <= len(value) <= 32:
        raise refuse(Refusal.MALFORMED, "pcrs")
    for index, pcr in value.items():
        if type(index) is not int or not 0 <= index < 32 or not isinstance(pcr, bytes) or len(pcr) not in _PCR_LENGTHS:
            raise refuse(Refusal.MALFORMED, "pcrs")
    return value


def _bundle(value: Any) -> tuple[bytes, ...]:
    """Issuers, root first; null as the emulators write it is a document that nobody issued: refused as a chain."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) >= MAX_CHAIN:
        raise refuse(Refusal.MALFORMED, "cabundle")
    return tuple(_bytes(der, "cabundle", MAX_FREE) for der in value)


def _bytes(value: Any, name: str, most: int) -> bytes:
    if not isinstance(value, bytes) or not 0 < len(value) <= most:
        raise refuse(Refusal.MALFORMED, name)
    return value


def _free(payload: dict[str, Any], name: str) -> bytes | None:
    value = payload.get(name)
    if value is None:
        return None
    if not isinstance(value, bytes) or len(value) > MAX_FREE:
        raise refuse(Refusal.MALFORMED, name)
    return value
