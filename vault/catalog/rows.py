"""Catalog rows as frozen values. Fields stand in the order of their table's columns, without `row_mac`;
JSON columns arrive parsed (lists as tuples). `vault.catalog.mapping` turns one into the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Json = Mapping[str, Any]
KeyClass = Literal["raw", "view"]


@dataclass(frozen=True, slots=True)
class ZoneRow:
    """What this zone last learnt about where it is. `state` open | closed."""

    tenant: str
    name: str
    jurisdiction: str
    state: str
    reason: str
    strength: str
    observed: tuple[Json, ...]
    observed_at: int
    record: str


@dataclass(frozen=True, slots=True)
class ObservationRow:
    tenant: str
    observation_id: str
    zone: str
    what: str
    target: str
    observed: str
    strength: str
    matches: bool
    at: int


@dataclass(frozen=True, slots=True)
class PrincipalRow:
    tenant: str
    principal_id: str
    name: str
    kind: str
    roles: tuple[str, ...]
    jurisdiction: str
    purposes: tuple[str, ...]
    created_at: int
    record: str


@dataclass(frozen=True, slots=True)
class CredentialRow:
    tenant: str
    access_key_id: str
    principal_id: str
    purpose: str
    state: str
    created_at: int
    record: str


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """`sequence` is that of the last snapshot and is not under the row's MAC."""

    tenant: str
    dataset_id: str
    name: str
    zone: str
    label: str
    synthetic: bool
    versioning: str
    contract_version: int
    sequence: int
    state: str
    created_at: int
    record: str


@dataclass(frozen=True, slots=True)
class ContractRow:
    tenant: str
    dataset_id: str
    version: int
    document: Json
    created_at: int
    created_by: str
    record: str


@dataclass(frozen=True, slots=True)
class EpochRow:
    tenant: str
    epoch_id: str
    dataset_id: str
    key_class: str
    epoch: int
    state: str
    created_at: int
    state_at: int = 0
    destroy_at: int | None = None


@dataclass(frozen=True, slots=True)
class GroupRow:
    """`state` open | closed | erased."""

    tenant: str
    group_id: str
    dataset_id: str
    key_class: str
    epoch_id: str
    wrapped: bytes
    objects: int
    created_at: int
    state: str = "open"


@dataclass(frozen=True, slots=True)
class KeyWrapRow:
    """The wrap of one subject's object key that holds now."""

    tenant: str
    subject: str
    dataset_id: str
    key_class: str
    group_id: str
    wrapped: bytes
    moved: bool = False


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One version of one key. `state` live | deleted; `size` in plaintext bytes."""

    tenant: str
    dataset_id: str
    version_id: str
    key: str
    sequence: int
    is_latest: bool
    is_null: bool
    delete_marker: bool
    state: str
    size: int
    etag: str
    checksums: Json
    content_type: str
    format: str
    key_class: str
    label: str
    placement: tuple[str, ...]
    contract_version: int
    manifest_id: str
    generation: int
    written_by: str
    run_id: str
    created_at: int
    record: str


@dataclass(frozen=True, slots=True)
class ExtentRow:
    """Column chunk extents of a version or view: ((name, ((offset, length, cells), ...)), ...)."""

    tenant: str
    subject: str
    dataset_id: str
    columns: tuple[Any, ...]
    record: str


@dataclass(frozen=True, slots=True)
class ManifestRow:
    tenant: str
    manifest_id: str
    generation: int
    dataset_id: str
    subject: str
    sha256: bytes
    store_key: str
    created_at: int
    record: str


@dataclass(frozen=True, slots=True)
class BodyRow:
    tenant: str
    body_id: str
    dataset_id: str
    store_key: str
    state: str
    subject: str
    sealed_length: int
    created_at: int


@dataclass(frozen=True, slots=True)
class UploadRow:
    """`wrapped` is the object key's wrap as JSON; `completed` the stored answer of a finished Complete."""

    tenant: str
    dataset_id: str
    upload_id: str
    key: str
    version_id: str
    principal_id: str
    run_id: str
    state: str
    content_type: str
    sealed_metadata: bytes
    wrapped: Json
    upload_wrapped: bytes
    completed: Json | None
    checksum_algorithm: str
    checksum_type: str
    created_at: int


@dataclass(frozen=True, slots=True)
class PartRow:
    tenant: str
    upload_id: str
    part_number: int
    body_id: str
    size: int
    md5: bytes
    checksums: Json
    commitment: bytes
    store_key: str
    sealed_length: int
    created_at: int


@dataclass(frozen=True, slots=True)
class SnapshotRow:
    tenant: str
    dataset_id: str
    sequence: int
    change: Json
    run_id: str
    record: str
    created_at: int


@dataclass(frozen=True, slots=True)
class PlanRow:
    tenant: str
    dataset_id: str
    plan_id: str
    purpose_class: str
    effect: Json
    contract_version: int
    state: str
    created_at: int
    record: str


@dataclass(frozen=True, slots=True)
class ViewRow:
    """A rendering of one version under one plan. `state` queued | building | ready | failed."""

    tenant: str
    view_id: str
    dataset_id: str
    version_id: str
    plan_id: str
    builder: str
    state: str
    progress: int
    reason: str
    size: int
    etag: str
    content_type: str
    manifest_id: str
    generation: int
    created_at: int
    ready_at: int | None
    record: str


@dataclass(frozen=True, slots=True)
class ChallengeRow:
    tenant: str
    nonce: str
    principal_id: str
    purpose: str
    scope: tuple[str, ...]
    gateway: str
    expires_at: int
    consumed_at: int | None
    profile: str = ""


@dataclass(frozen=True, slots=True)
class SessionRow:
    tenant: str
    session_id: str
    principal_id: str
    purpose: str
    scope: tuple[str, ...]
    kind: str
    tier: str
    claims: Json
    key_thumbprint: str
    run_id: str
    attested_at: int
    expires_at: int
    revoked_at: int | None
    attestation_seal: bytes
    created_at: int
    bound_source: str = ""
    bound_key: str = ""


@dataclass(frozen=True, slots=True)
class RunRow:
    tenant: str
    run_id: str
    name: str
    principal_id: str
    purpose: str
    workload: str
    started_at: int
    last_at: int


@dataclass(frozen=True, slots=True)
class RunIoRow:
    """What a run read (`in`) or wrote (`out`); `view` raw | open | plan id."""

    tenant: str
    run_id: str
    direction: str
    dataset_id: str
    version_id: str
    view: str
    label: str
    placement: tuple[str, ...]
    at: int
    record: str


@dataclass(frozen=True, slots=True)
class RevisionRow:
    tenant: str
    revision: str
    state: str
    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class JobRow:
    """`fence` rises with each lease: work that ends under an older one is refused."""

    tenant: str
    job_id: str
    kind: str
    subject: Json
    state: str
    fence: int
    holder: str
    lease_until: int
    attempts: int
    reason: str
    created_at: int


@dataclass(frozen=True, slots=True)
class StoreRecordRow:
    tenant: str
    name: str
    sha256: bytes
    written_at: int


@dataclass(frozen=True, slots=True)
class OutboxRow:
    tenant: str
    event_id: str
    sink: str
    event: Json
    attempts: int
    next_at: int
