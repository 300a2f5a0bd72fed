"""A session as others see it: the shapes clients take, and the session of another process of this machine."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, Self

from demesne.agent_client import fetch
from demesne.credentials import Credentials
from demesne.environment import OVERLAYS
from demesne.reach import Reach


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
