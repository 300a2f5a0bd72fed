"""The embedded key provider: each epoch key is a file, readable with the credential of its class only.

    <directory>/credentials/{raw,view}.credential      32 random bytes each, 0600
    <directory>/epochs/<epoch id>.key                  one byte naming the class || sealed blob of 32 bytes
    <directory>/epochs/<epoch id>.disabled             empty: wraps and unwraps nothing while it is there
    <directory>/epochs/<epoch id>.pending              until when (ms, decimal) destruction may be cancelled
    <directory>/epochs/<epoch id>.destroyed            what destruction leaves, so that a name is never reused
    <directory>/location                               the jurisdiction somebody wrote there: self-reported

The class byte gives a clear refusal early; the floor is the seal, whose key is the class credential and
whose context names class and epoch: swapping bytes or files between classes opens nothing.
"""

from pathlib import Path

from vault.errors import Broken, Conflict, Malformed, NotFound, Refused, Unavailable
from vault.keys.durable import create_durable, erase_durable, make_private_directory
from vault.keys.provider import (
    Destruction,
    EpochState,
    EpochStatus,
    KeyClass,
    KeyProvider,
    ProviderLocation,
    checked_epoch_id,
    pending_until,
    refuse_unless_active,
)
from vault.keys.secrets import KEY_BYTES, SecretBytes, new_key, open_blob, seal_blob

_CLASS_BYTE = {KeyClass.RAW: b"R", KeyClass.VIEW: b"V"}


class LocalWhereabouts:
    """Where the provider's keys are, for those who hold no credential and must not: the residency check."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def location(self) -> ProviderLocation:
        try:
            observed = (self._directory / "location").read_text("utf-8").strip()
        except OSError:
            return ProviderLocation("", "none", f"local:{self._directory}")
        return ProviderLocation(observed, "self-reported", f"local:{self._directory}")


class LocalProvider:
    """Epoch keys of one class, opened with that class's credential. Nothing is cached: destroyed means now."""

    def __init__(self, directory: Path, key_class: KeyClass, credential: bytes) -> None:
        self._directory = directory
        self._key_class = key_class
        self._credential = SecretBytes(credential)

    @staticmethod
    def initialise(directory: Path, location: str = "") -> None:
        """Make the two credentials; a second call changes nothing. `location` is a jurisdiction such as "DE"."""
        make_private_directory(directory)
        for child in ("credentials", "epochs"):
            make_private_directory(directory / child)
        for key_class in KeyClass:
            create_durable(_credential_path(directory, key_class), new_key())
        if location:
            create_durable(directory / "location", location.encode("utf-8"))

    @staticmethod
    def connect(directory: Path, credential: KeyClass) -> KeyProvider:
        """The provider under one credential; `Unavailable("key.credential")` when that file is not readable."""
        try:
            secret = _credential_path(directory, credential).read_bytes()
        except OSError as error:
            raise Unavailable("key.credential", f"{credential}: {error.strerror}") from error
        if len(secret) != KEY_BYTES:
            raise Malformed("key.credential", f"{credential}: {len(secret)} bytes")
        return LocalProvider(directory, credential, secret)

    def create_epoch(self, epoch_id: str, key_class: KeyClass) -> None:
        if key_class is not self._key_class:
            raise Refused("key.class", f"this credential is for {self._key_class} keys")
        if self.status(epoch_id).state is not EpochState.UNKNOWN:
            raise Refused("key.exists", epoch_id)
        sealed = seal_blob(self._credential, new_key(), _epoch_context(self._key_class, epoch_id))
        if not create_durable(self._key_path(epoch_id), _CLASS_BYTE[key_class] + sealed):
            raise Refused("key.exists", epoch_id)

    def wrap(self, epoch_id: str, plaintext: bytes, context: bytes) -> bytes:
        return seal_blob(self._open_epoch(epoch_id), plaintext, b"wrap\x00" + context)

    def unwrap(self, epoch_id: str, wrapped: bytes, context: bytes) -> bytes:
        epoch_key = self._open_epoch(epoch_id)
        try:
            return SecretBytes(open_blob(epoch_key, wrapped, b"wrap\x00" + context))
        except Malformed as error:
            raise Refused("key.context", epoch_id) from error

    def disable(self, epoch_id: str) -> None:
        self._refuse_pending(self._owned(epoch_id), epoch_id)
        create_durable(self._mark_path(epoch_id, "disabled"), b"")

    def enable(self, epoch_id: str) -> None:
        self._refuse_pending(self._owned(epoch_id), epoch_id)
        erase_durable(self._mark_path(epoch_id, "disabled"))

    def schedule_destruction(self, epoch_id: str, days: int, now_ms: int) -> Destruction:
        until = pending_until(days, now_ms)
        status = self._owned(epoch_id, destroyed_too=True)
        if status.state is EpochState.DESTROYED:
            return Destruction("destroyed")
        create_durable(self._mark_path(epoch_id, "pending"), str(until).encode("ascii"))
        return Destruction("pending", self.status(epoch_id).until_ms)

    def cancel_destruction(self, epoch_id: str) -> None:
        state = self._owned(epoch_id).state
        if state is EpochState.ACTIVE:
            raise Conflict("key.not-pending", epoch_id)
        # Disabled first: a crash between the two must not leave an active key that somebody wanted destroyed.
        create_durable(self._mark_path(epoch_id, "disabled"), b"")
        erase_durable(self._mark_path(epoch_id, "pending"))

    def destroy(self, epoch_id: str) -> Destruction:
        self._owned(epoch_id, destroyed_too=True)  # a view credential must not be able to shred raw data either
        # The mark first: a crash between the two leaves a key that is refused and erased on the next call.
        create_durable(self._mark_path(epoch_id, "destroyed"), b"")
        erase_durable(self._key_path(epoch_id))
        return Destruction("destroyed")

    def status(self, epoch_id: str) -> EpochStatus:
        if self._mark_path(epoch_id, "destroyed").exists():
            return EpochStatus(EpochState.DESTROYED)
        if not self._key_path(epoch_id).exists():
            return EpochStatus(EpochState.UNKNOWN)
        try:
            return EpochStatus(EpochState.PENDING, int(self._mark_path(epoch_id, "pending").read_text("ascii")))
        except FileNotFoundError:
            disabled = self._mark_path(epoch_id, "disabled").exists()
            return EpochStatus(EpochState.DISABLED if disabled else EpochState.ACTIVE)
        except ValueError as error:
            raise Broken("key.file", f"{epoch_id}.pending holds no date") from error

    def location(self) -> ProviderLocation:
        return LocalWhereabouts(self._directory).location()

    def __repr__(self) -> str:
        return f"<LocalProvider {self._key_class} {self._directory}>"

    def _owned(self, epoch_id: str, *, destroyed_too: bool = False) -> EpochStatus:
        """The state of an epoch that this credential opens, whatever that state is."""
        status = self.status(epoch_id)
        if status.state is EpochState.DESTROYED:
            if not destroyed_too:
                raise Refused("key.destroyed", epoch_id)
        else:
            self._open_key(epoch_id)
        return status

    @staticmethod
    def _refuse_pending(status: EpochStatus, epoch_id: str) -> None:
        if status.state is EpochState.PENDING:
            raise Refused("key.pending", epoch_id)

    def _open_epoch(self, epoch_id: str) -> SecretBytes:
        refuse_unless_active(self.status(epoch_id).state, epoch_id)
        return self._open_key(epoch_id)

    def _open_key(self, epoch_id: str) -> SecretBytes:
        try:
            content = self._key_path(epoch_id).read_bytes()
        except FileNotFoundError as error:
            raise NotFound("key.unknown", epoch_id) from error
        except OSError as error:
            raise Unavailable("key.file", f"{epoch_id}: {error.strerror}") from error
        if content[:1] != _CLASS_BYTE[self._key_class]:
            raise Refused("key.class", f"this credential is for {self._key_class} keys")
        try:
            return SecretBytes(open_blob(self._credential, content[1:], _epoch_context(self._key_class, epoch_id)))
        except Malformed as error:
            raise Refused("key.class", "the epoch key does not open under this credential") from error

    def _key_path(self, epoch_id: str) -> Path:
        return self._directory / "epochs" / f"{checked_epoch_id(epoch_id)}.key"

    def _mark_path(self, epoch_id: str, mark: str) -> Path:
        return self._directory / "epochs" / f"{checked_epoch_id(epoch_id)}.{mark}"


def _credential_path(directory: Path, key_class: KeyClass) -> Path:
    return directory / "credentials" / f"{key_class}.credential"


def _epoch_context(key_class: KeyClass, epoch_id: str) -> bytes:
    return f"local-epoch/1\x00{key_class}\x00{epoch_id}".encode("ascii")
