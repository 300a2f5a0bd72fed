"""The port to whoever holds epoch keys: an HSM, a KMS, Transit, or the local files.

One `KeyProvider` value is one *credential*. The credential decides the key class it may use, and the
provider enforces that, not the caller: with the view credential nothing opens a raw key, whatever the
program around it does. Wrapping and unwrapping never reveal the epoch key itself. docs/spec/keys.md §3.

    active ── disable ──> disabled ── enable ──> active
    active, disabled ── schedule_destruction ──> pending-destruction ── cancel_destruction ──> disabled
    active, disabled, pending-destruction ── destroy ──> destroyed (or pending, where the provider makes one wait)

Only an active epoch wraps and unwraps.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Protocol

from vault.errors import NotFound, Refused

MIN_PENDING_DAYS, MAX_PENDING_DAYS = 7, 30  # AWS KMS allows no others; the same everywhere, so that a zone can move

_EPOCH_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_DAY_MS = 86_400_000


class KeyClass(StrEnum):
    """The two worlds of keys; each has its own provider credential."""

    RAW = "raw"
    VIEW = "view"


class EpochState(StrEnum):
    """What the provider says of one epoch key."""

    ACTIVE = "active"
    DISABLED = "disabled"
    PENDING = "pending-destruction"
    DESTROYED = "destroyed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class EpochStatus:
    """State of one epoch key; `until_ms` (ms since the epoch, UTC) is there for `pending-destruction` only.

    AWS KMS forgets a key once it is deleted: `unknown` is then all it says. A caller whose own row says that the
    epoch was there and its destruction scheduled may read `unknown` after that date as `destroyed`.
    """

    state: EpochState
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Destruction:
    """What an order to destroy came to: gone now, or refused to everybody until it is gone, not before `until_ms`."""

    state: Literal["destroyed", "pending"]
    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ProviderLocation:
    """Where the provider says its keys are: a jurisdiction ("" when it does not say), and how far to believe it.

    `strength` is none | self-reported | network | registered | attested; `target` names the provider for people.
    """

    observed: str
    strength: str
    target: str


class KeyProvider(Protocol):
    """Operations on epoch keys of one class. Every call may raise `Unavailable("provider.…")`: no answer, or none
    that can be believed. Every call on an epoch may raise:

    `Refused("key.name")`       not 1 to 64 of a-z 0-9 -, beginning with a letter or digit
    `Refused("key.class")`      the credential is for the other class
    `Refused("key.disabled")`   the epoch key is disabled; `enable` brings it back
    `Refused("key.pending")`    its destruction is scheduled; `cancel_destruction` makes it disabled
    `Refused("key.destroyed")`  the epoch key is gone for good
    `NotFound("key.unknown")`   no epoch of that name
    `Refused("key.context")`    the wrap does not belong to this epoch and context, or was changed
    """

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        """Make a fresh key under this name, durable on return; `Refused("key.exists")` if the name was ever used."""

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt a 32-byte key under the epoch key, bound to `context`."""

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        """The 32-byte key that `wrap` was given with the same context."""

    def disable(self, epoch_id: str) -> None:
        """Wrap and unwrap answer `key.disabled` from now on. Durable, idempotent; `key.pending`, `key.destroyed`."""

    def enable(self, epoch_id: str) -> None:
        """Undo `disable`. Durable, idempotent; `key.pending` (cancel first), `key.destroyed`."""

    def schedule_destruction(self, epoch_id: str, days: int, now_ms: int) -> Destruction:
        """Wrap and unwrap answer `key.pending` from now on; 7 to 30 days, else `Refused("key.days")`.

        Answers pending and the date; `destroyed` when it was gone already. Where it was scheduled before, nothing
        changes and the first date is answered. Only KMS destroys by itself when the date comes: with the others it
        is the caller who then calls `destroy`. `now_ms` is the caller's clock; KMS goes by its own.
        """

    def cancel_destruction(self, epoch_id: str) -> None:
        """Pending becomes *disabled*, not active. Idempotent; `Conflict("key.not-pending")` if active."""

    def destroy(self, epoch_id: str) -> Destruction:
        """Make every wrap under this epoch unopenable, for good, as soon as the provider can, scheduled or not.

        Local files, Transit, PKCS#11: destroyed on return. KMS: pending with its date (7 days when nothing was
        scheduled), refused to everybody meanwhile. Repeating it changes nothing and answers how far it is.
        """

    def status(self, epoch_id: str) -> EpochStatus:
        """What became of this epoch key."""

    def location(self) -> ProviderLocation:
        """Where the provider says it is, asked anew each time."""


_STATE_REFUSALS = {
    EpochState.DISABLED: "key.disabled",
    EpochState.PENDING: "key.pending",
    EpochState.DESTROYED: "key.destroyed",
}


def refuse_unless_active(state: EpochState, epoch_id: str) -> None:
    """`Refused` or `NotFound` by the name that belongs to this state; nothing when it is active."""
    if state is EpochState.UNKNOWN:
        raise NotFound("key.unknown", epoch_id)
    if state is not EpochState.ACTIVE:
        raise Refused(_STATE_REFUSALS[state], epoch_id)


def checked_epoch_id(epoch_id: str) -> str:
    """The name itself, or `Refused("key.name")`: it becomes part of file names, paths, aliases and labels."""
    if not _EPOCH_ID.fullmatch(epoch_id):
        raise Refused("key.name")
    return epoch_id


def pending_until(days: int, now_ms: int) -> int:
    """When a destruction of so many days is due (ms since the epoch); `Refused("key.days")` outside 7 to 30."""
    if not MIN_PENDING_DAYS <= days <= MAX_PENDING_DAYS:
        raise Refused("key.days", f"{MIN_PENDING_DAYS} to {MAX_PENDING_DAYS}")
    return now_ms + days * _DAY_MS
