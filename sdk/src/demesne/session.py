"""An attested session: credentials that renew themselves, for this process, its children and its workers."""

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from demesne._exchange import Facts
from demesne.agent import Agent
from demesne.agent_client import fetch
from demesne.credentials import Credentials
from demesne.environment import OVERLAYS
from demesne.errors import DemesneError, session_closed
from demesne.keeper import Keeper
from demesne.reach import Reach
from demesne.run import Digest, Run, State
from demesne.session_key import SessionKey


class Reachable:
    """What every view of a session has: the shapes clients take. Each raises SessionClosed when it was closed."""

    def reach(self) -> Reach:
        """Where the agent and the gateway are: values that cross process borders."""
        raise NotImplementedError

    def env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment for a child process (`Reach.env`)."""
        return self.reach().env(base)

    def storage_options(self, client: Literal["s3fs", "polars"] = "s3fs") -> dict[str, Any]:
        """`storage_options=` for pandas and dask, or for polars and obstore (`Reach.storage_options`)."""
        return self.reach().storage_options(client)

    def filesystem(self) -> Any:
        """An `s3fs.S3FileSystem`. Needs `demesne[s3fs]`."""
        return self.reach().filesystem()

    def pyarrow(self) -> Any:
        """A `pyarrow.fs.S3FileSystem`. Needs `demesne[pyarrow]`."""
        return self.reach().pyarrow()

    def boto3(self, service: str = "s3", **options: Any) -> Any:
        """A boto3 client at the gateway. Needs `demesne[boto3]`."""
        return self.reach().boto3(service, **options)

    def duckdb(self, database: str = ":memory:", **options: Any) -> Any:
        """A DuckDB connection that reads `s3://` through this session. Needs `demesne[duckdb]`."""
        return self.reach().duckdb(database, **options)


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
        _SESSIONS.add(self)

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
        OVERLAYS.leave(self)
        if self.inherited:
            return
        self._agent.close()
        self._end(self._keeper.facts)
        self._key.forget()

    def leave_open(self) -> None:
        """Stop the agent and let the session run out by itself: for who hands its credentials on and goes."""
        self._closed = True
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


class Borrowed(Reachable):
    """A session of another process on this machine: what a pickled `Session` becomes. It renews nothing and ends
    nothing; when the process that attested ends, its clients fail and `credentials` raises SessionClosed."""

    def __init__(self, reach: Reach, session_id: str, run_id: str, purpose: str) -> None:
        self._reach = reach
        self.session_id = session_id
        self.run_id = run_id
        self.purpose = purpose

    def __reduce__(self) -> tuple[Any, ...]:
        return Borrowed, (self._reach, self.session_id, self.run_id, self.purpose)

    @property
    def s3_endpoint(self) -> str:
        return self._reach.s3_endpoint

    @property
    def region(self) -> str:
        return self._reach.region

    @property
    def credentials(self) -> Credentials:
        """Asked of the agent. Raises SessionClosed when it is gone, Refused when the gateway took the session away."""
        return fetch(self._reach.uri, self._reach.token_file)

    def reach(self) -> Reach:
        return self._reach

    def __enter__(self) -> Self:
        OVERLAYS.enter(self, self._reach.env())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        OVERLAYS.leave(self)


def certificate_path(directory: Path) -> tuple[Path, Path]:
    """Where a session bound to its key keeps certificate and key."""
    return directory / "client.pem", directory / "client-key.pem"


_SESSIONS: "weakref.WeakSet[Session]" = weakref.WeakSet()


def _after_fork() -> None:
    OVERLAYS.after_fork()
    for session in list(_SESSIONS):
        session.after_fork()


os.register_at_fork(after_in_child=_after_fork)
