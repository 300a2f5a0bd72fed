"""Both directions of what enrolment of TPM keys adds to the broker's wire. Closed, as `vault.broker.wire`."""

from dataclasses import asdict

from vault.broker import wire
from vault.broker.protocol import decode_bytes, encode_bytes
from vault.broker.types import TpmChallenge, TpmKeyState


def challenge_out(challenge: TpmChallenge) -> wire.Document:
    return asdict(challenge) | {"blob": encode_bytes(challenge.blob), "secret": encode_bytes(challenge.secret)}


def challenge_in(document: object) -> TpmChallenge:
    enrolment_id, key_name, blob, secret, expires_at = wire.fields(
        document, "enrolment_id", "key_name", "blob", "secret", "expires_at"
    )
    return TpmChallenge(
        wire.text(enrolment_id), wire.text(key_name), decode_bytes(blob), decode_bytes(secret), wire.integer(expires_at)
    )


def state_out(state: TpmKeyState) -> wire.Document:
    return asdict(state)


def state_in(document: object) -> TpmKeyState:
    key_name, principal_id, ek_sha256, policy, clock, enrolled_at, retired_at = wire.fields(
        document, "key_name", "principal_id", "ek_sha256", "pcr_policy", "last_clock", "enrolled_at", "retired_at"
    )
    return TpmKeyState(
        wire.text(key_name), wire.text(principal_id), wire.text(ek_sha256), wire.mapping(policy), wire.mapping(clock),
        wire.integer(enrolled_at), None if retired_at is None else wire.integer(retired_at),
    )  # fmt: skip
