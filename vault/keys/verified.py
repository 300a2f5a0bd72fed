"""A provider across a wire is believed only as far as its answers can be checked.

    wrap = commitment (16 bytes) || what the provider answered
    commitment = first half of HMAC-SHA-256(key, "demesne/wrap-commitment/1" 0x00 || context)

A wrap is opened once before it is used: one that does not open would lose every object below it, and nobody would
notice before the cache is cold. An opened key is compared with its commitment: another key of the right length,
whether by mistake or on purpose, is no answer. HMAC under a random 256-bit key tells nothing about that key.
"""

import hashlib
import hmac

from vault.errors import Refused, Unavailable
from vault.keys.provider import Destruction, EpochStatus, KeyClass, KeyProvider, ProviderLocation
from vault.keys.secrets import KEY_BYTES, SecretBytes

_COMMITMENT = 16
MAX_WRAP = 1024  # bytes; the longest, of KMS, is below 300


class VerifiedProvider:
    """`provider`, whose wraps carry a commitment to the key in them. `Unavailable("provider.answer")` when it lies."""

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        self._provider.create_epoch(epoch_id, key_class)

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        wrapped = self._provider.wrap(epoch_id, plaintext, context)
        if not 0 < len(wrapped) <= MAX_WRAP - _COMMITMENT:
            raise Unavailable("provider.answer", f"a wrap of {len(wrapped)} bytes")
        try:
            opened = self._provider.unwrap(epoch_id, wrapped, context)
        except Refused as error:
            raise Unavailable("provider.answer", f"its own wrap does not open: {error.reason}") from error
        if not hmac.compare_digest(opened, plaintext):
            raise Unavailable("provider.answer", "its own wrap opens to another key")
        return _commitment(plaintext, context) + wrapped

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        if not _COMMITMENT < len(wrapped) <= MAX_WRAP:
            raise Refused("key.context", epoch_id)
        opened = self._provider.unwrap(epoch_id, wrapped[_COMMITMENT:], context)
        if len(opened) != KEY_BYTES:
            raise Unavailable("provider.answer", f"a key of {len(opened)} bytes")
        if not hmac.compare_digest(_commitment(opened, context), wrapped[:_COMMITMENT]):
            # The provider authenticated its part: either it answered another key, or our own sixteen bytes changed.
            raise Refused("key.context", f"{epoch_id}: not the key that was wrapped")
        return SecretBytes(opened)

    def disable(self, epoch_id: str) -> None:
        self._provider.disable(epoch_id)

    def enable(self, epoch_id: str) -> None:
        self._provider.enable(epoch_id)

    def schedule_destruction(self, epoch_id: str, days: int, now_ms: int) -> Destruction:
        return self._provider.schedule_destruction(epoch_id, days, now_ms)

    def cancel_destruction(self, epoch_id: str) -> None:
        self._provider.cancel_destruction(epoch_id)

    def destroy(self, epoch_id: str) -> Destruction:
        return self._provider.destroy(epoch_id)

    def status(self, epoch_id: str) -> EpochStatus:
        return self._provider.status(epoch_id)

    def location(self) -> ProviderLocation:
        return self._provider.location()


def _commitment(key: bytes, context: bytes) -> bytes:
    return hmac.new(key, b"demesne/wrap-commitment/1\x00" + context, hashlib.sha256).digest()[:_COMMITMENT]
