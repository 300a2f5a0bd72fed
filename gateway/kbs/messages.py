"""Messages of the key-broker protocol 0.4.0, read strictly: closed, without repeated members, in bounded depth."""

import json
from dataclasses import dataclass
from typing import Any

from gateway.attesting import check_document
from gateway.errors import BadRequest
from vault.attest.documents import json_object
from vault.attest.kbs.binding import nonce_hex
from vault.attest.kbs.evidence import TEES
from vault.errors import Refused

VERSION = "0.4.0"
_HASH, _HASHES = "sha384", "supported-hash-algorithms"
_KNOWN = TEES | {
    "sgx", "cca", "csv", "se", "hygondcu", "nvidia", "nvidia-dpu", "nvidiadpu", "sampledevice",
}  # fmt: skip
_REQUEST = {"version", "tee", "extra-params"}
_RUNTIME, _EVIDENCE = {"nonce", "tee-pubkey"}, {"primary_evidence", "additional_evidence"}


@dataclass(frozen=True, slots=True)
class AttestationMessage:
    """What a client attests with. `nonce` in hex; `primary` is JSON text."""

    nonce: str
    tee_pubkey: dict[str, Any]
    primary: str
    additional: str
    init_data: dict[str, Any] | None


def parse_request(body: bytes) -> str:
    """The kind of machine. BadRequest: `kbs.version`, `attest.unknown-kind`, `attest.algorithm`, `attest.malformed`."""
    said = _object(body, "Request")
    if said.get("version") != VERSION:
        raise refused(
            "kbs.version", f"protocol version {VERSION} is spoken here, and no other", "use a client of 0.4.0"
        )
    if set(said) != _REQUEST:
        raise _malformed("a Request has version, tee and extra-params")
    tee, extra = said["tee"], said["extra-params"]
    if not isinstance(tee, str) or tee not in TEES:
        known = isinstance(tee, str) and tee in _KNOWN
        raise refused(
            "attest.unknown-kind", f"evidence of {tee if known else 'that kind'} is not taken here",
            f"attest as one of {', '.join(sorted(TEES))}",
        )  # fmt: skip
    if isinstance(extra, dict) and _HASHES in extra:
        listed = extra[_HASHES]
        if not isinstance(listed, list) or _HASH not in listed:
            raise refused(
                "attest.algorithm", f"the client does not offer {_HASH}", f"use a client that hashes by {_HASH}"
            )
    return tee


def parse_attestation(body: bytes) -> AttestationMessage:
    """BadRequest: `attest.malformed`, `attest.nonce`."""
    said = _object(body, "Attestation")
    if not {"runtime-data", "tee-evidence"} <= set(said) <= {"runtime-data", "tee-evidence", "init-data"}:
        raise _malformed("an Attestation has runtime-data, tee-evidence and perhaps init-data")
    runtime, evidence, init_data = said["runtime-data"], said["tee-evidence"], said.get("init-data")
    if not isinstance(runtime, dict) or set(runtime) != _RUNTIME or not isinstance(runtime["tee-pubkey"], dict):
        raise _malformed("runtime-data has nonce and tee-pubkey")
    if not isinstance(evidence, dict) or set(evidence) != _EVIDENCE:
        raise _malformed("tee-evidence has primary_evidence and additional_evidence")
    primary, additional = evidence["primary_evidence"], evidence["additional_evidence"]
    if not isinstance(primary, dict) or not isinstance(additional, str):
        raise _malformed("primary_evidence is an object, additional_evidence a text")
    if init_data is not None and not isinstance(init_data, dict):
        raise _malformed("init-data is an object")
    try:
        nonce = nonce_hex(runtime["nonce"])
    except Refused as error:
        raise refused(error.reason, "the nonce is none of this handshake", "ask for a new one") from error
    # What travels to the broker as it is, must be what its wire can carry: it would have to hang up to refuse it.
    check_document({"tee-pubkey": runtime["tee-pubkey"], "additional": additional, "init-data": init_data or {}})
    return AttestationMessage(nonce, runtime["tee-pubkey"], json.dumps(primary), additional, init_data)


def refused(rule: str, why: str, remedy: str) -> BadRequest:
    return BadRequest("AttestationRefused", why, rule=rule, remedy=remedy)


def _malformed(why: str) -> BadRequest:
    return refused("attest.malformed", why, "send what the protocol's version 0.4.0 says")


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        return json_object(body, what)
    except Refused as error:
        raise _malformed(f"{what} is not one JSON object") from error
