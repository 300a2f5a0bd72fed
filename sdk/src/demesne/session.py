"""An attested session: credentials that renew themselves, shaped for the clients people already use."""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from demesne.agent import Agent
from demesne.credentials import Credentials
from demesne.errors import DemesneError, missing_extra

_PYARROW_ENVIRONMENT = threading.Lock()  # pyarrow's AWS SDK reads the process environment while it is built


class Session:
    """What `demesne.attest` returns. Use it as a context manager, or call `close()`.

    Inside `with session:` the process's environment names the session, so that plain
    `pandas.read_parquet("s3://claims/…")` and child processes use it too.
    """

    def __init__(
        self,
        *,
        keeper: "Keeper",
        agent: Agent,
        s3_endpoint: str,
        region: str,
        ca: Path | None,
        end: Callable[[], None],
    ) -> None:
        self._keeper = keeper
        self._agent = agent
        self._ca = ca
        self._end = end
        self._restore: contextlib.ExitStack | None = None
        self._closed = False
        self.s3_endpoint = s3_endpoint
        self.region = region

    def __repr__(self) -> str:
        return f"Session(session_id={self.session_id!r}, run_id={self.run_id!r}, purpose={self.purpose!r})"

    @property
    def session_id(self) -> str:
        return self._keeper.session_id

    @property
    def run_id(self) -> str:
        """The lineage run; it outlives the session."""
        return self._keeper.run_id

    @property
    def purpose(self) -> str:
        return self._keeper.purpose

    @property
    def credentials(self) -> Credentials:
        """The present ones; ask again rather than keep them, they end."""
        return self._keeper.credentials()

    @property
    def failure(self) -> DemesneError | None:
        """Why the last background re-attestation failed; None while all is well."""
        return self._agent.failure

    def reattest(self) -> None:
        """Re-attest now, in this thread. Raises what the gateway says."""
        self._keeper.reattest()

    def env(self) -> dict[str, str]:
        """Environment of a child process whose S3 client, in any language, shall use this session."""
        variables = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self._agent.uri,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self._agent.token_file),
            "AWS_ENDPOINT_URL": self.s3_endpoint,
            "S3_ENDPOINT_URL": self.s3_endpoint,  # MosaicML streaming reads this name
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,  # botocore reads only this one
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        if self.s3_endpoint.startswith("http://"):
            variables["AWS_ALLOW_HTTP"] = "true"  # object_store (polars, obstore) refuses http without it
        if self._ca is not None:
            variables["AWS_CA_BUNDLE"] = str(self._ca)
        return variables

    def storage_options(self, client: Literal["s3fs", "polars"] = "s3fs") -> dict[str, Any]:
        """`storage_options=` for pandas, dask and others on s3fs (default), or for polars and obstore.

        Both renew by themselves. The s3fs form holds a live object and stays in this process; to reach
        other processes give them `env()`. Raises NotConfigured when s3fs is not installed.
        """
        if client == "polars":
            return {
                "aws_endpoint_url": self.s3_endpoint,
                "aws_region": self.region,
                "aws_container_credentials_full_uri": self._agent.uri,
                "aws_container_authorization_token_file": str(self._agent.token_file),
                "aws_allow_http": str(self.s3_endpoint.startswith("http://")).lower(),
            }
        options: dict[str, Any] = {
            "session": self._aio_session(),
            "endpoint_url": self.s3_endpoint,
            "client_kwargs": {"region_name": self.region},
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        }
        if self._ca is not None:
            options["client_kwargs"]["verify"] = str(self._ca)
        return options

    def filesystem(self) -> Any:
        """An `s3fs.S3FileSystem` (also for `duckdb.register_filesystem`). Needs `demesne[s3fs]`."""
        try:
            import s3fs
        except ImportError as error:
            raise missing_extra("s3fs", "s3fs") from error
        # Never from fsspec's instance cache: two sessions must not share one filesystem.
        return s3fs.S3FileSystem(skip_instance_cache=True, **self.storage_options())

    def boto3(self, service: str = "s3", **options: Any) -> Any:
        """A boto3 client of `service` at the gateway. Needs `demesne[boto3]`."""
        try:
            import boto3
            from botocore.config import Config
            from botocore.credentials import ContainerProvider, CredentialResolver
            from botocore.session import Session as BotoSession
        except ImportError as error:
            raise missing_extra("boto3", "boto3") from error
        inner = BotoSession()
        # Only our endpoint: with the default chain a forgotten ~/.aws/credentials would win silently.
        inner.register_component("credential_provider", CredentialResolver([ContainerProvider(environ=self.env())]))
        config = Config(s3={"addressing_style": "path"})
        options["config"] = config.merge(options["config"]) if "config" in options else config
        if self._ca is not None:
            options.setdefault("verify", str(self._ca))
        session: Any = boto3.Session(botocore_session=inner, region_name=self.region)  # its stubs know only literals
        return session.client(service, endpoint_url=self.s3_endpoint, **options)

    def pyarrow(self) -> Any:
        """A `pyarrow.fs.S3FileSystem`. Needs `demesne[pyarrow]`.

        Its AWS SDK takes refreshing credentials only from the environment, and reads that while it is
        built: the variables are set for that moment and put back. Inside `with session:` they stand anyway.
        """
        try:
            from pyarrow import fs
        except ImportError as error:
            raise missing_extra("pyarrow", "pyarrow") from error
        scheme, _, address = self.s3_endpoint.partition("://")
        # endpoint_override, because this constructor ignores AWS_ENDPOINT_URL and would go to amazonaws.com.
        options: dict[str, Any] = {"endpoint_override": address, "scheme": scheme, "region": self.region}
        if self._ca is not None:
            options["tls_ca_file_path"] = str(self._ca)
        if os.environ.get("AWS_ACCESS_KEY_ID"):
            # The environment's key would win at every request, long after construction: give ours outright.
            # They do not renew; `docs/limitations.md` says so.
            now = self.credentials
            options |= {"access_key": now.access_key_id, "secret_key": now.secret_access_key}
            return fs.S3FileSystem(session_token=now.session_token, **options)
        lone = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_CONFIG_FILE": os.devnull}
        with _PYARROW_ENVIRONMENT, variables_set(os.environ, self.env() | lone):
            return fs.S3FileSystem(**options)

    def _aio_session(self) -> Any:
        try:
            from aiobotocore.credentials import (  # type: ignore[import-untyped, unused-ignore]
                AioContainerProvider,
                AioCredentialResolver,
            )
            from aiobotocore.session import AioSession  # type: ignore[import-untyped, unused-ignore]
        except ImportError as error:
            raise missing_extra("s3fs", "s3fs") from error
        session = AioSession()
        provider = AioContainerProvider(environ=self.env())
        session.register_component("credential_provider", AioCredentialResolver([provider]))
        return session

    def close(self) -> None:
        """Stop the agent and revoke the session at the gateway. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._leave()
        self._agent.close()
        self._end()

    def __enter__(self) -> Self:
        self._restore = contextlib.ExitStack()
        self._restore.enter_context(variables_set(os.environ, self.env()))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _leave(self) -> None:
        if self._restore is not None:
            self._restore.close()
            self._restore = None


class Keeper:
    """The session's changing facts, behind one lock: ids, credentials, and how to attest again."""

    def __init__(self, opened: "Facts", *, reattest: Callable[["Facts"], "Facts"]) -> None:
        self._facts = opened
        self._reattest = reattest
        self._lock = threading.Lock()  # guards _facts; held only to swap
        self._attesting = threading.Lock()  # one attestation at a time

    @property
    def session_id(self) -> str:
        return self._read().session_id

    @property
    def run_id(self) -> str:
        return self._read().run_id

    @property
    def purpose(self) -> str:
        return self._read().purpose

    def credentials(self) -> Credentials:
        return self._read().credentials

    def reattest(self) -> int:
        """Attest again; returns the seconds until that lapses."""
        with self._attesting:
            renewed = self._reattest(self._read())
            with self._lock:
                self._facts = renewed
            return renewed.fresh_seconds

    def _read(self) -> "Facts":
        with self._lock:
            return self._facts


class Facts:
    """One state of a session; replaced whole, so that a reader never sees half of two."""

    __slots__ = ("credentials", "fresh_seconds", "purpose", "run_id", "session_id")

    def __init__(
        self, *, session_id: str, run_id: str, purpose: str, fresh_seconds: int, credentials: Credentials
    ) -> None:
        self.session_id = session_id
        self.run_id = run_id
        self.purpose = purpose
        self.fresh_seconds = fresh_seconds
        self.credentials = credentials


@contextlib.contextmanager
def variables_set(environ: MutableMapping[str, str], values: dict[str, str]) -> Iterator[None]:
    """`values` in `environ` for the block; afterwards exactly what was there before."""
    before = {name: environ.get(name) for name in values}
    environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                environ.pop(name, None)
            else:
                environ[name] = value
