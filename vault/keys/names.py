"""How epochs are called inside a provider: one prefix per key class, so that the provider's own policies can tell
raw from view by the name alone. docs/spec/keys.md §3.2."""

import re
from dataclasses import dataclass

from vault.errors import Refused
from vault.keys.provider import KeyClass, checked_epoch_id

_PREFIX = re.compile(r"[a-z][a-z0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class EpochNames:
    """`<prefix>-<class>-<zone>_<epoch id>`: the underscore is in no zone's and no epoch's name, so none is two ways."""

    key_class: KeyClass
    zone: str
    prefix: str = "demesne"

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise Refused("provider.url", "prefix: a-z 0-9, beginning with a letter, at most 16")

    def new(self, epoch_id: str, key_class: KeyClass) -> str:
        """`of`, for a key that is to be made: `Refused("key.class")` where this credential is for the other class."""
        if key_class is not self.key_class:
            raise Refused("key.class", f"this credential is for {self.key_class} keys")
        return self.of(epoch_id)

    def of(self, epoch_id: str) -> str:
        """The provider's name of this epoch, or `Refused("key.name")`."""
        return f"{self.prefix}-{self.key_class}-{self.zone}_{checked_epoch_id(epoch_id)}"
