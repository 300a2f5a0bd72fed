"""Revoked principals, platforms and measurements: no evidence is taken, no key opened, and clearing rows revives
nothing."""

from pathlib import Path

import pytest

from tests.fakes.broker import BrokerWorld, FakeRevocation, FakeSession
from vault.attest.identities import value_digest
from vault.broker.revocations import LOOK_MS
from vault.errors import Malformed, Refused, Unavailable
from vault.keys.marks import LocalMarks

VERSION = "ab" * 16
WHATS = ("subject", "measurement")


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    made = BrokerWorld(tmp_path)
    made.restarted(marks=LocalMarks(tmp_path / "keys"))
    return made


def value_of(world: BrokerWorld, what: str) -> str:
    return value_digest({"subject": world.principal_id, "measurement": "sample"}[what])


def reason(world: BrokerWorld, session: FakeSession) -> str | None:
    """Why a raw key is not opened in this session; None when it is."""
    key = world.generate(VERSION)
    opened = world.opened()
    try:
        world.broker.unwrap(world.scope(), VERSION, key.wrapped, world.grant(VERSION, session.session_id))
    except Refused as refused:
        assert world.opened() == opened
        return refused.reason
    return None


@pytest.mark.parametrize("what", WHATS)
def test_a_revocation_counts_at_once(world: BrokerWorld, what: str) -> None:
    session = world.attested_session()
    assert reason(world, session) is None
    world.broker.revoke(what, value_of(world, what))
    assert reason(world, session) == "session.revoked"
    for again in (None, session.session_id):
        with pytest.raises(Refused) as refused:
            world.attest(again)
        assert refused.value.reason == "attest.revoked"
        assert world.refusals[-1]["reason"] == "attest.revoked"


@pytest.mark.parametrize("what", WHATS)
def test_a_mark_outlives_the_process_and_the_row(world: BrokerWorld, tmp_path: Path, what: str) -> None:
    session = world.attested_session()
    world.broker.revoke(what, value_of(world, what))
    world.catalog.revoked.clear()  # DELETE FROM revocation
    world.restarted(marks=LocalMarks(tmp_path / "keys"))
    assert reason(world, session) == "session.revoked"


@pytest.mark.parametrize("what", WHATS)
def test_a_row_tells_a_broker_that_has_no_mark(world: BrokerWorld, what: str) -> None:
    session = world.attested_session()
    assert reason(world, session) is None
    world.catalog.revoked.append(FakeRevocation(what, value_of(world, what)))
    world.clock.advance(LOOK_MS)
    assert reason(world, session) == "session.revoked"


def test_others_go_on(world: BrokerWorld) -> None:
    session = world.attested_session()
    world.broker.revoke("measurement", value_digest("another"))
    world.broker.revoke("subject", value_digest("sample"))  # a measurement's value revokes no principal
    world.broker.revoke("platform", value_digest("sample"))
    assert reason(world, session) is None


def test_a_catalog_that_does_not_answer_opens_nothing(world: BrokerWorld) -> None:
    session = world.attested_session()
    key = world.generate(VERSION)
    grant = world.grant(VERSION, session.session_id)
    world.clock.advance(LOOK_MS)
    grant = world.grant(VERSION, session.session_id)

    def down(name: str) -> None:
        if name == "revocations":
            raise Unavailable("catalog")

    world.catalog.before = down
    opened = world.opened()
    with pytest.raises(Unavailable):
        world.broker.unwrap(world.scope(), VERSION, key.wrapped, grant)
    assert world.opened() == opened


@pytest.mark.parametrize(
    ("what", "value"),
    [("session", "0" * 64), ("", "0" * 64), ("subject", "0" * 63), ("subject", "G" * 64), ("subject", "../../x")],
)
def test_what_is_no_revocation(world: BrokerWorld, what: str, value: str) -> None:
    with pytest.raises(Malformed):
        world.broker.revoke(what, value)
    assert world.refusals[-1]["method"] == "revoke"


# --- where credentials count: the seal covers it


def test_where_credentials_count_is_under_the_seal(world: BrokerWorld) -> None:
    nonce = world.broker.challenge(world.principal_id, world.purpose, ["claims"], "de.example").nonce
    made = world.broker.attest(nonce, "sample", world.evidence(nonce), world.jwk, world.principal_id, source="10.0.0.7")
    session = world.store(made)
    assert (session.bound_source, session.bound_key, made.certificate) == ("10.0.0.7", "", "")
    assert reason(world, session) is None
    for change in ({"bound_source": ""}, {"bound_source": "10.0.0.8"}, {"bound_key": made.key_thumbprint}):
        world.edit_session(session, **change)
        assert reason(world, session) == "session.seal"


def test_what_a_session_is_bound_by_stays_what_it_was(world: BrokerWorld) -> None:
    """Attested again without asking for it, a session bound to a key must not become one bound to an address."""
    nonce = world.broker.challenge(world.principal_id, world.purpose, ["claims"], "de.example").nonce
    made = world.broker.attest(
        nonce, "sample", world.evidence(nonce), world.jwk, world.principal_id, source="10.0.0.7", bind_key=True
    )
    world.store(made)
    assert (made.bound_source, made.bound_key) == ("", made.key_thumbprint)
    for bind in (False, True):
        nonce = world.broker.challenge(world.principal_id, world.purpose, ["claims"], "de.example").nonce
        again = world.broker.attest(
            nonce, "sample", world.evidence(nonce), world.jwk, world.principal_id, made.session_id, source="10.0.0.8",
            bind_key=bind,
        )  # fmt: skip
        assert (again.bound_source, again.bound_key) == ("", made.key_thumbprint)
    unbound = world.attested_session()
    nonce = world.broker.challenge(world.principal_id, world.purpose, ["claims"], "de.example").nonce
    again = world.broker.attest(
        nonce, "sample", world.evidence(nonce), world.jwk, world.principal_id, unbound.session_id, source="10.0.0.8",
        bind_key=True,
    )  # fmt: skip
    assert (again.bound_source, again.bound_key) == ("10.0.0.8", "")
