"""Evidence that was relayed, replayed or spliced: genuine in itself, and made for something else.

The broker is the real one in the production posture; AMD and NVIDIA are fakes that sign whatever they are asked, with
real verifiers over their roots. Every refusal gives no session, spends its nonce, and is on record once.
"""

import base64
import hashlib
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.attest_nvidia import FakeNvidia
from tests.fakes.attest_pki import NOW_MS, Shape, ec_key, issue
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.broker import GATEWAY, BrokerWorld, FakeSession, new_jwk
from tests.fakes.clock import Clock
from tests.fakes.postgresql import available, postgresql
from vault.attest.binding import ExpectedBinding, additional_digest, key_thumbprint
from vault.attest.nvidia.evidence import NvidiaVerifier
from vault.attest.nvidia.verify import NvidiaPolicy
from vault.attest.snp.evidence import SnpVerifier
from vault.attest.snp.policy import SnpPolicy
from vault.attest.verifier import Verifiers
from vault.broker.attestations import CHALLENGE_MS
from vault.broker.types import Attested
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database, sqlite_url
from vault.catalog.rows import ChallengeRow
from vault.catalog.seal import RowSeal
from vault.errors import Refused

P384_ORDER = int("ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16)


@dataclass
class Machine:
    """A confidential VM with its GPUs, as its job uses it: it answers what it was asked, and signs nothing else."""

    amd: FakeAmd
    gpus: tuple[FakeNvidia, ...] = ()
    jwk: dict[str, str] = field(default_factory=new_jwk)
    report: dict[str, Any] = field(default_factory=dict)

    def proof(self, expected: ExpectedBinding) -> dict[str, Any]:
        bound = replace(expected, key_thumbprint=key_thumbprint(self.jwk))
        additional = [gpu_evidence(gpu, bound) for gpu in self.gpus]
        bound = replace(bound, additional=additional_digest(additional))
        return {"evidence": self.evidence(bound.report_data()), "public_jwk": self.jwk, "additional": additional}

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        return snp_evidence(self.amd, self.amd.report(report_data=report_data, **self.report))


def snp_evidence(amd: FakeAmd, report: bytes) -> dict[str, Any]:
    encoded = [base64.b64encode(der).decode() for der in amd.certificates]
    return {"kind": "snp", "version": 1, "report": base64.b64encode(report).decode(), "certificates": encoded,
            "auxblob": ""}  # fmt: skip


def gpu_evidence(gpu: FakeNvidia, bound: ExpectedBinding) -> dict[str, Any]:
    encoded = [base64.b64encode(der).decode() for der in gpu.chain]
    report = base64.b64encode(gpu.report(nonce=bound.device_nonce())).decode()
    return {"kind": "nvgpu", "evidence": {"kind": "nvgpu", "version": 1, "report": report, "certificates": encoded}}


class Site(BrokerWorld):
    """One gateway's broker in production, trusting one AMD and one NVIDIA; both sign for every machine of the test."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, posture="production", synthetic=False)
        self.clock.now_ms = NOW_MS
        self.amd, self.nvidia = FakeAmd(), FakeNvidia()
        roots = self.nvidia.roots
        self.restarted(verifiers=Verifiers(
            {"snp": SnpVerifier(self.amd.trust, SnpPolicy())}, {"nvgpu": NvidiaVerifier(NvidiaPolicy(), roots)}
        ))  # fmt: skip

    def machine(self, *gpus: FakeNvidia, **report: Any) -> Machine:
        return Machine(self.amd, gpus, report=report)

    def gpu(self) -> FakeNvidia:
        """Another device of the same maker."""
        made = FakeNvidia()
        made.root, made.model, made.provisioner = self.nvidia.root, self.nvidia.model, self.nvidia.provisioner
        made.device = issue("GH100 A01 GSP BROM", ec_key(), made.provisioner, made.device_shape)
        shape = Shape(extensions=(("2.23.133.5.4.1", bytes(100) + made.firmware),))
        made.leaf = issue("GH100 A01 GSP FMC LF", ec_key(made.curve), made.device, shape)
        return made

    def asked(self, purpose: str | None = None, gateway: str = GATEWAY, who: str | None = None) -> ExpectedBinding:
        """A challenge; its binding still wants a key."""
        purpose = purpose or self.purpose
        nonce = self.broker.challenge(who or self.principal_id, purpose, ["claims"], gateway).nonce
        return ExpectedBinding(nonce, gateway, "", purpose, ("claims",))

    def shown(self, nonce: str, proof: dict[str, Any], session_id: str | None = None) -> Attested:
        return self.broker.attest(
            nonce, "snp", proof["evidence"], proof["public_jwk"], self.principal_id, session_id, proof["additional"]
        )

    def session(self, machine: Machine) -> FakeSession:
        asked = self.asked()
        made = self.shown(asked.nonce, machine.proof(asked))
        assert made.claims["hardware"] is True
        return self.store(made)

    def refused(self, call: Callable[[], object]) -> str:
        """Why; asserts that it is on record exactly once."""
        at, sessions = len(self.refusals), dict(self.catalog.sessions)
        with pytest.raises(Refused) as caught:
            call()
        [recorded] = self.refusals[at:]
        assert (recorded["method"], recorded["reason"]) == ("attest", caught.value.reason)
        assert self.catalog.sessions == sessions
        return caught.value.reason.removeprefix("attest.")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: Path, site: Site) -> Site:
    """Another gateway with a broker of its own; the same makers are trusted there."""
    made = Site(tmp_path / "elsewhere")
    made.amd, made.nvidia = site.amd, site.nvidia
    return made


# --- relay: evidence of a genuine machine for somebody else's challenge


def test_honest_evidence_opens_a_session(site: Site) -> None:
    claims = site.session(site.machine(site.nvidia, site.gpu())).claims
    assert (claims["tee"], [device["tee"] for device in claims["devices"]]) == ("sev-snp", ["nvgpu", "nvgpu"])
    assert claims["devices"][0]["platform"]["device"] != claims["devices"][1]["platform"]["device"]


def test_evidence_for_another_gateway(site: Site, elsewhere: Site) -> None:
    """A dishonest gateway passes on what it was given: same nonce, same key, another name."""
    mine = site.asked()
    proof = site.machine().proof(replace(mine, gateway="elsewhere.example"))
    assert site.refused(lambda: site.shown(mine.nonce, proof)) == "binding"
    theirs = elsewhere.asked()
    assert site.refused(lambda: site.shown(theirs.nonce, site.machine().proof(theirs))) == "nonce"


@pytest.mark.parametrize("change", [{"purpose": "fraud-model"}, {"scope": ("claims", "payroll")}, {"nonce": "ab" * 32}])
def test_evidence_for_something_else(site: Site, change: dict[str, Any]) -> None:
    mine = site.asked()
    proof = site.machine().proof(replace(mine, **change))
    assert site.refused(lambda: site.shown(mine.nonce, proof)) == "binding"


def test_a_challenge_of_another_principal(site: Site) -> None:
    theirs = site.asked(who=secrets.token_hex(16))
    assert site.refused(lambda: site.shown(theirs.nonce, site.machine().proof(theirs))) == "principal"


def test_credentials_would_go_to_another_key(site: Site) -> None:
    """Who relays evidence of a machine that is not his puts his own key beside it."""
    mine = site.asked()
    proof = site.machine().proof(mine) | {"public_jwk": new_jwk()}
    assert site.refused(lambda: site.shown(mine.nonce, proof)) == "binding"


# --- replay: the same evidence again, also in other bytes


def malleated(evidence: dict[str, Any]) -> dict[str, Any]:
    """Another signature over the same report, made without the key: s and n - s verify alike."""
    raw = bytearray(base64.b64decode(evidence["report"]))
    s = int.from_bytes(raw[0x2A0 + 72 : 0x2A0 + 144], "little")
    raw[0x2A0 + 72 : 0x2A0 + 144] = (P384_ORDER - s).to_bytes(72, "little")
    return evidence | {"report": base64.b64encode(bytes(raw)).decode()}


def trailing(evidence: dict[str, Any]) -> dict[str, Any]:
    return evidence | {"report": base64.b64encode(base64.b64decode(evidence["report"]) + b"\0").decode()}


@pytest.mark.parametrize("how", [lambda same: same, malleated, trailing], ids=["same", "malleated", "trailing"])
def test_a_spent_nonce_stays_spent_whatever_the_bytes(site: Site, how: Callable[[Any], Any]) -> None:
    asked = site.asked()
    proof = site.machine().proof(asked)
    site.shown(asked.nonce, proof)
    again = proof | {"evidence": how(proof["evidence"])}
    assert site.refused(lambda: site.shown(asked.nonce, again)) == "nonce"


def test_a_malleated_signature_is_as_good_as_the_first_so_the_nonce_must_count(site: Site) -> None:
    asked = site.asked()
    proof = site.machine().proof(asked)
    site.shown(asked.nonce, proof | {"evidence": malleated(proof["evidence"])})
    assert site.refused(lambda: site.shown(asked.nonce, proof)) == "nonce"


def test_a_refused_try_spends_the_nonce(site: Site) -> None:
    asked = site.asked()
    proof = site.machine().proof(asked)
    assert (
        site.refused(lambda: site.shown(asked.nonce, proof | {"evidence": trailing(proof["evidence"])})) == "malformed"
    )
    assert site.refused(lambda: site.shown(asked.nonce, proof)) == "nonce"


def test_a_challenge_ends_after_two_minutes(site: Site) -> None:
    assert CHALLENGE_MS <= 120_000
    asked, machine = site.asked(), site.machine()
    site.clock.advance(CHALLENGE_MS)
    assert site.refused(lambda: site.shown(asked.nonce, machine.proof(asked))) == "nonce"


# --- splice: devices that are not in this machine


def test_a_gpu_of_another_machine(site: Site) -> None:
    """Genuine, and answering its own machine's challenge."""
    mine, theirs = site.asked(), site.asked()
    proof = site.machine(site.nvidia).proof(mine)
    foreign = site.machine(site.gpu()).proof(theirs)["additional"]
    bound = replace(mine, key_thumbprint=key_thumbprint(proof["public_jwk"]), additional=additional_digest(foreign))
    # Even a machine that is made to commit to it: the device answered another nonce.
    spliced = proof | {"additional": foreign, "evidence": snp_evidence(site.amd, site.amd.report(
        report_data=bound.report_data()))}  # fmt: skip
    assert site.refused(lambda: site.shown(mine.nonce, spliced)) == "binding"


SPLICES: dict[str, Callable[[list[Any], list[Any]], list[Any]]] = {
    "replaced": lambda mine, other: [other[0], *mine[1:]],
    "reordered": lambda mine, other: mine[::-1],
    "removed": lambda mine, other: mine[:1],
    "all removed": lambda mine, other: [],
    "added": lambda mine, other: [*mine, *other],
    "repeated": lambda mine, other: [*mine, mine[0]],
}


@pytest.mark.parametrize("how", SPLICES)
def test_the_list_of_devices_is_what_the_machine_committed_to(site: Site, how: str) -> None:
    asked = site.asked()
    machine = site.machine(site.nvidia, site.gpu())
    proof = machine.proof(asked)
    # A third device that answers this very challenge: only the machine's commitment keeps it out.
    bound = replace(asked, key_thumbprint=key_thumbprint(machine.jwk))
    other = [gpu_evidence(site.gpu(), bound)]
    changed = SPLICES[how](proof["additional"], other)
    assert site.refused(lambda: site.shown(asked.nonce, proof | {"additional": changed})) == "binding"


def test_one_device_is_not_two(site: Site) -> None:
    """A machine that is made to commit to its one GPU twice."""
    asked = site.asked()
    proof = site.machine(site.nvidia, site.nvidia).proof(asked)
    assert site.refused(lambda: site.shown(asked.nonce, proof)) == "binding"


def test_devices_swapped_between_two_sessions(site: Site) -> None:
    first, second = site.asked(), site.asked()
    one, two = site.machine(site.nvidia).proof(first), site.machine(site.gpu()).proof(second)
    assert site.refused(lambda: site.shown(first.nonce, one | {"additional": two["additional"]})) == "binding"
    assert site.refused(lambda: site.shown(second.nonce, two | {"additional": one["additional"]})) == "binding"


def test_a_device_alone_is_no_machine(site: Site) -> None:
    asked = site.asked()
    jwk = new_jwk()
    lone = gpu_evidence(site.nvidia, replace(asked, key_thumbprint=key_thumbprint(jwk)))["evidence"]
    refused = site.refused(lambda: site.broker.attest(asked.nonce, "nvgpu", lone, jwk, site.principal_id))
    assert refused == "unknown-kind"
    machine, again = site.machine(), site.asked()
    proof = machine.proof(again)
    inner = [{"kind": "snp", "evidence": proof["evidence"]}]
    assert site.refused(lambda: site.shown(again.nonce, proof | {"additional": inner})) in {"binding", "unknown-kind"}


# --- attesting again as something else


def again(site: Site, session: FakeSession, machine: Machine) -> str:
    asked = site.asked()
    return site.refused(lambda: site.shown(asked.nonce, machine.proof(asked), session.session_id))


def test_attested_again_by_the_same_machine(site: Site) -> None:
    machine = site.machine(site.nvidia)
    session = site.session(machine)
    asked = site.asked()
    assert site.shown(asked.nonce, machine.proof(asked), session.session_id).session_id == session.session_id


def test_a_session_does_not_migrate(site: Site) -> None:
    machine = site.machine(site.nvidia)
    session = site.session(machine)
    other_chip = FakeAmd(hardware_id=bytes(range(2, 66)))
    other_chip.root, other_chip.middle = site.amd.root, site.amd.middle
    other_chip.leaf = other_chip.issue_leaf()
    cases: dict[str, tuple[Machine, str]] = {
        "another key": (replace(machine, jwk=new_jwk()), "key"),
        "another chip, same image": (replace(machine, amd=other_chip), "weaker"),
        "another measurement": (replace(machine, report={"measurement": b"\x12" * 48}), "weaker"),
        "another host data": (replace(machine, report={"host_data": b"\x23" * 32}), "weaker"),
        "fewer devices": (replace(machine, gpus=()), "weaker"),
        "another device": (replace(machine, gpus=(site.gpu(),)), "weaker"),
    }
    for name, (other, expected) in cases.items():
        assert (name, again(site, session, other)) == (name, expected)


def test_nor_to_older_firmware(site: Site) -> None:
    machine = site.machine()
    session = site.session(machine)
    older = FakeAmd(tcb=(0, 4, 1, 23, 217))
    older.root, older.middle = site.amd.root, site.amd.middle
    older.leaf = older.issue_leaf()
    assert again(site, session, replace(machine, amd=older)) == "weaker"


def test_an_answer_is_worth_nothing_in_another_row(site: Site) -> None:
    """A front worker that was taken over writes the seals of a good session into a row of its own making."""
    good, victim = site.session(site.machine()), site.session(site.machine(measurement=b"\x66" * 48))
    version = "ab" * 16
    key = site.generate(version)

    def opens(session_id: str) -> str:
        opened = site.opened()
        with pytest.raises(Refused) as refused:
            site.broker.unwrap(site.scope(), version, key.wrapped, site.grant(version, session_id))
        assert site.opened() == opened
        return refused.value.reason

    fields: Sequence[dict[str, Any]] = (
        {"attestation_seal": victim.attestation_seal},
        {"claims": victim.claims},
        {"claims": victim.claims, "attestation_seal": victim.attestation_seal},
        {"attested_at": good.attested_at + 1},
        {"expires_at": good.expires_at + 1},
        {"scope": ("claims", "payroll")},
        {"purpose": "fraud-model"},
        {"tier": "affirming"},
        {"key_thumbprint": key_thumbprint(new_jwk())},
        {"bound_source": "10.0.0.9"},
    )
    for change in fields:
        site.edit_session(good, **change)
        assert (change, opens(good.session_id)) == (change, "session.seal")
    site.catalog.sessions[good.session_id] = replace(victim, session_id=good.session_id)
    assert opens(good.session_id) == "session.seal"
    site.edit_session(good)
    site.broker.unwrap(site.scope(), version, key.wrapped, site.grant(version, good.session_id))


# --- one nonce, many brokers: exactly one wins


def catalogs(url: Any) -> tuple[Catalog, Catalog]:
    """Two replicas' connections to one catalog."""
    first = Database(url)
    first.upgrade()
    seal, clock = RowSeal(b"m" * 32), Clock()
    return Catalog(first, seal, clock, "main"), Catalog(Database(url), seal, clock, "main")


SERVER = [pytest.mark.servers, pytest.mark.skipif(not available(), reason="PostgreSQL is not installed")]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=SERVER)])
def replicas(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Catalog, Catalog]]:
    with ExitStack() as running:
        url = sqlite_url(tmp_path / "c.sqlite3") if request.param == "sqlite" else running.enter_context(postgresql())
        pair = catalogs(url)
        yield pair
        for catalog in pair:
            catalog.close()


def test_of_brokers_that_take_one_nonce_exactly_one_wins(replicas: tuple[Catalog, Catalog]) -> None:
    start = threading.Barrier(8)

    def take(number: int, nonce: str) -> ChallengeRow | None:
        start.wait()
        return replicas[number % 2].consume_challenge(nonce, 1_790_000_000_001)

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            nonce = hashlib.sha256(secrets.token_bytes(8)).hexdigest()
            replicas[0].add_challenge(
                nonce=nonce, principal_id="p" * 32, purpose="claims-risk-model", scope=("claims",), gateway=GATEWAY,
                expires_at=2_000_000_000_000,
            )  # fmt: skip
            won = list(pool.map(take, range(8), [nonce] * 8))
            assert sum(row is not None for row in won) == 1
            assert replicas[1].consume_challenge(nonce, 1_790_000_000_002) is None
