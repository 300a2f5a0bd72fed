"""Catalog and ledger over TLS, as an operator asks for it in the URL: checked against his authority, or not at all."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import trustme
from sqlalchemy import text

from lineage.errors import Unavailable as LedgerUnavailable
from lineage.ledger.postgresql import SharedLog, libpq_url
from tests.fakes.postgresql import Server, available
from tests.fakes.seaweedfs import free_ports
from tests.fakes.shared_ledger import KEY
from vault.catalog.database import Database
from vault.errors import Unavailable

pytestmark = [pytest.mark.servers, pytest.mark.skipif(not available(), reason="PostgreSQL is not installed")]


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[str, Path]]:
    """URL without its TLS part, and a folder with `ca.pem` and the authority of somebody else, `other.pem`."""
    authority = trustme.CA()
    leaf = authority.issue_cert("localhost")
    with tempfile.TemporaryDirectory(prefix="pgt-") as name, tempfile.TemporaryDirectory() as trusted:
        [port] = free_ports(1)
        tls = (leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())
        server = Server(Path(name), port=port, tls=tls)
        server.start()
        server.make_database("zone", "demesne", "secret", port)
        authority.cert_pem.write_to_path(f"{trusted}/ca.pem")
        trustme.CA().cert_pem.write_to_path(f"{trusted}/other.pem")
        yield f"postgresql+psycopg://demesne:secret@localhost:{port}/zone", Path(trusted)
        server.stop()


def test_both_are_encrypted_and_checked(place: tuple[str, Path]) -> None:
    url = f"{place[0]}?sslmode=verify-full&sslrootcert={place[1] / 'ca.pem'}"
    database = Database(url)
    with database.write() as connection:
        asked = text("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert tuple(connection.execute(asked).one()) == (True, "TLSv1.3")
    database.close()
    log = SharedLog(url, "de", KEY.public_key, durable=False)
    log.initialise()
    assert log.append([b"{}"], 1)[0] == 0
    log.close()
    with psycopg.connect(libpq_url(url)) as connection:
        assert connection.execute("SELECT count(*) FROM ledger_entry").fetchall() == [(1,)]


@pytest.mark.parametrize("wrong", ["authority", "name"])
def test_a_server_that_cannot_prove_its_name_is_no_catalog_and_no_ledger(
    wrong: str, place: tuple[str, Path]
) -> None:
    given = place[0] if wrong == "authority" else place[0].replace("localhost", "127.0.0.1")
    url = f"{given}?sslmode=verify-full&sslrootcert={place[1] / ('other.pem' if wrong == 'authority' else 'ca.pem')}"
    database = Database(url)
    with pytest.raises(Unavailable, match="certificate"):
        database.rows(text("SELECT 1"), {})
    database.close()
    log = SharedLog(url, "de", KEY.public_key, durable=False)
    with pytest.raises(LedgerUnavailable, match=r"ledger\.database"):
        log.initialise()
    log.close()
