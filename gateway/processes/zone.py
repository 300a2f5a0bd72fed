"""Parts that several processes of a zone are built from."""

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qs, urlsplit

from gateway.settings import Settings
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database
from vault.catalog.seal import RowSeal
from vault.endpoint.address import parse_networks, parse_pins
from vault.errors import Refused
from vault.store.files import FileStore
from vault.store.store import Store

if TYPE_CHECKING:
    from vault.store.minio import MinioStore
    from vault.store.s3 import S3Store


def now_ms() -> int:
    """Milliseconds since the epoch, UTC. The only clock of the gateway; handed to every part that needs one."""
    return time.time_ns() // 1_000_000


def private_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)


def open_store(settings: Settings) -> Store:
    """The zone's store by its URL. Raises Refused("store.url") naming what is wrong with it."""
    url = urlsplit(settings.store_location)
    if url.scheme == "file":
        return FileStore(Path(url.path))
    return _open_bucket(settings, url)


def initialise_store(settings: Settings) -> None:
    """Make what the store needs to be one; changes nothing where it is there. Raises as `open_store`, Unavailable,
    Conflict("store.location") when files were set up for another jurisdiction."""
    url = urlsplit(settings.store_location)
    if url.scheme == "file":
        FileStore.initialise(Path(url.path), settings.jurisdiction)
    else:
        _open_bucket(settings, url).initialise(settings.jurisdiction)


def _open_bucket(settings: Settings, url: SplitResult) -> "S3Store | MinioStore":
    if url.scheme not in {"s3", "minio"} or not url.netloc:
        raise Refused(
            "store.url", "DEMESNE_STORE_URL must be file:///DIRECTORY, s3://BUCKET?endpoint=…&region=… or minio://…"
        )
    query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    if odd := sorted(set(query) - {"endpoint", "region"}):
        raise Refused("store.url", f"{odd[0]}: only endpoint and region may follow {url.scheme}://{url.netloc}?")
    if url.scheme == "minio":
        from vault.store.minio import MinioStore as Driver
    else:
        from vault.store.s3 import S3Store as Driver  # type: ignore[assignment]
    return Driver.connect(
        bucket=url.netloc, endpoint=query.get("endpoint"), region=query.get("region", ""),
        access_key=settings.store_access_key, secret_key=settings.store_secret_key, ca=settings.store_ca,
        networks=parse_networks(settings.store_networks), pins=parse_pins(settings.store_pins),
    )  # fmt: skip


def open_catalog(settings: Settings, mac_key: bytes) -> Catalog:
    return Catalog(Database(settings.catalog_location), RowSeal(mac_key), now_ms, tenant=settings.tenant)


def holder() -> str:
    """Who holds a lease: this process."""
    return f"{os.uname().nodename}:{os.getpid()}"
