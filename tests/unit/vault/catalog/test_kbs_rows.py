"""Tickets and handshakes in the catalog: kept by hash, settled once, forgotten after their end."""

import threading
from pathlib import Path

import pytest

from tests.fakes.clock import Clock
from tests.fakes.vault_world import RECORD, new_catalog
from vault.catalog.attestation_rows import KbsSessionRow, KbsTicketRow
from vault.catalog.catalog import Catalog
from vault.errors import Conflict, NotFound

COOKIE, TICKET = "ab" * 32, "cd" * 32
HOUR = 3_600_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalog(tmp_path: Path, clock: Clock) -> Catalog:
    return new_catalog(tmp_path, clock)


def handshake(clock: Clock, cookie: str = COOKIE) -> KbsSessionRow:
    return KbsSessionRow("main", cookie, "00" * 32, "snp", "", "asked", {}, "", "", clock() + 300_000)


def ticket(clock: Clock, name: str = TICKET) -> KbsTicketRow:
    return KbsTicketRow("main", name, "p" * 32, "train", ("a", "b"), clock() + HOUR, None, clock(), RECORD)


def test_a_handshake_is_settled_once(catalog: Catalog, clock: Clock) -> None:
    catalog.insert_kbs_session(handshake(clock))
    won: list[int] = []

    def settle(number: int) -> None:
        try:
            catalog.attested_kbs_session(COOKIE, token=f"t{number}", session_id="s", public_key={"kty": "EC"})
        except Conflict:
            return
        won.append(number)

    threads = [threading.Thread(target=settle, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    row = catalog.find_kbs_session(COOKIE)
    assert row is not None
    assert (len(won), row.token, row.state, row.public_key) == (1, f"t{won[0]}", "attested", {"kty": "EC"})
    with pytest.raises(Conflict):
        catalog.attested_kbs_session(COOKIE, token="t", session_id="s", public_key={})


def test_those_that_ran_out_are_forgotten(catalog: Catalog, clock: Clock) -> None:
    catalog.insert_kbs_session(handshake(clock))
    catalog.insert_kbs_ticket(ticket(clock))
    clock.advance(300_001)
    catalog.insert_kbs_session(handshake(clock, "ef" * 32))
    assert catalog.find_kbs_session(COOKIE) is None
    clock.advance(2 * HOUR)
    catalog.insert_kbs_ticket(ticket(clock, "ef" * 32))
    assert catalog.find_kbs_ticket(TICKET) is None


def test_a_ticket_is_revoked_for_good_and_of_one_tenant(catalog: Catalog, clock: Clock) -> None:
    catalog.insert_kbs_ticket(ticket(clock))
    first = catalog.revoke_kbs_ticket(TICKET)
    clock.advance(1000)
    assert catalog.revoke_kbs_ticket(TICKET) == first == catalog.find_kbs_ticket(TICKET)
    assert first.scope == ("a", "b")
    assert catalog.for_tenant("other").find_kbs_ticket(TICKET) is None
    with pytest.raises(NotFound):
        catalog.for_tenant("other").revoke_kbs_ticket(TICKET)
