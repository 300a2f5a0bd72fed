"""A session's changing facts, behind one lock: ids, credentials, and how to attest again."""

import threading
from collections.abc import Callable

from demesne._exchange import Facts
from demesne.credentials import Credentials
from demesne.errors import session_closed


class Keeper:
    """Held by the session and its agent. `reattest` makes new facts of old ones and may take seconds.

    In a forked child there is nobody to attest: the facts of that moment stay readable, and `reattest` is refused.
    """

    def __init__(self, opened: Facts, *, reattest: Callable[[Facts], Facts]) -> None:
        self._facts = opened
        self._reattest: Callable[[Facts], Facts] | None = reattest
        self._lock = threading.Lock()  # guards _facts; held only to swap
        self._attesting = threading.Lock()  # one attestation at a time

    @property
    def facts(self) -> Facts:
        with self._lock:
            return self._facts

    def credentials(self) -> Credentials:
        return self.facts.credentials

    def reattest(self) -> int:
        """Attest again; returns the seconds until that lapses. Raises what the gateway says."""
        with self._attesting:
            if self._reattest is None:
                raise session_closed("this process was forked from the one that attested")
            renewed = self._reattest(self.facts)
            self.replace(renewed)
            return renewed.fresh_seconds

    def replace(self, facts: Facts) -> None:
        with self._lock:
            self._facts = facts

    def after_fork(self) -> None:
        """In the child: a lock may have been held by a thread that is not here."""
        self._lock, self._attesting = threading.Lock(), threading.Lock()
        self._reattest = None
