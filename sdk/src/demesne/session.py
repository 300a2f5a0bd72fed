"""An attested session: credentials that renew themselves, for this process, its children and its workers."""

import atexit
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demesne._exchange import Facts
from demesne.agent import Agent
from demesne.agent_client import fetch
from demesne.borrowed import Borrowed, Reachable
from demesne.credentials import Credentials
from demesne.environment import OVERLAYS
from demesne.errors import DemesneError, session_closed
from demesne.keeper import Keeper
from demesne.reach import Reach
from demesne.run import Digest, Run, State
from demesne.session_key import SessionKey


class Session(Reachable):
    """What `demesne.session` returns. Use it as a context manager, or call `close()`.

    Inside `with session:` the process's environment names the session, so that plain
    `pandas.read_parquet("s3://claims/…")` and child processes use it too. A forked child goes on with the parent's
    agent and can end nothing; pickled, a session becomes a `Borrowed` one.
    """

    def __init__(
        self,
        *,
        keeper: Keeper,
        agent: Agent,
        reach: Reach,
        key: SessionKey,
        end: Callable[[Facts], None],
        state: State,
    ) -> None:
        self._keeper = keeper
        self._agent = agent
        self._reach = reach
        self._key = key
        self._end = end
        self._state = state
        self._pid = os.getpid()
        self._closed = False
        _OPEN.add(self)

    def __repr__(self) -> str:
        return f"Session(session_id={self.session_id!r}, run_id={self.run_id!r}, purpose={self.purpose!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return Borrowed, (self.reach(), self.session_id, self.run_id, self.purpose)

    @property
    def session_id(self) -> str:
        return self._keeper.facts.session_id

    @property
    def run_id(self) -> str:
        """The lineage run; it outlives the session."""
        return self._keeper.facts.run_id

    @property
    def purpose(self) -> str:
        return self._keeper.facts.purpose

    @property
    def s3_endpoint(self) -> str:
        return self._reach.s3_endpoint

    @property
    def region(self) -> str:
        return self._reach.region

    @property
    def credentials(self) -> Credentials:
        """The present ones; ask again rather than keep them, they end. Raises SessionClosed."""
        if self.inherited:
            return fetch(self._reach.uri, self._reach.token_file)
        self.reach()
        return self._keeper.credentials()

    @property
    def failure(self) -> DemesneError | None:
        """Why the last background re-attestation failed; None while all is well."""
        return self._agent.failure

    @property
    def fresh_seconds(self) -> int:
        """How long one attestation lasts at the gateway."""
        return self._keeper.facts.fresh_seconds

    def ended(self, seconds: float = 0.0) -> bool:
        """Whether the gateway refused to renew for good, waiting at most so long; `failure` says why."""
        return self._agent.wait_final(seconds)

    @property
    def inherited(self) -> bool:
        """Whether this process was forked from the one that attested."""
        return os.getpid() != self._pid

    def reach(self) -> Reach:
        """Where the agent and the gateway are. Raises SessionClosed."""
        if self._closed:
            raise session_closed()
        return self._reach

    def reattest(self) -> None:
        """Re-attest now, in this thread. Raises what the gateway says; SessionClosed when closed or inherited."""
        self.reach()
        self._keeper.reattest()

    def run(
        self,
        name: str | None = None,
        *,
        outputs: Sequence[str] = (),
        parents: Sequence[str] = (),
        models: Mapping[str, Digest] | None = None,
    ) -> Run:
        """A block whose name, outputs, parents and model digests go on record as this job's own words (`Run`)."""
        self.reach()
        return Run(self._state, name, outputs=outputs, parents=parents, models=models or {})

    def close(self) -> None:
        """Stop the agent and revoke the session at the gateway. May be called twice. In a forked child it only puts
        the environment back: the session is the parent's."""
        if self._closed:
            return
        self._closed = True
        _OPEN.discard(self)
        OVERLAYS.leave(self)
        if self.inherited:
            return
        self._agent.close()
        self._end(self._keeper.facts)
        self._key.forget()

    def leave_open(self) -> None:
        """Stop the agent and let the session run out by itself: for who hands its credentials on and goes."""
        self._closed = True
        _OPEN.discard(self)
        OVERLAYS.leave(self)
        self._agent.close()
        self._key.forget()

    def __enter__(self) -> Self:
        OVERLAYS.enter(self, self.reach().env())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def after_fork(self) -> None:
        """In a forked child: no thread of ours is here, no lock may be trusted, and the key is not needed."""
        self._agent.after_fork()
        self._keeper.after_fork()
        self._key.forget()


def certificate_path(directory: Path) -> tuple[Path, Path]:
    """Where a session bound to its key keeps certificate and key."""
    return directory / "client.pem", directory / "client-key.pem"


_OPEN: set[Session] = set()  # held: an agent serves on although nobody keeps its session


def _after_fork() -> None:
    OVERLAYS.after_fork()
    for session in list(_OPEN):
        session.after_fork()


def _at_exit() -> None:
    """A program that ends without closing: its token file goes, and the gateway is told while it can be."""
    for session in list(_OPEN):
        with contextlib.suppress(DemesneError):
            session.close()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
