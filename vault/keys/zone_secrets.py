"""The zone's own secrets: each 32 random bytes in a file, wrapped under a provider-held epoch key of its own.

    <directory>/secrets/<name>.wrapped        wrapped key; the epoch is called "secret-<name>"

Destroying that epoch key ends the secret: this is how pseudonyms of one purpose class, or all sealed decision
inputs, are dropped. From `root` derive the secrets that live as long as the zone (docs/spec/keys.md §5).
"""

import hashlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

from vault.errors import Refused, Unavailable
from vault.keys.durable import create_durable, make_private_directory
from vault.keys.provider import EpochState, KeyClass, KeyProvider
from vault.keys.secrets import SecretBytes, derive_secret, new_key

PSEUDONYM_SECONDS = 30.0
_NAME = re.compile(r"[a-z][a-z0-9-]{0,56}")


class ZoneSecrets:
    """Loads or makes the secrets of one zone under the raw credential. Thread safe; keeps what it opened, pseudonym
    keys for half a minute."""

    def __init__(self, directory: Path, provider: KeyProvider, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._pseudonyms: dict[str, float] = {}
        self._directory = directory / "secrets"
        self._provider = provider
        self._opened: dict[str, SecretBytes] = {}
        self._lock = Lock()
        make_private_directory(self._directory)

    def named(self, name: str) -> SecretBytes:
        """The secret of this name, made on first use. `Refused("key.destroyed")` once its epoch is destroyed."""
        if not _NAME.fullmatch(name):
            raise Refused("secret.name")
        with self._lock:
            if name not in self._opened:
                self._opened[name] = self._load_or_create(name)
            return self._opened[name]

    def derived(self, label: str) -> SecretBytes:
        """One secret of the zone's root, for one use."""
        return derive_secret(self.named("root"), label)

    def pseudonym_key(self, tenant: str, purpose_class: str) -> SecretBytes:
        """The key of one tenant's pseudonyms in one purpose class: joinable inside, unlinkable across."""
        name, now = pseudonym_name(tenant, purpose_class), self._monotonic()
        with self._lock:
            stale = now >= self._pseudonyms.get(name, now)
            if stale:  # asked for anew: its epoch may be disabled or destroyed
                self._opened.pop(name, None)
        key = self.named(name)
        if stale:
            with self._lock:
                self._pseudonyms[name] = now + PSEUDONYM_SECONDS
        return key

    def end(self, name: str) -> None:
        """Destroy the epoch key of this secret: nobody, a restored backup included, has it ever again."""
        with self._lock:
            self._opened.pop(name, None)
            self._provider.destroy(_epoch_id(name))

    def _load_or_create(self, name: str) -> SecretBytes:
        path, epoch_id, context = self._directory / f"{name}.wrapped", _epoch_id(name), _context(name)
        if not path.exists():
            if self._provider.status(epoch_id).state is EpochState.UNKNOWN:
                try:
                    self._provider.create_epoch(epoch_id, KeyClass.RAW)
                except Refused as error:
                    if error.reason != "key.exists":  # another broker of this zone was faster: its key is as good
                        raise
            # A crash may leave the epoch without the file: wrapping under it again is harmless.
            create_durable(path, self._provider.wrap(epoch_id, new_key(), context))
        try:
            wrapped = path.read_bytes()
        except OSError as error:
            raise Unavailable("secret.file", f"{name}: {error.strerror}") from error
        return SecretBytes(self._provider.unwrap(epoch_id, wrapped, context))


def pseudonym_name(tenant: str, purpose_class: str) -> str:
    """File-safe and unambiguous: two names never share a key, whatever characters they hold."""
    joined = f"{len(tenant)}:{tenant}{purpose_class}".encode()
    return "pseudonym-" + hashlib.sha256(joined).hexdigest()[:32]


def _epoch_id(name: str) -> str:
    return f"secret-{name}"


def _context(name: str) -> bytes:
    return b"demesne/secret/1\x00" + name.encode("ascii")
