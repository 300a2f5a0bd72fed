"""Both directions of what the key-broker protocol adds to the broker's wire. Closed, as `vault.broker.wire`."""

from typing import Any

from vault.broker import wire
from vault.broker.kbs_types import KbsAttested, KbsEvidence
from vault.broker.protocol import decode_bytes, encode_bytes
from vault.errors import Malformed

MAX_EVIDENCE = 1 << 20


def evidence_out(evidence: KbsEvidence) -> wire.Document:
    return {
        "nonce": evidence.nonce,
        "tee": evidence.tee,
        "primary": evidence.primary,
        "additional": evidence.additional,
        "tee_pubkey": dict(evidence.tee_pubkey),
        "init_data": None if evidence.init_data is None else dict(evidence.init_data),
    }


def evidence_in(document: object) -> KbsEvidence:
    nonce, tee, primary, additional, tee_pubkey, init_data = wire.fields(
        document, "nonce", "tee", "primary", "additional", "tee_pubkey", "init_data"
    )
    return KbsEvidence(
        wire.text(nonce), wire.text(tee), _evidence(primary), _evidence(additional), wire.mapping(tee_pubkey),
        None if init_data is None else wire.mapping(init_data),
    )  # fmt: skip


def attested_out(made: KbsAttested) -> wire.Document:
    return {
        "attested": wire.attested_out(made.attested),
        "statement": encode_bytes(made.statement),
        "seal": encode_bytes(made.seal),
    }


def attested_in(document: object) -> KbsAttested:
    attested, statement, seal = wire.fields(document, "attested", "statement", "seal")
    return KbsAttested(wire.attested_in(attested), decode_bytes(statement), decode_bytes(seal))


def jwk_in(document: object) -> dict[str, str]:
    return {wire.text(name): wire.text(value) for name, value in wire.mapping(document).items()}


def token_in(value: Any) -> str:
    return _evidence(value)


def _evidence(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_EVIDENCE:
        raise Malformed("broker.field", "text expected")
    return value
