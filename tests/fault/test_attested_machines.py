"""Hardware evidence on its whole road in a production zone: maker's root, verifier, trust files, appraisal, raw rows.

The makers are fakes that a verifier is told to trust in the place of the package's pins; all else is what serves:
trust directory, broker, doctrine as shipped, catalog, vault. What is refused must get no raw and no masked rows.
"""

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import Denied
from gateway.identity.principal import Principal, SessionClaims
from gateway.sessions import OpenedSession
from tests.fakes.attest_pki import NOW, NOW_MS
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_trust import FLOOR, Machines, TrustFiles
from tests.fakes.clock import Clock
from tests.fakes.gateway_world import CSV, GATEWAY, GENESIS, ZONE, GatewayWorld
from vault.attest.admitted.verifiers import admitted_verifiers
from vault.attest.binding import ExpectedBinding, additional_digest, key_thumbprint
from vault.attest.snp.product import Product
from vault.attest.trust.directory import TrustDirectory
from vault.attest.verifier import Verifiers

PURPOSE, SCOPE = "claims-risk-model", ("patients",)
SNP = {"name": "trainer 1", "kind": "snp", "measurement": ["11" * 48], "match": {"platform.host_data": ["22" * 32]}}
REFERENCES: list[dict[str, Any]] = [
    SNP,
    {"name": "trainer 1 on tdx", "kind": "tdx", "measurement": ["11" * 48], "match": {"platform.rtmr1": ["02" * 48]}},
]


class MachineWorld(GatewayWorld):
    """A production zone with a trust directory, and a dataset that is nobody's invention."""

    def __init__(self, directory: Path) -> None:
        self.machines = Machines(amd=FakeAmd(Product.GENOA))
        self.files = TrustFiles(directory / "trust")
        self.machines.trust(self.files)
        self.files.platforms(snp={"products": {"Genoa": FLOOR}})
        self.expect(REFERENCES)
        self.trust = TrustDirectory(self.files.path, look_ms=0)
        super().__init__(directory, posture="production")
        self.catalog.create_dataset("patients", ZONE, "personal", False, GENESIS)
        self.contract("patients")
        self.put("a.csv", CSV, dataset="patients")

    def expect(self, references: Sequence[Mapping[str, Any]]) -> None:
        """The reference values in force from now on."""
        self.files.write("reference-values", references=list(references))

    def _clock(self) -> Clock:
        return Clock(NOW_MS)

    def _verifiers(self) -> Verifiers:
        return admitted_verifiers(self.trust, development=False, roots=self.machines.roots)

    def _references(self) -> Sequence[Mapping[str, Any]]:
        return self.trust.material(self.clock()).references.valid(self.clock()) or ()

    def given(self, kind: str, purpose: str, devices: Sequence[str] = (), **report: Any) -> dict[str, Any]:
        """Evidence of `kind` for a fresh challenge, with that of devices beside it; `report`: what SNP's says."""
        nonce = self.run(self.sessions.challenge(self.who(purpose), purpose, list(SCOPE), "r"))["nonce"]
        bound = ExpectedBinding(nonce, GATEWAY, key_thumbprint(self.jwk), purpose, SCOPE)
        additional = [{"kind": name, "evidence": self.machines.evidence(name, bound)} for name in devices]
        bound = replace(bound, additional=additional_digest(additional))
        evidence = self.machines.evidence(kind, bound)
        if report:
            raw = self.machines.amd.report(report_data=bound.report_data(), **report)
            evidence = evidence | {"report": base64.b64encode(raw).decode()}
        return {"nonce": nonce, "kind": kind, "evidence": evidence, "key": self.jwk, "additional": additional}

    def who(self, purpose: str) -> Principal:
        return replace(self.trainer, purposes=frozenset({purpose, PURPOSE}), purpose=purpose)

    def open(self, kind: str, purpose: str = PURPOSE, devices: Sequence[str] = (), **report: Any) -> OpenedSession:
        opening = self.sessions.open(
            self.who(purpose), **self.given(kind, purpose, devices, **report), purpose=purpose, scope=list(SCOPE),
            run=None, request_id="r",
        )  # fmt: skip
        return self.run(opening)

    def in_session(self, session: OpenedSession) -> Principal:
        """Whom the authenticator makes of the session's credentials."""
        claims = SessionClaims(
            session.session_id, session.purpose, SCOPE, session.run_id, "attested", session.expires_at
        )  # fmt: skip
        return replace(self.who(session.purpose), session=claims, access_key_id=f"DSES{session.session_id.upper()}")

    def record_of(self, session_id: str, kind: str = "session") -> dict[str, Any]:
        return [entry for entry in self.entries(kind) if entry["session"] == session_id][-1]

    def reads_nothing(self, session: OpenedSession) -> str:
        """No raw and no masked rows; the rule that says so."""
        opened = self.raw_opened()
        answer = self.read(self.in_session(session), "a.csv", dataset="patients")
        assert answer.body == b""
        assert answer.facts == {}
        assert self.raw_opened() == opened
        assert isinstance(answer.refusal, Denied)
        return str(answer.refusal.rule)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MachineWorld]:
    made = MachineWorld(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(("kind", "reference"), [("snp", "trainer 1"), ("tdx", "trainer 1 on tdx")])
def test_an_affirmed_machine_reads_raw_rows_in_production(world: MachineWorld, kind: str, reference: str) -> None:
    session = world.open(kind)
    assert session.notice is None
    assert world.read(world.in_session(session), "a.csv", dataset="patients").body == CSV
    entry = world.record_of(session.session_id)
    assert (entry["tier"], entry["submods"]) == ("affirming", [f"cpu0 affirming {reference}"])


@pytest.mark.parametrize(
    "report", [{"measurement": b"\x99" * 48}, {"host_data": b"\x99" * 32}], ids=["measurement", "host data"]
)
def test_the_same_machine_with_other_software_reads_nothing(world: MachineWorld, report: dict[str, Any]) -> None:
    session = world.open("snp", **report)
    assert world.reads_nothing(session).startswith("attestation.")
    entry = world.record_of(session.session_id)
    assert (entry["tier"], entry["submods"]) == ("warning", ["cpu0 warning"])


def test_a_reference_value_that_is_withdrawn_demotes_at_the_next_attestation(world: MachineWorld) -> None:
    session = world.open("snp")
    who = world.in_session(session)
    world.expect([REFERENCES[1]])
    assert world.read(who, "a.csv", dataset="patients").body == CSV  # until it attests again, or is stale
    world.clock.advance(1000)
    world.run(world.sessions.reattest(who, session.session_id, **world.given("snp", PURPOSE)))
    assert world.reads_nothing(session).startswith("attestation.")
    assert world.record_of(session.session_id, "reattest")["tier"] == "warning"


def test_reference_values_that_expired_affirm_nothing(world: MachineWorld) -> None:
    world.files.write("reference-values", expires=NOW - timedelta(hours=1), references=REFERENCES)
    assert world.reads_nothing(world.open("snp")).startswith("attestation.")


def test_sample_evidence_opens_no_session_in_production(world: MachineWorld) -> None:
    before = len(world.rows("select 1 from session"))
    with pytest.raises(Denied):
        world.open("sample")
    assert len(world.rows("select 1 from session")) == before


def test_a_tpm_alone_opens_no_session_in_production(world: MachineWorld) -> None:
    with pytest.raises(Denied) as refused:
        world.open("tpm")
    assert refused.value.rule == "attestation.submodule-missing"


def test_a_purpose_that_needs_a_gpu(world: MachineWorld) -> None:
    world.contract("patients", purposes=[PURPOSE, "gpu-training"])
    with pytest.raises(Denied) as refused:
        world.open("snp", "gpu-training")
    assert refused.value.rule == "attestation.submodule-missing"
    assert "gpu0" in str(refused.value)
    session = world.open("snp", "gpu-training", ["nvgpu"])
    # Genuine, and yet of firmware nobody here knows, and nobody asked for its revocation: a warning, and no raw rows.
    assert world.record_of(session.session_id)["submods"] == ["cpu0 affirming trainer 1", "gpu0 warning"]
    assert world.reads_nothing(session).startswith("attestation.")


def test_an_identity_session_reads_no_raw_rows(world: MachineWorld) -> None:
    session = world.open("snp")
    who = world.in_session(session)
    assert who.session is not None
    lesser = replace(who, session=replace(who.session, kind="identity"))
    opened = world.raw_opened()
    answer = world.read(lesser, "a.csv", dataset="patients")
    assert answer.body == b""
    assert isinstance(answer.refusal, Denied)
    assert world.raw_opened() == opened
