"""Epoch keys -> group keys -> object keys: the part of the hierarchy that only the broker walks.

    epoch key    held by the provider, one per dataset, key class and epoch; never seen here
    group key    32 random bytes wrapped under the epoch key; wraps at most 10^4 object keys
    object key   32 random bytes wrapped under the group key; body and manifest keys derive from it

Contexts (`vault.envelope.context`) bind each wrap to tenant, zone, dataset, class, group and subject, so a
wrapped key moved anywhere else does not open. Format: docs/spec/keys.md.
"""

import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from vault.envelope.context import GroupContext, KeyContext
from vault.envelope.wrap import WrappedKey, unwrap_key, wrap_key
from vault.errors import Broken, Conflict, NotFound, Refused
from vault.keys.provider import KeyClass, KeyProvider
from vault.keys.secrets import SecretBytes, new_key

GROUP_LIMIT = 10_000  # object keys per group: what one erasure has to re-wrap at most
RESERVED_AT_ONCE = 64  # one durable catalog write per so many new objects; a crash wastes the rest of them
CACHE_MS = 30_000  # with the front workers' own 30 s, a disabled epoch key stops opening data within a minute
_CACHED_GROUPS = 4096
_SUBJECT = re.compile(r"[0-9a-f]{32}(:[0-9A-Za-z._~-]{1,64})?")


@dataclass(frozen=True, slots=True)
class KeyScope:
    """Which world of keys: of one dataset and class. Part of every wrap's context."""

    tenant: str
    zone: str
    dataset_id: str
    key_class: str  # raw | view

    def __post_init__(self) -> None:
        if self.key_class not in set(KeyClass):
            raise Refused("key.class", "raw or view")


class EpochFacts(Protocol):
    @property
    def epoch_id(self) -> str: ...
    @property
    def key_class(self) -> str: ...


class GroupFacts(Protocol):
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


class WrapFacts(Protocol):
    """The wrap of one subject's object key that holds now."""

    @property
    def subject(self) -> str: ...
    @property
    def dataset_id(self) -> str: ...
    @property
    def key_class(self) -> str: ...
    @property
    def group_id(self) -> str: ...
    @property
    def wrapped(self) -> bytes: ...


class KeyRows(Protocol):
    """The rows of epochs and groups; `vault.broker.ports.BrokerCatalog` says what each call promises."""

    def find_group(self, group_id: str) -> GroupFacts | None: ...

    def find_wrap(self, subject: str) -> WrapFacts | None: ...

    def active_epoch(self, dataset_id: str, key_class: str) -> EpochFacts | None: ...

    def epochs(self, dataset_id: str) -> Sequence[EpochFacts]: ...

    def add_epoch(self, *, epoch_id: str, dataset_id: str, key_class: str, epoch: int) -> EpochFacts: ...

    def reserve_group(self, epoch_id: str, *, count: int, limit: int) -> GroupFacts | None: ...

    def add_group(
        self, *, group_id: str, dataset_id: str, key_class: str, epoch_id: str, wrapped: bytes, objects: int
    ) -> None: ...


@dataclass(slots=True)
class _Reservation:
    group_id: str
    left: int
    until: int


class KeyRing:
    """Makes and opens object keys. Thread safe; holds opened group keys for at most `CACHE_MS`."""

    def __init__(
        self,
        providers: Mapping[KeyClass, KeyProvider],
        rows: KeyRows,
        clock: Callable[[], int],
        *,
        cache_ms: int = CACHE_MS,
    ) -> None:
        self._providers = dict(providers)
        self._rows = rows
        self._clock = clock
        self._cache_ms = cache_ms
        self._opened: OrderedDict[tuple[KeyScope, str], tuple[SecretBytes, int]] = OrderedDict()
        self._reserved: dict[KeyScope, _Reservation] = {}
        self._lock = Lock()
        self._making = Lock()

    def new_object_key(self, scope: KeyScope, subject: str) -> tuple[SecretBytes, WrappedKey]:
        """A fresh key and its wrap under a group with room; makes epoch and group when there is none."""
        object_key = new_key()
        return object_key, self.wrap(scope, self._group_with_room(scope), subject, object_key)

    def wrap(self, scope: KeyScope, group_id: str, subject: str, object_key: bytes) -> WrappedKey:
        """The same key for another subject (an upload's way to its own key, a copy): under the same group, or under
        one with room where that group was left."""
        context = self.key_context(scope, group_id, subject)
        group_key = self._group_key(scope, group_id)
        if group_key is None:
            group_id = self._group_with_room(scope)
            context = self.key_context(scope, group_id, subject)
            group_key = self.open_group(scope, group_id)
        return WrappedKey(group_id, scope.key_class, wrap_key(group_key, object_key, context))

    def wrap_anew(self, scope: KeyScope, subject: str, object_key: bytes) -> WrappedKey:
        """The same key for a copy, under a group with room: it takes a place of its own."""
        return self.wrap(scope, self._group_with_room(scope), subject, object_key)

    def unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey) -> SecretBytes:
        """The object key, or `Refused("key.class" | "key.group" | "wrap.context" | "key.erased" | "key.destroyed" …)`.

        Where the wrap's group was erased, the subject's newer wrap is taken: a shredding gives one to all survivors,
        and leaves the one in the manifest's header as it is. Who was erased has none.
        """
        if wrapped.key_class != scope.key_class:
            raise Refused("key.class", "the wrap is of the other class")
        context = self.key_context(scope, wrapped.group_id, subject)
        group_key = self._group_key(scope, wrapped.group_id)
        if group_key is None:
            wrapped = self._moved(scope, subject, wrapped)
            context = self.key_context(scope, wrapped.group_id, subject)
            group_key = self.open_group(scope, wrapped.group_id)
        return SecretBytes(unwrap_key(group_key, wrapped.wrapped, context))

    def reserve(self, scope: KeyScope, count: int) -> tuple[str, SecretBytes]:
        """A group with `count` places taken in it (at most `GROUP_LIMIT`), and its key: for moving many at once."""
        group_id = self._reserve(scope, count)
        return group_id, self.open_group(scope, group_id)

    def forget(self) -> None:
        """Drop every opened group key now: after a rotation, a shredding, and in tests."""
        with self._lock:
            self._opened.clear()
        with self._making:
            self._reserved.clear()

    def _moved(self, scope: KeyScope, subject: str, old: WrappedKey) -> WrappedKey:
        row = self._rows.find_wrap(subject)
        if row is None or row.group_id == old.group_id or not row.wrapped:
            raise Refused("key.erased", "its key was shredded")
        if (row.dataset_id, row.key_class) != (scope.dataset_id, scope.key_class):
            raise Refused("key.group", "the wrap is of another dataset or class")
        return WrappedKey(row.group_id, row.key_class, bytes(row.wrapped))

    def open_group(self, scope: KeyScope, group_id: str) -> SecretBytes:
        """The group's key. Refused("key.erased") for one that was shredded."""
        group_key = self._group_key(scope, group_id)
        if group_key is None:
            raise Refused("key.erased", "its key group was shredded")
        return group_key

    def key_context(self, scope: KeyScope, group_id: str, subject: str) -> bytes:
        """What the wrap of an object key under a group key is bound to."""
        if not _SUBJECT.fullmatch(subject):
            raise Refused("key.subject")
        return KeyContext(scope.tenant, scope.zone, scope.dataset_id, scope.key_class, group_id, subject).encode()

    def provider(self, scope: KeyScope) -> KeyProvider:
        """Under the credential of the scope's class. Refused("key.class") where there is none."""
        provider = self._providers.get(KeyClass(scope.key_class))
        if provider is None:
            raise Refused("key.class", f"no provider credential for {scope.key_class} keys here")
        return provider

    def _group_key(self, scope: KeyScope, group_id: str) -> SecretBytes | None:
        """None for a group that was erased."""
        # The whole scope is in the cache key: what one tenant or dataset opened serves no other.
        place, now = (scope, group_id), self._clock()
        with self._lock:
            held = self._opened.get(place)
            if held is not None and now < held[1]:
                self._opened.move_to_end(place)
                return held[0]
        group = self._rows.find_group(group_id)
        if group is None:
            raise NotFound("key.group", group_id)
        if (group.dataset_id, group.key_class) != (scope.dataset_id, scope.key_class):
            raise Refused("key.group", "the group is of another dataset or class")
        if group.state == "erased":
            return None
        context = group_context(scope, group_id, group.epoch_id)
        group_key = SecretBytes(self.provider(scope).unwrap(group.epoch_id, group.wrapped, context))
        self._hold(place, group_key, now)
        return group_key

    def _hold(self, place: tuple[KeyScope, str], group_key: SecretBytes, now: int) -> None:
        with self._lock:
            self._opened[place] = (group_key, now + self._cache_ms)
            self._opened.move_to_end(place)
            while len(self._opened) > _CACHED_GROUPS:
                self._opened.popitem(last=False)

    def _group_with_room(self, scope: KeyScope) -> str:
        with self._making:
            now = self._clock()
            reserved = self._reserved.get(scope)
            if reserved is None or reserved.left == 0 or now >= reserved.until:
                # Reservations age too: after a rotation, new objects go to the new epoch within a minute.
                reserved = _Reservation(self._reserve(scope, RESERVED_AT_ONCE), RESERVED_AT_ONCE, now + self._cache_ms)
                self._reserved[scope] = reserved
            reserved.left -= 1
            return reserved.group_id

    def _reserve(self, scope: KeyScope, count: int) -> str:
        for last in (False, True):
            try:
                return self._reserve_in(scope, self._epoch(scope), count)
            except Conflict as conflict:  # rotated between the two questions
                if last or conflict.reason != "key.epoch-retired":
                    raise
        raise Broken("key.group")

    def _reserve_in(self, scope: KeyScope, epoch_id: str, count: int) -> str:
        group = self._rows.reserve_group(epoch_id, count=count, limit=GROUP_LIMIT)
        if group is not None:
            if (group.dataset_id, group.key_class, group.epoch_id) != (scope.dataset_id, scope.key_class, epoch_id):
                raise Broken("key.group", "the catalog answered a group of another epoch")
            return group.group_id
        group_id, group_key = secrets.token_hex(16), new_key()
        wrapped = self.provider(scope).wrap(epoch_id, group_key, group_context(scope, group_id, epoch_id))
        self._rows.add_group(
            group_id=group_id,
            dataset_id=scope.dataset_id,
            key_class=scope.key_class,
            epoch_id=epoch_id,
            wrapped=wrapped,
            objects=count,
        )
        self._hold((scope, group_id), group_key, self._clock())
        return group_id

    def _epoch(self, scope: KeyScope) -> str:
        active = self._rows.active_epoch(scope.dataset_id, scope.key_class)
        if active is not None:
            return active.epoch_id
        if any(each.key_class == scope.key_class for each in self._rows.epochs(scope.dataset_id)):
            raise Refused("key.disabled", "no epoch is active: enable one, or rotate")
        epoch_id, provider = secrets.token_hex(16), self.provider(scope)
        provider.create_epoch(epoch_id, KeyClass(scope.key_class))
        kept = self._rows.add_epoch(
            epoch_id=epoch_id, dataset_id=scope.dataset_id, key_class=scope.key_class, epoch=1
        ).epoch_id
        if kept != epoch_id:  # another broker was first; nothing was ever wrapped under ours
            provider.destroy(epoch_id)
        return kept


def group_context(scope: KeyScope, group_id: str, epoch_id: str) -> bytes:
    """What the wrap of a group key under an epoch key is bound to."""
    return GroupContext(scope.tenant, scope.zone, scope.dataset_id, scope.key_class, group_id, epoch_id).encode()
