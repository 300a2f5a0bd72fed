"""Keys of manifests and nothing else: who may tag and copy gets no key of a body, whatever it asks for."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.broker import BrokerWorld
from tests.fakes.ledger_promise import PromisingLedger, canonical
from vault.broker.methods import Role, call
from vault.broker.types import Grant, ManifestKeys
from vault.broker.wire import grant_out, scope_out, wrapped_out
from vault.envelope.derive import body_key, manifest_key
from vault.envelope.wrap import WrappedKey
from vault.errors import Malformed, Refused

MANIFEST = "3" * 32


class Stage:
    def __init__(self, directory: Path) -> None:
        self.world = BrokerWorld(directory)
        self.version = secrets.token_hex(16)
        self.key = self.world.generate(self.version)
        self.session = self.world.attested_session()
        self.world.restarted()

    def grant(self, action: str = "write", view: str = "none", session: str | None = None, **more: Any) -> Grant:
        return self.world.grant(self.version, session, action=action, view=view, **more)

    def raw(self, action: str = "read") -> Grant:
        return self.grant(action, "raw", self.session.session_id)

    def ask(self, grant: Grant, copy_to: str | None = None, **more: Any) -> ManifestKeys:
        given: dict[str, Any] = {"scope": self.world.scope(), "subject": self.version, "wrapped": self.key.wrapped}
        given |= more
        manifests = given.pop("manifests", [(MANIFEST, 1), (MANIFEST, 2)])
        return self.world.broker.manifest_keys(**given, grant=grant, manifests=manifests, copy_to=copy_to)

    def refused(self, reason: str, grant: Grant, copy_to: str | None = None, **more: Any) -> None:
        """Refused by that name, no provider opened anything, one record says so."""
        opened, recorded = self.world.opened(), len(self.world.refusals)
        with pytest.raises((Refused, Malformed)) as caught:
            self.ask(grant, copy_to, **more)
        assert caught.value.reason == reason
        assert self.world.opened() == opened
        (record,) = self.world.refusals[recorded:]
        assert (record["type"], record["method"], record["reason"]) == ("broker-refusal", "manifest_keys", reason)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


@pytest.mark.parametrize("action", ["write", "declassify", "head", "read"])
def test_a_promised_decision_gives_the_keys_of_manifests(stage: Stage, action: str) -> None:
    released = stage.ask(stage.grant(action))
    assert released.wrapped is None
    assert released.keys == tuple(manifest_key(stage.key.object_key, MANIFEST, number) for number in (1, 2))
    assert stage.world.refusals == []


def test_no_body_key_can_be_asked_for(stage: Stage) -> None:
    """Labels keep manifest keys apart from body keys: the same id and number never give the same key."""
    keys = stage.ask(stage.grant(), manifests=[(MANIFEST, 1), (MANIFEST, 7)]).keys
    bodies = {body_key(stage.key.object_key, MANIFEST, number) for number in range(8)}
    assert not bodies & set(keys)
    assert stage.key.object_key not in keys


@pytest.mark.parametrize(
    ("manifests", "reason"),
    [
        ([], "broker.field"),
        ([(MANIFEST, 1)] * 5, "broker.field"),
    ],
)
def test_how_many_may_be_asked_for(stage: Stage, manifests: list[tuple[str, int]], reason: str) -> None:
    stage.refused(reason, stage.grant(), manifests=manifests)


@pytest.mark.parametrize("pair", [("x" * 32, 1), (MANIFEST, 0), (MANIFEST, -1), ("", 1), (MANIFEST + "00000000", 1)])
def test_names_that_are_no_manifests(stage: Stage, pair: tuple[str, int]) -> None:
    with pytest.raises(Malformed, match="context"):
        stage.ask(stage.grant(), manifests=[pair])


@pytest.mark.parametrize("action", ["list", "delete", "complete", "administer", "session", "create-dataset"])
def test_other_actions_give_nothing(stage: Stage, action: str) -> None:
    stage.refused("broker.action", stage.grant(action))


def test_what_else_is_refused(stage: Stage) -> None:
    world = stage.world
    entry = canonical(world.intent(stage.version, None, action="write", view="none"))
    stage.refused("broker.promise", Grant(entry, PromisingLedger(world.clock).promise(entry), None))
    denied = {"id": "a" * 32, "allow": False, "revision": "r1", "codes": ["x"]}
    stage.refused("broker.denied", stage.grant(id="a" * 32, decision=denied))
    stage.refused("broker.entry-scope", stage.grant(dataset_id="1" * 32))
    stage.refused("broker.entry-scope", stage.grant(zone="fr"))
    stage.refused("broker.entry-dataset", stage.grant(dataset="other"))
    stage.refused("broker.entry-version", stage.grant(version="2" * 32))
    stage.refused("broker.place", stage.grant(), scope=world.scope(tenant="emca"))
    mine = stage.grant()
    stage.refused("broker.entry-session", Grant(mine.entry, mine.promise, "9" * 32))
    late = stage.grant()
    world.clock.advance(31_000)
    stage.refused("broker.promise-age", late)


def test_another_subjects_wrap_does_not_open(stage: Stage) -> None:
    other = stage.world.generate(secrets.token_hex(16))
    with pytest.raises(Refused, match=r"wrap\.context"):
        stage.ask(stage.grant(), wrapped=other.wrapped)
    view = WrappedKey(stage.key.wrapped.group_id, "view", stage.key.wrapped.wrapped)
    with pytest.raises(Refused, match=r"key\.class"):
        stage.ask(stage.grant(), wrapped=view)


def test_a_copy_gets_a_wrap_that_opens_for_it_alone(stage: Stage) -> None:
    target = secrets.token_hex(16)
    released = stage.ask(stage.raw(), target)
    assert released.wrapped is not None
    world = stage.world
    read = world.grant(target, stage.session.session_id)
    assert world.broker.unwrap(world.scope(), target, released.wrapped, read) == stage.key.object_key
    with pytest.raises(Refused, match=r"wrap\.context"):
        world.broker.unwrap(world.scope(), stage.version, released.wrapped, stage.raw())


def test_only_who_may_read_copies(stage: Stage) -> None:
    target = secrets.token_hex(16)
    stage.refused("broker.action", stage.grant("write"), target)
    stage.refused("broker.view", stage.grant("read"), target)
    stage.refused("broker.action", stage.raw("head"), target)
    stage.refused("session.none", stage.grant("read", "raw"), target)
    stage.world.edit_session(stage.session, revoked_at=1)
    stage.refused("session.revoked", stage.raw(), target)


@pytest.mark.parametrize("target", ["", "x", "1" * 31, "1" * 32 + ":upload", "A" * 32])
def test_a_copy_is_a_version(stage: Stage, target: str) -> None:
    with pytest.raises(Refused, match=r"key\.subject"):
        stage.ask(stage.raw(), target)


def test_over_the_wire_and_only_for_front_workers(stage: Stage) -> None:
    given = {
        "scope": scope_out(stage.world.scope()), "subject": stage.version, "wrapped": wrapped_out(stage.key.wrapped),
        "grant": grant_out(stage.grant()), "manifests": [[MANIFEST, 1]], "copy_to": None,
    }  # fmt: skip
    answer = call(stage.world.broker, Role.FRONT, "manifest_keys", given)
    assert len(answer["keys"]) == 1
    for role in set(Role) - {Role.FRONT}:
        with pytest.raises(Refused, match=r"broker\.method"):
            call(stage.world.broker, role, "manifest_keys", given)
    for spoilt in ([[MANIFEST]], [[MANIFEST, "1"]], [[MANIFEST, True]], "x", [MANIFEST]):
        with pytest.raises(Malformed, match=r"broker\.field"):
            call(stage.world.broker, Role.FRONT, "manifest_keys", given | {"manifests": spoilt})
