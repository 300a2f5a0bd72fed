"""Epoch keys in an HSM: one AES-256 key object for each epoch, on a token of its class, which never leaves it.

    CKO_SECRET_KEY <names>   CKA_SENSITIVE, not CKA_EXTRACTABLE; may encrypt and decrypt, nothing else
    CKO_DATA <names of the zone>_anchor, made once: a token without it was emptied, or is another
    CKO_DATA <names>_pending, its value the date (ms, decimal) until which destruction may be cancelled
    CKO_DATA <names>_destroyed, what destruction leaves, so that a name is never reused

    wrap = 0x01 || nonce (12 random bytes) || AES-256-GCM(epoch key, nonce, aad = "demesne/pkcs11/1" 0x00 || context)

A disabled key is one whose CKA_ENCRYPT and CKA_DECRYPT are false: the token itself refuses. (CKA_END_DATE would be
the place for a date, but it holds days, and SoftHSM does not read it back.) Every call looks its object up anew:
destroyed means at once. docs/spec/keys.md §3.4.
"""

import os
from typing import Any

from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, MechanismFlag, ObjectClass, exceptions

from vault.errors import Conflict, NotFound, Refused, Unavailable
from vault.keys.names import EpochNames
from vault.keys.pkcs11_module import Pkcs11Token, TokenAbsent, refuse_ambiguous
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

_VERSION = b"\x01"
_NONCE, _TAG = 12, 16
_NOT_OPEN = (exceptions.EncryptedDataInvalid, exceptions.EncryptedDataLenRange, exceptions.GeneralError,
             exceptions.DataInvalid, exceptions.FunctionFailed)  # fmt: skip


class Pkcs11Provider:
    """Epoch keys of one class, on one token, under one PIN."""

    def __init__(self, token: Pkcs11Token, names: EpochNames, location: ProviderLocation) -> None:
        self._token = token
        self._names = names
        self._location = location
        self._anchor = f"{names.of('zone')}_anchor"

    def initialise(self) -> None:
        """Mark the token as this zone's; changes nothing that is there."""

        def mark(session: Any) -> None:
            if not _data(session, self._anchor):
                _put(session, self._anchor, b"demesne")

        self._token.run(mark)

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        name = self._names.new(epoch_id, key_class)

        def create(session: Any) -> None:
            if self._status(session, name).state is not EpochState.UNKNOWN:
                raise Refused("key.exists", epoch_id)
            session.generate_key(
                KeyType.AES, 256, id=epoch_id.encode("ascii"), label=name, store=True,
                capabilities=MechanismFlag.ENCRYPT | MechanismFlag.DECRYPT,
                template={
                    Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.PRIVATE: True,
                    Attribute.MODIFIABLE: True, Attribute.SIGN: False, Attribute.VERIFY: False,
                    Attribute.WRAP: False, Attribute.UNWRAP: False, Attribute.DERIVE: False,
                },
            )  # fmt: skip
            made = _key(session, name)
            if made is None or made[Attribute.EXTRACTABLE] or not made[Attribute.SENSITIVE]:
                raise Unavailable("provider.answer", f"{name} is not the key that was asked for")

        self._token.run(create)

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        nonce = os.urandom(_NONCE)

        def encrypt(session: Any) -> bytes:
            key = self._active(session, epoch_id)
            return bytes(key.encrypt(plaintext, mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(nonce, context)))

        sealed = self._token.run(encrypt)
        if len(sealed) != len(plaintext) + _TAG:
            raise Unavailable("provider.answer", f"{len(sealed)} sealed bytes")
        return _VERSION + nonce + sealed

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        whole = len(wrapped) == len(_VERSION) + _NONCE + KEY_BYTES + _TAG and wrapped[:1] == _VERSION

        def decrypt(session: Any) -> bytes:
            key = self._active(session, epoch_id)
            if not whole:
                raise Refused("key.context", epoch_id)
            try:
                return bytes(key.decrypt(
                    wrapped[13:], mechanism=Mechanism.AES_GCM, mechanism_param=_gcm(wrapped[1:13], context)
                ))  # fmt: skip
            except _NOT_OPEN as error:
                raise Refused("key.context", epoch_id) from error

        opened = self._token.run(decrypt)
        if len(opened) != KEY_BYTES:
            raise Unavailable("provider.answer", f"a key of {len(opened)} bytes")
        return SecretBytes(opened)

    def disable(self, epoch_id: str) -> None:
        def disable(session: Any) -> None:
            key, status = self._known(session, epoch_id)
            _refuse_pending(status, epoch_id)
            _allow(key, use=False)

        self._token.run(disable)

    def enable(self, epoch_id: str) -> None:
        def enable(session: Any) -> None:
            key, status = self._known(session, epoch_id)
            _refuse_pending(status, epoch_id)
            _allow(key, use=True)

        self._token.run(enable)

    def schedule_destruction(self, epoch_id: str, days: int, now_ms: int) -> Destruction:
        until = pending_until(days, now_ms)

        def schedule(session: Any) -> Destruction:
            if self._status(session, self._names.of(epoch_id)).state is EpochState.DESTROYED:
                return Destruction("destroyed")
            key, status = self._known(session, epoch_id)
            if status.state is not EpochState.PENDING:
                _allow(key, use=False)
                _put(session, f"{self._names.of(epoch_id)}_pending", str(until).encode("ascii"))
                return Destruction("pending", until)
            return Destruction("pending", status.until_ms)

        return self._token.run(schedule)

    def cancel_destruction(self, epoch_id: str) -> None:
        def cancel(session: Any) -> None:
            key, status = self._known(session, epoch_id)
            if status.state is EpochState.ACTIVE:
                raise Conflict("key.not-pending", epoch_id)
            _allow(key, use=False)
            for mark in _data(session, f"{self._names.of(epoch_id)}_pending"):
                mark.destroy()

        self._token.run(cancel)

    def destroy(self, epoch_id: str) -> Destruction:
        name = self._names.of(epoch_id)

        def destroy(session: Any) -> Destruction:
            key = _key(session, name)
            if key is None:
                if self._status(session, name).state is EpochState.UNKNOWN:
                    raise NotFound("key.unknown", epoch_id)
                return Destruction("destroyed")
            # The mark first, as with every provider: a crash between leaves a key that is erased when repeated.
            _allow(key, use=False)
            if not _data(session, f"{name}_destroyed"):
                _put(session, f"{name}_destroyed", b"destroyed")
            key.destroy()
            return Destruction("destroyed")

        return self._token.run(destroy)

    def status(self, epoch_id: str) -> EpochStatus:
        name = self._names.of(epoch_id)
        return self._token.run(lambda session: self._status(session, name))

    def location(self) -> ProviderLocation:
        """A token knows no place: what the operator vouched, once the token has opened under its PIN."""

        def look(session: Any) -> str:
            self._status(session, self._names.of("zone"))
            return bytes(session.token.serial).decode("ascii", "replace").strip()

        serial = self._token.run(look)
        where = self._location
        return ProviderLocation(where.observed, where.strength, f"pkcs11:{self._token.label}:{serial}")

    def _active(self, session: Any, epoch_id: str) -> Any:
        key, status = self._known(session, epoch_id)
        refuse_unless_active(status.state, epoch_id)
        return key

    def _known(self, session: Any, epoch_id: str) -> tuple[Any, EpochStatus]:
        name = self._names.of(epoch_id)
        key = _key(session, name)
        if key is None:
            refuse_unless_active(self._status(session, name).state, epoch_id)
        return key, self._status(session, name, key)

    def _status(self, session: Any, name: str, key: Any = None) -> EpochStatus:
        key = _key(session, name) if key is None else key
        if key is not None:
            return _status_of(session, name, key)
        if _data(session, f"{name}_destroyed"):
            return EpochStatus(EpochState.DESTROYED)
        if not _data(session, self._anchor):  # "no such key" would be true, and mean nothing
            raise TokenAbsent("provider.token", f"{self._token.label} was not set up for this zone, or was emptied")
        return EpochStatus(EpochState.UNKNOWN)


def _key(session: Any, name: str) -> Any:
    found = list(session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: name}))
    refuse_ambiguous(name, len(found))
    return found[0] if found else None


def _data(session: Any, label: str) -> list[Any]:
    return list(session.get_objects({Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: label}))


def _put(session: Any, label: str, value: bytes) -> None:
    session.create_object({
        Attribute.CLASS: ObjectClass.DATA, Attribute.TOKEN: True, Attribute.PRIVATE: True, Attribute.LABEL: label,
        Attribute.VALUE: value,
    })  # fmt: skip


def _status_of(session: Any, name: str, key: Any) -> EpochStatus:
    if key[Attribute.ENCRYPT] and key[Attribute.DECRYPT]:
        return EpochStatus(EpochState.ACTIVE)
    marks = _data(session, f"{name}_pending")
    if not marks:
        return EpochStatus(EpochState.DISABLED)
    try:
        return EpochStatus(EpochState.PENDING, int(marks[0][Attribute.VALUE]))
    except ValueError as error:
        raise Unavailable("provider.answer", f"{name}_pending holds no date") from error


def _allow(key: Any, *, use: bool) -> None:
    key[Attribute.ENCRYPT] = use
    key[Attribute.DECRYPT] = use


def _gcm(nonce: bytes, context: bytes) -> GCMParams:
    return GCMParams(nonce, b"demesne/pkcs11/1\x00" + context, _TAG * 8)


def _refuse_pending(status: EpochStatus, epoch_id: str) -> None:
    if status.state is EpochState.PENDING:
        raise Refused("key.pending", epoch_id)
