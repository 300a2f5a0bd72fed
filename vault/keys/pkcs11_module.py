"""One PKCS#11 module in one process: loaded once, asked by one thread at a time, its errors given our names.

The library is initialised without locks of its own, so that whoever calls must take turns: raw and view are two
tokens of one module and share this object. A session that was lost is opened again at the next call, not in the same
one. A PIN that was refused is not tried twice: three wrong ones lock a token.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import pkcs11
from pkcs11 import exceptions

from vault.errors import Refused, Unavailable

T = TypeVar("T")
RELOAD_SECONDS = 10.0

_LOST = (
    exceptions.SessionHandleInvalid, exceptions.SessionClosed, exceptions.DeviceRemoved, exceptions.TokenNotPresent,
    exceptions.UserNotLoggedIn, exceptions.SlotIDInvalid, exceptions.TokenNotRecognised,
)  # fmt: skip
_PIN = (
    exceptions.PinIncorrect, exceptions.PinInvalid, exceptions.PinLenRange, exceptions.PinExpired,
    exceptions.PinLocked, exceptions.UserPinNotInitialized,
)  # fmt: skip
_BUSY = (
    exceptions.SessionCount, exceptions.DeviceMemory, exceptions.HostMemory, exceptions.FunctionCancelled,
    exceptions.OperationActive,
)  # fmt: skip


class TokenAbsent(Unavailable):
    """The token is not there, or is not the one this zone was set up with."""


class Pkcs11Module:
    """The loaded library and the turn to use it."""

    def __init__(self, path: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._monotonic = monotonic
        self._reloaded = monotonic()
        self._turn = Lock()

    def open(self, token: str, pin: str) -> Any:
        """A read-write session on the token of this label, logged in. To be called in one's turn."""
        library = pkcs11.lib(str(self._path))
        found = library.get_token(token_label=token)
        try:
            return found.open(rw=True, user_pin=pin)
        except exceptions.UserAlreadyLoggedIn:  # by this process, in a session that was lost and not closed
            return found.open(rw=True)

    def reload(self) -> None:
        """Slots are counted when a module is initialised: a token that came back is seen only after that. Ends the
        sessions of every token, which are opened again; so not at every call."""
        if self._monotonic() - self._reloaded < RELOAD_SECONDS:
            return
        self._reloaded = self._monotonic()
        with suppress(pkcs11.PKCS11Error):
            pkcs11.lib(str(self._path)).reinitialize()

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._turn:
            yield


class Pkcs11Token:
    """One token under one PIN: `run` hands an open session to a call. Thread safe."""

    def __init__(self, module: Pkcs11Module, label: str, pin: Path | None) -> None:
        self._module = module
        self._label = label
        self._pin = pin
        self._session: Any = None
        self._refused_pin: str | None = None

    @property
    def label(self) -> str:
        return self._label

    def run(self, call: Callable[[Any], T]) -> T:
        """`call` with the session. `Unavailable("provider.connection" | "token" | "throttled" | "credential" |
        "error")`; what `call` itself raises of ours goes through."""
        with self._module.turn():
            try:
                return call(self._open())
            except TokenAbsent:
                self._drop()
                self._module.reload()
                raise
            except exceptions.NoSuchToken as error:
                self._drop()
                self._module.reload()
                raise TokenAbsent("provider.token", f"no token is called {self._label}") from error
            except _LOST as error:
                self._drop()
                raise Unavailable("provider.connection", f"session or token lost: {type(error).__name__}") from error
            except _BUSY as error:
                raise Unavailable("provider.throttled", type(error).__name__) from error
            except pkcs11.PKCS11Error as error:
                self._drop()  # whatever it is: the next call begins with a session of its own
                self._module.reload()
                raise Unavailable("provider.error", type(error).__name__) from error
            except OSError as error:
                raise Unavailable("provider.error", "the module cannot be loaded") from error

    def _open(self) -> Any:
        if self._session is not None:
            return self._session
        pin = self._read_pin()
        if pin == self._refused_pin:
            raise Unavailable("provider.credential", "this PIN was refused before; it is not tried again")
        try:
            self._session = self._module.open(self._label, pin)
        except _PIN as error:
            self._refused_pin = pin
            raise Unavailable("provider.credential", type(error).__name__) from error
        return self._session

    def _read_pin(self) -> str:
        try:
            pin = self._pin.read_text("utf-8").strip() if self._pin else ""
        except (OSError, UnicodeDecodeError) as error:
            raise Unavailable("provider.credential", f"{self._pin}: {type(error).__name__}") from error
        if not pin:
            raise Unavailable("provider.credential", "no PIN")
        return pin

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(pkcs11.PKCS11Error):
                session.close()


def refuse_ambiguous(name: str, found: int) -> None:
    """PKCS#11 lets two objects have one label: then neither is the epoch."""
    if found > 1:
        raise Refused("key.ambiguous", f"{found} objects are called {name}")
