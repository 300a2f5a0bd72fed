"""How S3 clients reach a session: values only, shaped for the clients people already use.

A `Reach` holds no secret and no connection, only where the agent serves and where the gateway is. So it crosses
process borders (fork, spawn, Ray), and every client made of it renews its credentials by itself.
"""

import contextlib
import os
import ssl
import threading
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from demesne.environment import MISLEADING
from demesne.errors import Invalid, missing_extra

_PYARROW_ENVIRONMENT = threading.Lock()  # pyarrow's AWS SDK reads the process environment while it is built


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """PEM files, 0600, in the agent's directory: what a session bound to its key shows when it connects."""

    certificate: Path
    key: Path

    @property
    def pair(self) -> tuple[str, str]:
        return str(self.certificate), str(self.key)


@dataclass(frozen=True, slots=True)
class Reach:
    """Where the agent answers, and the S3 endpoint its credentials are for."""

    uri: str
    token_file: Path
    s3_endpoint: str
    region: str
    ca: Path | None = None
    client_certificate: ClientCertificate | None = None

    def env(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """Environment of a child process whose S3 client, in any language, shall use this session.

        With `base` (say, `os.environ`) a whole environment: `base` without what would win over the session, such as
        static keys, and with the session's variables.
        """
        variables = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": self.uri,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self.token_file),
            "AWS_ENDPOINT_URL": self.s3_endpoint,
            "S3_ENDPOINT_URL": self.s3_endpoint,  # MosaicML streaming reads this name
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,  # botocore reads only this one
            "AWS_EC2_METADATA_DISABLED": "true",
            # A forgotten ~/.aws with a default profile would win silently.
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_CONFIG_FILE": os.devnull,
        }
        if self.s3_endpoint.startswith("http://"):
            variables["AWS_ALLOW_HTTP"] = "true"  # object_store (polars, obstore) refuses http without it
        if self.ca is not None:
            variables["AWS_CA_BUNDLE"] = str(self.ca)
        kept = {} if base is None else {name: value for name, value in base.items() if name not in MISLEADING}
        return kept | variables

    def storage_options(self, client: Literal["s3fs", "polars"] = "s3fs") -> dict[str, Any]:
        """`storage_options=` for pandas, dask and others on s3fs (default), or for polars and obstore.

        Both renew by themselves, and both may be pickled. Raises NotConfigured when s3fs is not installed.
        """
        if client == "polars":
            self._shown_to("object_store (polars, obstore)")
            return {
                "aws_endpoint_url": self.s3_endpoint,
                "aws_region": self.region,
                "aws_container_credentials_full_uri": self.uri,
                "aws_container_authorization_token_file": str(self.token_file),
                "aws_allow_http": str(self.s3_endpoint.startswith("http://")).lower(),
            }
        options: dict[str, Any] = {
            "session": self.aiobotocore(),
            "endpoint_url": self.s3_endpoint,
            "client_kwargs": {"region_name": self.region},
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        }
        if self.ca is not None:
            options["client_kwargs"]["verify"] = str(self.ca)
        if self.client_certificate is not None:
            options["config_kwargs"]["client_cert"] = self.client_certificate.pair
        return options

    def aiobotocore(self) -> Any:
        """An aiobotocore session whose clients take this session's credentials. Needs `demesne[s3fs]`."""
        try:
            from demesne.aiobotocore_session import ReachSession
        except ImportError as error:
            raise missing_extra("s3fs", "s3fs") from error
        return ReachSession(self)

    def filesystem(self) -> Any:
        """An `s3fs.S3FileSystem`. Needs `demesne[s3fs]`."""
        try:
            import s3fs
        except ImportError as error:
            raise missing_extra("s3fs", "s3fs") from error
        # Never from fsspec's instance cache: a closed session's filesystem must not come back.
        return s3fs.S3FileSystem(skip_instance_cache=True, **self.storage_options())

    def duckdb(self, database: str = ":memory:", **options: Any) -> Any:
        """A DuckDB connection that reads `s3://` through this session. Needs `demesne[duckdb]`.

        By a registered filesystem: DuckDB's own S3 secrets are a snapshot of credentials and end with them.
        """
        try:
            import duckdb
        except ImportError as error:
            raise missing_extra("duckdb", "duckdb") from error
        connection = duckdb.connect(database, **options)
        connection.register_filesystem(self.filesystem())
        return connection

    def boto3(self, service: str = "s3", **options: Any) -> Any:
        """A boto3 client of `service` at the gateway. Needs `demesne[boto3]`. Other arguments go to boto3's client."""
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
        certificate = self.client_certificate
        config = Config(s3={"addressing_style": "path"}, client_cert=certificate.pair if certificate else None)
        options["config"] = config.merge(options["config"]) if "config" in options else config
        if self.ca is not None:
            options.setdefault("verify", str(self.ca))
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
        self._shown_to("pyarrow")
        scheme, _, address = self.s3_endpoint.partition("://")
        # endpoint_override, because this constructor ignores AWS_ENDPOINT_URL and would go to amazonaws.com.
        options: dict[str, Any] = {"endpoint_override": address, "scheme": scheme, "region": self.region}
        if self.ca is not None:
            options["tls_ca_file_path"] = str(self.ca)
        keys = self._keys_now()  # without an agent it would go on anonymously, and say so nowhere
        if os.environ.get("AWS_ACCESS_KEY_ID"):
            # The environment's key would win at every request, long after construction: give ours outright.
            # They do not renew; `docs/limitations.md` says so. Inside `with session:` the key is out of the way.
            return fs.S3FileSystem(**keys, **options)
        with _PYARROW_ENVIRONMENT, variables_set(os.environ, self.env()):
            return fs.S3FileSystem(**options)

    def ssl_context(self) -> ssl.SSLContext:
        """TLS for an HTTP client of your own (httpx, aiohttp): the private authority, and the client certificate."""
        context = ssl.create_default_context(cafile=str(self.ca) if self.ca is not None else None)
        if self.client_certificate is not None:
            context.load_cert_chain(*self.client_certificate.pair)
        return context

    def _shown_to(self, client: str) -> None:
        """Raises Invalid: told here and not by the gateway's 403 to each read."""
        if self.client_certificate is not None:
            raise Invalid(
                "client.certificate", f"{client} cannot show a client certificate",
                remedy="use .boto3(), .filesystem() or .duckdb(), or a session without bind=",
            )  # fmt: skip

    def _keys_now(self) -> dict[str, str]:
        from demesne.agent_client import fetch

        now = fetch(self.uri, self.token_file)
        return {
            "access_key": now.access_key_id, "secret_key": now.secret_access_key,
            "session_token": now.session_token or "",
        }  # fmt: skip


@contextlib.contextmanager
def variables_set(environ: MutableMapping[str, str], values: Mapping[str, str]) -> Iterator[None]:
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
