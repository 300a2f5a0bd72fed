"""Zones of the end-to-end tests: each kind is started once a session, by the first test that asks for it."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

from tests.conftest import ROOT
from tests.e2e.people import Input, write_input
from tests.e2e.world import World, started, work_dir

DATASET = "claims"
STORE_BYTES = 128 << 20


@pytest.fixture(scope="session")
def made() -> Iterator[Input]:
    """Files with identities in them. Outside every state directory: these are the originals."""
    with work_dir("input") as directory:
        yield write_input(directory / "input")


@pytest.fixture(scope="session")
def world(made: Input) -> Iterator[World]:
    """Zones de and fr with `claims` in de. Tests leave it as it was."""
    with work_dir("pair") as directory, started(directory, zones=("de", "fr")) as running:
        running.ingest(made.directory, DATASET)
        yield running


@pytest.fixture(scope="session")
def tls(made: Input) -> Iterator[World]:
    """Zone de behind a certificate of a private authority."""
    with work_dir("tls") as directory:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        ca, cert, key = (directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        authority.cert_pem.write_to_path(str(ca))
        for blob in certificate.cert_chain_pems:
            blob.write_to_path(str(cert), append=True)
        certificate.private_key_pem.write_to_path(str(key))
        with started(directory, ca=ca, zones=("de",), tls_cert=cert, tls_key=key) as running:
            running.ingest(made.directory, DATASET)
            yield running


@pytest.fixture(scope="session")
def _spare(made: Input) -> Iterator[World]:
    with work_dir("spare") as directory, disk_of_its_own(directory / "state" / "zones" / "de" / "store"):
        doctrine = directory / "doctrine"
        shutil.copytree(ROOT / "policies", doctrine)
        with started(
            directory, zones=("de",), workers=2, created_buckets="open", doctrine_dir=doctrine,
            extra={"DEMESNE_RESIDENCY_INTERVAL_SECONDS": "3", "DEMESNE_DOCTRINE_INTERVAL_SECONDS": "1"},
        ) as running:  # fmt: skip
            running.ingest(made.directory, DATASET)
            yield running


@contextmanager
def disk_of_its_own(store: Path) -> Iterator[None]:
    """Where this user may mount: the store on a small disk, so that it can really be full."""
    store.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={STORE_BYTES},mode=700", "demesne-test", str(store)],
        check=False, capture_output=True,
    )  # fmt: skip
    try:
        yield
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(store)], check=True)


@pytest.fixture
def spare(_spare: World) -> Iterator[World]:
    """Zone de for tests that break it; all its processes run again before and after."""
    _spare.revive()
    yield _spare
    _spare.revive()


@pytest.fixture
def doctrine_dir(spare: World) -> Path:
    return spare.work_dir / "doctrine"
