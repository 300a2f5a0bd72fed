"""Rows of revocations, enrolled TPMs, key-broker clients and issuers' keys, as frozen values. See `rows`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RevocationRow:
    tenant: str
    what: str
    value: str
    reason: str
    by_principal: str
    at: int


@dataclass(frozen=True, slots=True)
class TpmKeyRow:
    tenant: str
    key_name: str
    principal_id: str
    ek_sha256: str
    pcr_policy: Json
    last_clock: Json
    enrolled_at: int
    retired_at: int | None
    broker_seal: bytes = b""


@dataclass(frozen=True, slots=True)
class KbsTicketRow:
    tenant: str
    ticket_sha256: str
    principal_id: str
    purpose: str
    scope: tuple[str, ...]
    expires_at: int
    revoked_at: int | None
    created_at: int
    record: str


@dataclass(frozen=True, slots=True)
class KbsSessionRow:
    tenant: str
    cookie_sha256: str
    nonce: str
    tee: str
    ticket_sha256: str
    state: str
    public_key: Json
    session_id: str
    token: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class JwksRow:
    tenant: str
    issuer: str
    document: str
    fetched_at: int
    tried_at: int
    wanted_at: int
    record: str
