"""A broker that holds its keys in memory and opens them for any grant: for tests of what lies beside the broker.

Every unwrap is counted; `refuse` makes the next ones fail by name.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from vault.broker.types import GeneratedKey, Grant, ManifestKeys
from vault.envelope.context import KeyContext
from vault.envelope.derive import manifest_key
from vault.envelope.wrap import WrappedKey, unwrap_key, wrap_key
from vault.errors import Refused
from vault.keys.hierarchy import KeyScope
from vault.keys.secrets import SecretBytes


@dataclass
class KeyHolder:
    root: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    group_id: str = field(default_factory=lambda: secrets.token_hex(16))
    unwraps: list[tuple[str, str]] = field(default_factory=list)
    refuse: str | None = None
    ended: set[str] = field(default_factory=set)

    def generate(self, scope: KeyScope, subject: str, upload_id: str | None = None) -> GeneratedKey:
        key = SecretBytes(secrets.token_bytes(32))
        wrapped = WrappedKey(self.group_id, scope.key_class, wrap_key(self.root, key, self._context(scope, subject)))
        upload = None if upload_id is None else wrap_key(self.root, key, self._context(scope, upload_id))
        return GeneratedKey(key, wrapped, upload)

    def unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey, grant: Grant) -> bytes:
        return self._unwrap(scope, subject, wrapped.wrapped, "unwrap")

    def manifest_keys(
        self, scope: KeyScope, subject: str, wrapped: WrappedKey, grant: Grant, manifests: Sequence[tuple[str, int]],
        copy_to: str | None = None,
    ) -> ManifestKeys:  # fmt: skip
        key = self._unwrap(scope, subject, wrapped.wrapped, "manifest")
        keys = tuple(SecretBytes(manifest_key(key, name, generation)) for name, generation in manifests)
        if copy_to is None:
            return ManifestKeys(keys)
        again = wrap_key(self.root, key, self._context(scope, copy_to))
        return ManifestKeys(keys, WrappedKey(self.group_id, scope.key_class, again))

    def unwrap_upload(self, scope: KeyScope, subject: str, upload_id: str, upload_wrapped: bytes) -> bytes:
        if upload_id in self.ended:
            raise Refused("broker.upload")
        return self._unwrap(scope, upload_id, upload_wrapped, "upload")

    def end_upload(self, scope: KeyScope, subject: str, upload_id: str) -> None:
        self.ended.add(upload_id)

    def builder_unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey, job_id: str, fence: int) -> bytes:
        return self._unwrap(scope, subject, wrapped.wrapped, "builder")

    def _unwrap(self, scope: KeyScope, subject: str, wrapped: bytes, how: str) -> bytes:
        if self.refuse is not None:
            raise Refused(self.refuse)
        self.unwraps.append((how, subject))
        return unwrap_key(self.root, wrapped, self._context(scope, subject))

    def _context(self, scope: KeyScope, subject: str) -> bytes:
        context = KeyContext(scope.tenant, scope.zone, scope.dataset_id, scope.key_class, self.group_id, subject)
        return context.encode()


def grant(session_id: str | None = "5" * 32, principal: str = "p", view: str = "raw") -> Grant:
    return Grant(f'{{"principal":"{principal}","view":"{view}"}}'.encode(), "promise", session_id)
