"""What the broker needs from others, stated once; `vault.catalog` and `gateway.app` supply it.

The broker never writes a session, dataset, version, view, upload or job row: it only reads them, to check
what a front worker claims. It owns the epoch, group and challenge rows. All times are integer milliseconds
since the epoch (UTC). Row attributes carry the names of the columns in `vault.catalog.tables`; JSON columns
arrive parsed. A catalog serves one tenant, the one the broker itself is built for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from vault.keys.hierarchy import WrapFacts
from vault.keys.rewrap import MovableRows


class EpochFacts(Protocol):
    """One provider-held key: `state` is active | retired | pending-destruction | destroyed."""

    @property
    def epoch_id(self) -> str: ...
    @property
    def dataset_id(self) -> str: ...
    @property
    def key_class(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def state(self) -> str: ...


class GroupFacts(Protocol):
    """One group key, wrapped under its epoch key."""

    @property
    def group_id(self) -> str: ...
    @property
    def dataset_id(self) -> str: ...
    @property
    def key_class(self) -> str: ...
    @property
    def epoch_id(self) -> str: ...
    @property
    def wrapped(self) -> bytes: ...
    @property
    def state(self) -> str: ...


class DatasetFacts(Protocol):
    """A dataset row whose row seal was checked; `synthetic` decides what sample evidence may open."""

    @property
    def dataset_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def zone(self) -> str: ...
    @property
    def synthetic(self) -> bool: ...
    @property
    def state(self) -> str: ...


class SessionFacts(Protocol):
    """A session row. `attestation_seal` is the broker's own and covers all but `revoked_at`."""

    @property
    def session_id(self) -> str: ...
    @property
    def principal_id(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def scope(self) -> tuple[str, ...]: ...
    @property
    def kind(self) -> str: ...
    @property
    def claims(self) -> Mapping[str, Any]: ...
    @property
    def key_thumbprint(self) -> str: ...
    @property
    def attested_at(self) -> int: ...
    @property
    def attestation_seal(self) -> bytes: ...
    @property
    def tier(self) -> str: ...
    @property
    def expires_at(self) -> int: ...
    @property
    def revoked_at(self) -> int | None: ...
    @property
    def bound_source(self) -> str: ...
    @property
    def bound_key(self) -> str: ...


class ViewFacts(Protocol):
    """A view row whose row seal was checked."""

    @property
    def view_id(self) -> str: ...
    @property
    def dataset_id(self) -> str: ...
    @property
    def version_id(self) -> str: ...
    @property
    def plan_id(self) -> str: ...


class UploadFacts(Protocol):
    """An upload row; `state` is open | completing | completed | aborted."""

    @property
    def upload_id(self) -> str: ...
    @property
    def dataset_id(self) -> str: ...
    @property
    def version_id(self) -> str: ...
    @property
    def state(self) -> str: ...


class JobFacts(Protocol):
    """A job row. `subject` of a view or describe job names at least `dataset_id` and `version_id`."""

    @property
    def job_id(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def subject(self) -> Mapping[str, Any]: ...
    @property
    def state(self) -> str: ...
    @property
    def fence(self) -> int: ...
    @property
    def lease_until(self) -> int: ...


class RevocationFacts(Protocol):
    """What no session may rest on: `what` is subject | platform | measurement, `value` a SHA-256 in hex."""

    @property
    def what(self) -> str: ...
    @property
    def value(self) -> str: ...


class ChallengeFacts(Protocol):
    """A challenge as it was when issued."""

    @property
    def nonce(self) -> str: ...
    @property
    def principal_id(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def scope(self) -> tuple[str, ...]: ...
    @property
    def gateway(self) -> str: ...
    @property
    def profile(self) -> str: ...


class BrokerCatalog(Protocol):
    """The catalog as the broker sees it. `find_*` answers None for an absent row and raises
    `Refused("catalog.row-edited")` when a sealed row does not carry its seal; all raise `Unavailable`."""

    def find_dataset(self, dataset_id: str) -> DatasetFacts | None: ...

    def find_session(self, session_id: str) -> SessionFacts | None: ...

    def find_view(self, view_id: str) -> ViewFacts | None: ...

    def find_upload(self, dataset_id: str, upload_id: str) -> UploadFacts | None: ...

    def find_job(self, job_id: str) -> JobFacts | None: ...

    def find_group(self, group_id: str) -> GroupFacts | None: ...

    def find_wrap(self, subject: str) -> WrapFacts | None: ...

    def find_epoch(self, epoch_id: str) -> EpochFacts | None: ...

    def epochs(self, dataset_id: str) -> Sequence[EpochFacts]: ...

    def active_epoch(self, dataset_id: str, key_class: str) -> EpochFacts | None:
        """The one epoch of this dataset and class whose state is active."""

    def add_epoch(self, *, epoch_id: str, dataset_id: str, key_class: str, epoch: int) -> EpochFacts:
        """Insert as active and answer it, or, when another active one was there first, answer that one."""

    def reserve_group(self, epoch_id: str, *, count: int, limit: int) -> GroupFacts | None:
        """Atomically add `count` to `objects` of a group of this epoch that stays <= `limit`; None if none can."""

    def add_group(
        self, *, group_id: str, dataset_id: str, key_class: str, epoch_id: str, wrapped: bytes, objects: int
    ) -> None:
        """Insert a group which already has `objects` reserved."""

    def add_challenge(
        self, *, nonce: str, principal_id: str, purpose: str, scope: tuple[str, ...], gateway: str, expires_at: int,
        profile: str = "",
    ) -> None:  # fmt: skip
        """Insert one unconsumed challenge."""

    def revocations(self) -> Sequence[RevocationFacts]:
        """What was revoked, all of it."""

    def consume_challenge(self, nonce: str, now_ms: int) -> ChallengeFacts | None:
        """In one statement mark consumed where unconsumed and unexpired; None when that changed no row."""


class EpochRowFacts(EpochFacts, Protocol):
    """With what its administration needs."""

    @property
    def destroy_at(self) -> int | None: ...


class UsageFacts(Protocol):
    """What hangs on one epoch."""

    @property
    def epoch(self) -> EpochRowFacts: ...
    @property
    def groups(self) -> int: ...
    @property
    def objects(self) -> int: ...


class KeyCatalog(BrokerCatalog, MovableRows, Protocol):
    """What the administration of keys reads and writes besides; `vault.catalog.keys` and `.key_requests` say what
    each call promises. The broker alone writes `key_request`."""

    def find_epoch(self, epoch_id: str) -> EpochRowFacts | None: ...

    def epochs(self, dataset_id: str) -> Sequence[EpochRowFacts]: ...

    def rotate_epoch(self, *, epoch_id: str, dataset_id: str, key_class: str) -> EpochRowFacts: ...

    def set_epoch_state(
        self, epoch_id: str, state: str, *, destroy_at: int | None = None, unused: bool = False
    ) -> None: ...

    def usage(self, dataset_id: str) -> Sequence[UsageFacts]: ...

    def count_groups_elsewhere(self, dataset_id: str, key_class: str, epoch_id: str) -> int: ...

    def close_groups(self, group_ids: Iterable[str]) -> None: ...

    def erase_groups(self, group_ids: Iterable[str]) -> None: ...

    def wraps_for(self, dataset_id: str, subjects: Sequence[str]) -> Sequence[WrapFacts]: ...

    def version(self, dataset_id: str, version_id: str) -> object | None: ...

    def sharing(self, version_ids: Sequence[str]) -> Sequence[str]: ...

    def views_of_versions(self, dataset_id: str, version_ids: Sequence[str]) -> Sequence[str]: ...

    def new_key_request(self, **columns: Any) -> Any:
        """A `key_request` row of this tenant, not written yet."""

    def add_key_request(self, row: Any) -> Any: ...

    def find_key_request(self, request_id: str) -> Any | None: ...

    def key_requests_in(self, states: Sequence[str], limit: int = 100) -> Sequence[Any]: ...

    def change_key_request(self, before: Any, after: Any) -> Any: ...

    def key_progress(self, request_id: str, progress: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class PromiseFacts:
    """What a promise whose signature holds says: when (ms) and at which index the entry became durable."""

    at_ms: int
    index: int


VerifyPromise = Callable[[str, bytes], PromiseFacts]
"""(promise, entry bytes) -> facts. Raises `VaultError` or `ValueError` unless the ledger's key signed exactly
this entry's leaf. Injected by `gateway.app`, since vault and lineage never import each other."""

RecordRefusal = Callable[[dict[str, Any]], None]
"""Takes one flat `broker-refusal` ledger entry; must not block for long, may raise nothing but `Unavailable`."""

Clock = Callable[[], int]
"""Milliseconds since the epoch."""
