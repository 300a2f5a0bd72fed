"""The port to whoever holds epoch keys: an HSM, a KMS, Transit, or the local files.

One `KeyProvider` value is one *credential*. The credential decides the key class it may use, and the
provider enforces that, not the caller: with the view credential nothing opens a raw key, whatever the
program around it does. Wrapping and unwrapping never reveal the epoch key itself.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class KeyClass(StrEnum):
    """The two worlds of keys; each has its own provider credential."""

    RAW = "raw"
    VIEW = "view"


class EpochState(StrEnum):
    """What the provider says of one epoch key."""

    ACTIVE = "active"
    PENDING = "pending-destruction"
    DESTROYED = "destroyed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ProviderLocation:
    """Where the provider says its keys are: a jurisdiction ("" when it does not say), and how far to believe it.

    `strength` is none | self-reported | network | registered | attested; `target` names the provider for people.
    """

    observed: str
    strength: str
    target: str


class KeyProvider(Protocol):
    """Operations on epoch keys of one class. Every call may raise `Unavailable` when the provider does not answer.

    `Refused("key.class")`      the credential is for the other class
    `Refused("key.destroyed")`  the epoch key is gone for good
    `Refused("key.unknown")`    no epoch of that name
    `Refused("key.context")`    the wrap does not belong to this context, or was changed
    """

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        """Make a fresh key under this name, durable on return; `Refused("key.exists")` if the name was ever used."""

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt a 32-byte key under the epoch key, bound to `context`."""

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        """The 32-byte key that `wrap` was given with the same context."""

    def destroy(self, epoch_id: str) -> None:
        """Make every wrap under this epoch unopenable, for good; repeating it changes nothing."""

    def status(self, epoch_id: str) -> EpochState:
        """What became of this epoch key."""

    def location(self) -> ProviderLocation:
        """Where the provider says it is, asked anew each time."""
