"""Endorsed firmware and host data on the whole road in a production zone: only what a reference value names reads raw.

The firmware's measurement is on no list: it is a release of an endorser, and the workload is what the host data says.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Denied
from tests.fakes.attest_endorsement import ISSUER, statement
from tests.fakes.gateway_world import CSV
from tests.fault.test_attested_machines import PURPOSE, MachineWorld
from vault.attest.trust.directory import ENDORSEMENTS

FIRMWARE, NEXT, WORKLOAD = b"\x11" * 48, b"\x12" * 48, b"\x22" * 32
ENDORSER = {"issuer": ISSUER, "feed": "uvm", "min_svn": 22}
MATCH = {
    "platform.endorsement_issuer": [ISSUER], "platform.endorsement_feed": ["uvm"],
    "platform.host_data": [WORKLOAD.hex()],
}  # fmt: skip
RELEASED = {"name": "trainer 1 on uvm", "kind": "snp", "match": MATCH}


class EndorsedWorld(MachineWorld):
    """A zone whose one reference value names an endorser's releases and a workload. `brought`: beside all evidence."""

    brought = b""

    def given(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        made = super().given(*arguments, **named)
        if self.brought:
            made["evidence"] = made["evidence"] | {"endorsement": base64.b64encode(self.brought).decode()}
        return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[EndorsedWorld]:
    made = EndorsedWorld(tmp_path)
    made.expect([RELEASED])
    made.files.write("endorsers", endorsers=[ENDORSER])
    yield made
    made.close()


def of(measurement: bytes, **changes: str) -> bytes:
    return statement({"x-ms-sevsnpvm-launchmeasurement": measurement.hex()} | changes)


def refused(world: EndorsedWorld, **report: Any) -> str:
    """No session, no rows: the rule that says so."""
    before, opened, since = len(world.rows("select 1 from session")), world.raw_opened(), len(world.ledger.entries)
    with pytest.raises(Denied) as caught:
        world.open("snp", **report)
    assert len(world.rows("select 1 from session")) == before
    assert world.raw_opened() == opened
    told = [entry for entry in world.ledger.entries[since:] if str(caught.value.rule) in str(entry)]
    assert len(told) == 1, "one record of each refused attempt"
    return str(caught.value.rule)


@pytest.mark.parametrize("firmware", [FIRMWARE, NEXT], ids=["a release", "the next"])
def test_a_release_of_the_endorser_with_the_workload_reads_raw(world: EndorsedWorld, firmware: bytes) -> None:
    world.brought = of(firmware)
    session = world.open("snp", measurement=firmware, host_data=WORKLOAD)
    assert world.read(world.in_session(session), "a.csv", dataset="patients").body == CSV
    entry = world.record_of(session.session_id)
    assert (entry["tier"], entry["submods"]) == ("affirming", ["cpu0 affirming trainer 1 on uvm"])


def test_a_statement_that_lies_in_the_zone_does_the_same(world: EndorsedWorld) -> None:
    world.files.put(f"{ENDORSEMENTS}/uvm.cose", of(FIRMWARE))
    session = world.open("snp")
    assert world.read(world.in_session(session), "a.csv", dataset="patients").body == CSV


@pytest.mark.parametrize(
    ("report", "reference"),
    [
        ({"host_data": b"\x23" * 32}, RELEASED),
        ({"host_data": bytes(32)}, RELEASED),
        ({"id_key": b"\x34" * 48}, RELEASED | {"match": MATCH | {"platform.id_key_digest": ["33" * 48]}}),
        ({}, RELEASED | {"match": MATCH | {"platform.endorsement_feed": ["another"]}}),
        ({}, RELEASED | {"match": MATCH | {"platform.endorsement_svn": [23]}}),
        ({}, RELEASED | {"match": {path: MATCH[path] for path in list(MATCH)[:2]}}),
        ({}, RELEASED | {"kind": "azure-vtpm"}),
    ],
    ids=["host data", "no host data", "id key", "feed", "svn", "any workload", "kind"],
)
def test_an_endorsed_machine_that_is_not_named_reads_nothing(
    world: EndorsedWorld, report: dict[str, Any], reference: dict[str, Any]
) -> None:
    world.expect([reference])
    world.brought = of(FIRMWARE)
    session = world.open("snp", PURPOSE, **report)
    assert world.reads_nothing(session).startswith("attestation.")
    assert world.record_of(session.session_id)["tier"] == "warning"


def test_an_id_key_that_is_named_reads_raw(world: EndorsedWorld) -> None:
    """The counterpart of the refusal above: what is required can be had."""
    world.expect([RELEASED | {"match": MATCH | {"platform.id_key_digest": ["33" * 48]}}])
    world.brought = of(FIRMWARE)
    session = world.open("snp", id_key=b"\x33" * 48)
    assert world.read(world.in_session(session), "a.csv", dataset="patients").body == CSV


def test_without_a_statement_the_firmware_is_unknown(world: EndorsedWorld) -> None:
    assert world.reads_nothing(world.open("snp")).startswith("attestation.")


@pytest.mark.parametrize(
    "brought",
    [of(NEXT), of(FIRMWARE, **{"x-ms-sevsnpvm-guestsvn": "21"}), statement(header={"feed": "other"}),
     statement(salt=20)],
    ids=["of another measurement", "under the minimum", "of a feed not admitted", "not signed"],
)  # fmt: skip
def test_a_statement_that_does_not_hold_opens_no_session(world: EndorsedWorld, brought: bytes) -> None:
    world.brought = brought
    assert refused(world) == "attest.endorsement"


def test_a_statement_of_nobody_who_is_admitted_opens_no_session(world: EndorsedWorld) -> None:
    """Even where the measurement is on a list: what was brought to count must count or refuse."""
    world.brought = of(FIRMWARE)
    world.expect([RELEASED, {"name": "listed", "kind": "snp", "measurement": [FIRMWARE.hex()]}])
    (world.files.path / "endorsers.json").unlink()
    assert refused(world) == "attest.endorsement"


def test_an_endorser_who_is_dropped_is_dropped_at_the_next_attestation(world: EndorsedWorld) -> None:
    world.files.put(f"{ENDORSEMENTS}/uvm.cose", of(FIRMWARE))
    session = world.open("snp")
    who = world.in_session(session)
    world.files.write("endorsers", endorsers=[ENDORSER | {"min_svn": 23}])
    world.clock.advance(1000)
    with pytest.raises(Denied) as caught:
        world.run(world.sessions.reattest(who, session.session_id, **world.given("snp", session.purpose)))
    assert caught.value.rule == "attest.weaker"
