"""Epoch keys in the Transit engine of HashiCorp Vault or OpenBao: one Transit key for each epoch.

    <names>                 the epoch key: aes256-gcm96, never exportable, no plaintext backup; version 1 wraps
    <names>_destroyed       what destruction leaves, so that a name is never reused

Transit has no "disabled": a second version is made, and everything below it disallowed. The server itself then
refuses to open what version 1 wrapped, and to wrap under it. A scheduled destruction is that, and `auto_rotate_period`
counted from version 2 is its date: the one place of a key's configuration that holds a time. docs/spec/keys.md §3.2.
"""

import base64
import binascii
import re
from typing import NoReturn

from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.keys.names import EpochNames
from vault.keys.provider import (
    Destruction,
    EpochState,
    EpochStatus,
    KeyClass,
    ProviderLocation,
    pending_until,
    refuse_unless_active,
)
from vault.keys.secrets import KEY_BYTES, SecretBytes
from vault.keys.transit_api import BadRequest, Document, TransitApi

_WRAP = re.compile(rb"vault:v1:([A-Za-z0-9+/]{80})")  # nonce 12, key 32, tag 16
_KEY_TYPE = "aes256-gcm96"


class TransitProvider:
    """Epoch keys of one class. What the token may do is decided by the server's policies, by name."""

    def __init__(self, api: TransitApi, names: EpochNames, *, mount: str, location: ProviderLocation) -> None:
        self._api = api
        self._names = names
        self._mount = mount
        self._location = location

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        name = self._names.new(epoch_id, key_class)
        if self._read(epoch_id, name) is not None or self._read(epoch_id, f"{name}_destroyed") is not None:
            raise Refused("key.exists", epoch_id)
        self._write(epoch_id, f"keys/{name}", {
            "type": _KEY_TYPE, "derived": False, "exportable": False, "allow_plaintext_backup": False,
        })  # fmt: skip
        made = self._read(epoch_id, name)
        if made is None or made.get("type") != _KEY_TYPE or made.get("exportable") or made.get("derived"):
            raise Unavailable("provider.answer", f"{name} is not the key that was asked for")

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        # Version 1 by name: under a disabled key the server would otherwise wrap with the version that disables it.
        body = {"plaintext": _b64(plaintext), "associated_data": _b64(context), "key_version": 1}
        data = self._use("encrypt", epoch_id, body)
        wrapped = str(data.get("ciphertext", "")).encode("ascii", "replace")
        if not _WRAP.fullmatch(wrapped):
            raise Unavailable("provider.answer", "not a ciphertext of version 1")
        return wrapped

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        if not _WRAP.fullmatch(wrapped):
            self._raise_for_state(epoch_id)
        body = {"ciphertext": wrapped.decode("ascii"), "associated_data": _b64(context)}
        data = self._use("decrypt", epoch_id, body)
        try:
            opened = base64.b64decode(str(data.get("plaintext", "")), validate=True)
        except (ValueError, binascii.Error) as error:
            raise Unavailable("provider.answer", "not base64") from error
        if len(opened) != KEY_BYTES:
            raise Unavailable("provider.answer", f"a key of {len(opened)} bytes")
        return SecretBytes(opened)

    def disable(self, epoch_id: str) -> None:
        state = self._known(epoch_id).state
        if state is EpochState.PENDING:
            raise Refused("key.pending", epoch_id)
        if state is EpochState.ACTIVE:
            self._disallow(epoch_id)

    def enable(self, epoch_id: str) -> None:
        state = self._known(epoch_id).state
        if state is EpochState.PENDING:
            raise Refused("key.pending", epoch_id)
        if state is EpochState.DISABLED:
            self._configure(epoch_id, {"min_decryption_version": 1, "min_encryption_version": 1})

    def schedule_destruction(self, epoch_id: str, days: int, now_ms: int) -> Destruction:
        until = pending_until(days, now_ms)
        status = self._known(epoch_id, destroyed_too=True)
        if status.state is EpochState.DESTROYED:
            return Destruction("destroyed")
        if status.state is EpochState.PENDING:
            return Destruction("pending", status.until_ms)
        if status.state is EpochState.ACTIVE:
            self._disallow(epoch_id)
        made = _version_time(self._read(epoch_id, self._names.of(epoch_id)) or {})
        self._configure(epoch_id, {"auto_rotate_period": f"{-(-until // 1000) - made}s"})
        return Destruction("pending", self.status(epoch_id).until_ms)

    def cancel_destruction(self, epoch_id: str) -> None:
        state = self._known(epoch_id).state
        if state is EpochState.ACTIVE:
            raise Conflict("key.not-pending", epoch_id)
        if state is EpochState.PENDING:
            self._configure(epoch_id, {"auto_rotate_period": "0s"})

    def destroy(self, epoch_id: str) -> Destruction:
        state = self._known(epoch_id, destroyed_too=True).state
        if state is EpochState.DESTROYED:
            return Destruction("destroyed")
        name = self._names.of(epoch_id)
        # Refused first, then the mark, then gone: wherever this stops, nothing opens, and repeating it goes on.
        if state is EpochState.ACTIVE:
            self._disallow(epoch_id)
        self._write(epoch_id, f"keys/{name}_destroyed", {"type": _KEY_TYPE})
        self._configure(epoch_id, {"deletion_allowed": True})
        try:
            self._api.delete(f"{self._mount}/keys/{name}")
        except Refused as error:
            self._raise_other(error, epoch_id)
        return Destruction("destroyed")

    def status(self, epoch_id: str) -> EpochStatus:
        name = self._names.of(epoch_id)
        key = self._read(epoch_id, name)
        if key is None:
            gone = self._read(epoch_id, f"{name}_destroyed") is not None
            return EpochStatus(EpochState.DESTROYED if gone else EpochState.UNKNOWN)
        if _whole(key, "min_decryption_version") <= 1:
            return EpochStatus(EpochState.ACTIVE)
        if period := _whole(key, "auto_rotate_period"):
            return EpochStatus(EpochState.PENDING, (_version_time(key) + period) * 1000)
        return EpochStatus(EpochState.DISABLED)

    def location(self) -> ProviderLocation:
        """Transit knows no place: what the operator vouched, once the server has answered under its certificate."""
        self._api.health()
        return self._location

    def _disallow(self, epoch_id: str) -> None:
        name = self._names.of(epoch_id)
        if _whole(self._read(epoch_id, name) or {}, "latest_version") < 2:
            self._write(epoch_id, f"keys/{name}/rotate", {})
        self._configure(epoch_id, {"min_decryption_version": 2, "min_encryption_version": 2})

    def _known(self, epoch_id: str, *, destroyed_too: bool = False) -> EpochStatus:
        status = self.status(epoch_id)
        if status.state is EpochState.UNKNOWN or (status.state is EpochState.DESTROYED and not destroyed_too):
            refuse_unless_active(status.state, epoch_id)
        return status

    def _configure(self, epoch_id: str, settings: Document) -> None:
        self._write(epoch_id, f"keys/{self._names.of(epoch_id)}/config", settings)

    def _use(self, operation: str, epoch_id: str, body: Document) -> Document:
        path = f"{self._mount}/{operation}/{self._names.of(epoch_id)}"
        try:
            return self._api.write(path, body)
        except (BadRequest, NotFound):
            self._raise_for_state(epoch_id)
        except Refused as error:
            # To encrypt under a key that is not there is to make one, which the policy does not allow.
            refuse_unless_active(self.status(epoch_id).state, epoch_id)
            self._raise_other(error, epoch_id)

    def _raise_for_state(self, epoch_id: str) -> NoReturn:
        """Why the server would not: it says so in prose, its key's state says so in fields."""
        refuse_unless_active(self.status(epoch_id).state, epoch_id)
        raise Refused("key.context", epoch_id)

    def _read(self, epoch_id: str, name: str) -> Document | None:
        try:
            return self._api.read(f"{self._mount}/keys/{name}")
        except NotFound:
            return None
        except Refused as error:
            self._raise_other(error, epoch_id)

    def _write(self, epoch_id: str, path: str, body: Document) -> None:
        try:
            self._api.write(f"{self._mount}/{path}", body)
        except Refused as error:
            self._raise_other(error, epoch_id)

    @staticmethod
    def _raise_other(error: Refused, epoch_id: str) -> NoReturn:
        if error.reason == "provider.denied":
            raise Refused("key.class", f"{epoch_id}: the provider denies it to this credential") from error
        raise Unavailable("provider.error", f"{epoch_id}: {error.reason}") from error


def _version_time(key: Document) -> int:
    """When version 2, which disabled the key, was made: seconds since the epoch."""
    versions = key.get("keys")
    made = versions.get("2") if isinstance(versions, dict) else None
    if not isinstance(made, int):
        raise Unavailable("provider.answer", "no time of version 2")
    return made


def _whole(key: Document, field: str) -> int:
    value = key.get(field)
    if not isinstance(value, int):
        raise Unavailable("provider.answer", f"no {field}")
    return value


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
