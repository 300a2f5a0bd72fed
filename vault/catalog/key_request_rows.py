"""Rows of orders about keys and of what was erased, as frozen values (see `vault.catalog.rows`)."""

from dataclasses import dataclass

from vault.catalog.rows import Json


@dataclass(frozen=True, slots=True)
class KeyRequestRow:
    """One order about keys and how far it is. All but `progress` and `updated_at` is under the broker's seal."""

    tenant: str
    request_id: str
    dataset_id: str
    action: str
    document: Json
    request_sha256: str
    state: str
    requested_by: str
    approved_by: str
    approval: str
    created_at: int
    expires_at: int
    execute_at: int
    step: str
    plan: Json
    result: Json
    progress: Json
    updated_at: int
    broker_seal: bytes


@dataclass(frozen=True, slots=True)
class ErasureRow:
    """An erasure certificate and the zone key's signature over its bytes."""

    tenant: str
    request_id: str
    dataset_id: str
    state: str
    certificate: str
    signature: bytes
    created_at: int
