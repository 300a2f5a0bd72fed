"""Where the zones of the crash tests lie: files and SQLite, or SeaweedFS and PostgreSQL."""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import boto3
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from tests.fakes import postgresql as pg
from tests.fakes import seaweedfs as weed
from tests.fault.crash.world import CrashWorld
from vault.catalog.database import Database
from vault.endpoint.address import parse_networks
from vault.store.s3 import S3Store

Opener = Callable[[Path], CrashWorld]


class Target(Protocol):
    """`fresh` gives an opener whose store and catalog are as the template's, for one seed."""

    name: str

    @property
    def template(self) -> Opener: ...

    def fresh(self) -> Opener: ...


class Files:
    """A zone is one directory: the copy of the template is all there is."""

    name = "files"
    template = CrashWorld

    def fresh(self) -> Opener:
        return CrashWorld


class Servers:
    """One PostgreSQL and one SeaweedFS for all seeds. Each seed has a database as the template left it, and an empty
    bucket, as the template's is."""

    name = "servers"

    def __init__(self, url: str, store: weed.Seaweed) -> None:
        self._admin = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self._store = store
        self._numbers = itertools.count()
        with self._admin.connect() as connection:
            connection.exec_driver_sql("CREATE DATABASE template_zone")
        database = Database(self._url("template_zone"))
        database.upgrade()
        database.close()
        self._client = boto3.client(
            "s3", endpoint_url=store.endpoint, region_name="us-east-1", aws_access_key_id=weed.ACCESS_KEY,
            aws_secret_access_key=weed.SECRET_KEY,
        )  # fmt: skip

    @property
    def template(self) -> Opener:
        return self._opener("template_zone", self._store.bucket)

    def fresh(self) -> Opener:
        name = f"seed{next(self._numbers)}"
        with self._admin.connect() as connection:
            if name != "seed0":  # the one before is done with
                connection.exec_driver_sql(f"DROP DATABASE IF EXISTS seed{int(name[4:]) - 1} WITH (FORCE)")
            connection.exec_driver_sql(f"CREATE DATABASE {name} TEMPLATE template_zone")
        self._empty()
        return self._opener(name, self._store.bucket)

    def _empty(self) -> None:
        """One bucket for all: each new one would take volumes of its own, and the server has few."""
        while held := self._client.list_objects_v2(Bucket=self._store.bucket).get("Contents"):
            for each in held:
                self._client.delete_object(Bucket=self._store.bucket, Key=each["Key"])

    def _opener(self, database: str, bucket: str) -> Opener:
        def store() -> S3Store:
            return S3Store.connect(
                bucket=bucket, endpoint=self._store.endpoint, region="us-east-1", access_key=weed.ACCESS_KEY,
                secret_key=weed.SECRET_KEY, networks=parse_networks("127.0.0.0/8"),
            )  # fmt: skip

        return lambda directory: CrashWorld(directory, store, self._url(database))

    def _url(self, database: str) -> str:
        return str(self._admin.url.set(database=database).render_as_string(hide_password=False))


@contextmanager
def target(name: str) -> Iterator[Target]:
    if name == "files":
        yield Files()
        return
    with tempfile.TemporaryDirectory(prefix="weed-") as directory, pg.postgresql() as url, \
            weed.seaweedfs(Path(directory)) as store:  # fmt: skip
        yield Servers(url, store)


def available(name: str) -> bool:
    return name == "files" or (pg.available() and weed.weed_binary() is not None)
