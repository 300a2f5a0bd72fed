"""identity-issuers.json as it is now, looked at every two seconds. Missing, expired or unreadable, it trusts nobody."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Final

from gateway.identity.issuers import Issuers, parse_issuers
from vault.attest.trust.watched import Loaded, WatchedFile

NAME: Final = "identity-issuers.json"
LOOK_MS: Final = 2_000
_SHORT: Final = "identity-issuers"


class IssuersFile:
    """Of one trust directory. Safe from several threads; `clock`: ms UTC."""

    def __init__(self, directory: Path, clock: Callable[[], int]) -> None:
        self._file = WatchedFile(directory / NAME, parse_issuers)
        self._clock = clock
        self._lock = Lock()
        self._looked: int | None = None
        self._loaded: Loaded[Issuers] = Loaded(NAME)

    def __call__(self) -> Issuers:
        """The issuers that count now: none where the file is missing, expired or not understood."""
        return self.loaded().valid(self._clock()) or Issuers()

    def loaded(self) -> Loaded[Issuers]:
        now = self._clock()
        with self._lock:
            if self._looked is None or abs(now - self._looked) >= LOOK_MS:
                self._loaded, self._looked = self._file.look(), now
            return self._loaded

    def states(self) -> dict[str, str]:
        """present, missing, expired or unreadable, by the file's name, for who asks how the zone is."""
        return {_SHORT: self.loaded().state(self._clock()).value}

    def ends(self) -> dict[str, int]:
        """When the file expires, ms UTC."""
        dated = self.loaded().dated
        return {} if dated is None else {_SHORT: dated.expires_ms}
