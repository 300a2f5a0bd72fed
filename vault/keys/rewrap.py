"""Moving keys without touching what they seal: group keys to a newer epoch key, object keys to another group.

Every new wrap is opened again before it takes the place of the old one: a provider that wraps wrongly would otherwise
lose ten thousand objects in the moment the old epoch is destroyed. Each batch is one catalog transaction that
compares before it sets, so that any step may be repeated, and two that do the same disturb nothing.
"""

import hmac
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from vault.envelope.wrap import unwrap_key, wrap_key
from vault.errors import Broken, Refused
from vault.keys.hierarchy import GROUP_LIMIT, GroupFacts, KeyRing, KeyScope, WrapFacts, group_context
from vault.keys.secrets import SecretBytes

GROUPS_AT_ONCE = 64
WRAPS_AT_ONCE = 500
PROVIDER_CALLS_AT_ONCE = 8  # a KMS answers one call in 20 ms, and many side by side


@dataclass(frozen=True, slots=True)
class MovedGroup:
    """A group key under another epoch key."""

    group_id: str
    from_epoch: str
    to_epoch: str
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class MovedWrap:
    """An object key under another group key."""

    subject: str
    from_group: str
    to_group: str
    wrapped: bytes


class MovableRows(Protocol):
    """The rows this writes (`vault.catalog.keys` says what each call promises)."""

    def find_group(self, group_id: str) -> GroupFacts | None: ...

    def groups_elsewhere(self, dataset_id: str, key_class: str, epoch_id: str, limit: int) -> Sequence[GroupFacts]: ...

    def move_groups(self, moved: Sequence[MovedGroup]) -> int: ...

    def wraps_of(self, group_id: str, after: str = "", limit: int = WRAPS_AT_ONCE) -> Sequence[WrapFacts]: ...

    def move_wraps(self, moved: Sequence[MovedWrap]) -> None: ...

    def drop_wraps(self, subjects: Sequence[str]) -> None: ...


class Rewrapper:
    """Moves keys of one scope at a time. Holds opened keys no longer than a batch."""

    def __init__(self, ring: KeyRing, rows: MovableRows) -> None:
        self._ring = ring
        self._rows = rows
        self._pool = ThreadPoolExecutor(PROVIDER_CALLS_AT_ONCE, "rewrap")

    def groups(self, scope: KeyScope, epoch_id: str, limit: int = GROUPS_AT_ONCE) -> int:
        """Move up to `limit` open groups of other epochs under `epoch_id`. Answers how many it looked at: 0 is done."""
        found = self._rows.groups_elsewhere(scope.dataset_id, scope.key_class, epoch_id, limit)
        if found:
            self._rows.move_groups(list(self._pool.map(lambda group: self._moved(scope, group, epoch_id), found)))
        return len(found)

    def members(self, scope: KeyScope, group_id: str, leaving: frozenset[str], limit: int = WRAPS_AT_ONCE) -> int:
        """Move up to `limit` object keys of a closed group into open ones; whoever is `leaving` gets no new wrap.
        Answers how many it looked at: 0 is done."""
        found = self._rows.wraps_of(group_id, limit=limit)
        gone = [row.subject for row in found if row.subject.split(":")[0] in leaving]
        if gone:
            self._rows.drop_wraps(gone)
        staying = [row for row in found if row.subject.split(":")[0] not in leaving]
        if staying:
            self._rows.move_wraps(self._rewrapped(scope, group_id, staying))
        return len(found)

    def _moved(self, scope: KeyScope, group: GroupFacts, epoch_id: str) -> MovedGroup:
        provider = self._ring.provider(scope)
        old = group_context(scope, group.group_id, group.epoch_id)
        key = SecretBytes(provider.unwrap(group.epoch_id, bytes(group.wrapped), old))
        new = group_context(scope, group.group_id, epoch_id)
        wrapped = provider.wrap(epoch_id, key, new)
        if not hmac.compare_digest(provider.unwrap(epoch_id, wrapped, new), key):
            raise Broken("key.rewrap", group.group_id)
        return MovedGroup(group.group_id, group.epoch_id, epoch_id, wrapped)

    def _rewrapped(self, scope: KeyScope, group_id: str, rows: Sequence[WrapFacts]) -> list[MovedWrap]:
        old_key = self._closed_key(scope, group_id)
        new_group, new_key = self._ring.reserve(scope, min(len(rows), GROUP_LIMIT))
        if new_group == group_id:
            raise Broken("key.group", "a group that is being left takes no more objects")
        moved = []
        for row in rows:
            if (row.dataset_id, row.key_class) != (scope.dataset_id, scope.key_class):
                raise Refused("key.group", "a wrap of another dataset or class")
            object_key = unwrap_key(old_key, bytes(row.wrapped), self._ring.key_context(scope, group_id, row.subject))
            context = self._ring.key_context(scope, new_group, row.subject)
            wrapped = wrap_key(new_key, object_key, context)
            if not hmac.compare_digest(unwrap_key(new_key, wrapped, context), object_key):
                raise Broken("key.rewrap", row.subject)
            moved.append(MovedWrap(row.subject, group_id, new_group, wrapped))
        return moved

    def _closed_key(self, scope: KeyScope, group_id: str) -> SecretBytes:
        """Straight from the provider: what is being left is kept in no cache."""
        group = self._rows.find_group(group_id)
        if group is None or group.state == "erased":
            raise Broken("key.group", "erased before its members were moved")
        if (group.dataset_id, group.key_class) != (scope.dataset_id, scope.key_class):
            raise Refused("key.group", "the group is of another dataset or class")
        context = group_context(scope, group_id, group.epoch_id)
        return SecretBytes(self._ring.provider(scope).unwrap(group.epoch_id, bytes(group.wrapped), context))
