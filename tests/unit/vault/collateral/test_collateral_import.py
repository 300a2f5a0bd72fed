"""Taking collateral in: verified first, whole or not at all, and never over a newer one."""

import fcntl
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.x509 import ocsp

from tests.fakes.attest_endorsement import ISSUER, statement
from tests.fakes.attest_intel import FMSPC, FakeIntel, when
from tests.fakes.attest_manifest import DRIVER, FakeManifests
from tests.fakes.attest_nvidia import FakeNvidia, ocsp_answer
from tests.fakes.attest_pki import NOW, NOW_MS, Issued, Shape, revocations
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_trust import TrustFiles, dcap_form
from vault.attest.snp.product import Product
from vault.attest.trust.document import Dated
from vault.attest.trust.roots import Roots
from vault.attest.trust.watched import State
from vault.collateral.candidates import Candidate
from vault.collateral.office import Office, Outcome
from vault.collateral.placing import place
from vault.errors import Refused

INTEL_FILE = f"collateral/intel/{FMSPC.hex()}.json"
DAY_MS = 86_400_000


class Desk:
    """An office over an empty directory, and makers it trusts."""

    def __init__(self, path: Path) -> None:
        self.files = TrustFiles(path)
        self.intel, self.amd, self.nvidia, self.manifests = FakeIntel(), FakeAmd(), FakeNvidia(), FakeManifests()
        self.files.put("development-roots/amd-milan.pem", self.amd.root.pem)  # the package has AMD's own alone
        self.office = Office(path, development=True, roots=Roots(
            {Product.MILAN: frozenset({self.amd.root.pin})}, self.intel.roots, nvidia=self.nvidia.roots,
            manifests=frozenset({self.manifests.root.pin})))  # fmt: skip

    def intel_document(self, tcb: Any = None, qe: Any = None, **changes: Any) -> bytes:
        form = dcap_form(self.intel.collateral(tcb, qe, **changes), self.intel.ca.pem + self.intel.root.pem)
        return json.dumps(form).encode()

    def take(self, name: str, content: bytes, at_ms: int = NOW_MS) -> Outcome:
        return self.office.take_in(name, content, at_ms)

    def there(self) -> dict[str, bytes]:
        folder = self.files.path / "collateral"
        paths = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.files.path)): path.read_bytes() for path in paths}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_each_maker(desk: Desk) -> None:
    chain = b"".join(one.pem for one in _chain(desk.nvidia))
    for name, content, where in (
        ("tcb.json", desk.intel_document(), INTEL_FILE),
        ("crl", revocations(desk.amd.root), "collateral/amd/milan.crl"),
        (f"{DRIVER}.xml", desk.manifests.driver(), f"collateral/nvidia/{DRIVER}.xml"),
        ("device.pem", chain, "collateral/chains/"),
        ("answer", ocsp_answer(desk.nvidia.device, desk.nvidia.provisioner), "collateral/nvidia/"),
        ("signer", ocsp_answer(desk.manifests.signer, desk.manifests.issuer), "collateral/nvidia/"),
        ("list", revocations(desk.nvidia.root), "collateral/nvidia/"),
    ):
        outcome = desk.take(name, content)
        assert (outcome.outcome, outcome.name.startswith(where)) == ("new", True), outcome
        assert (desk.files.path / outcome.name).read_bytes() == content
        assert (desk.files.path / outcome.name).stat().st_mode & 0o777 == 0o644
        assert desk.take(name, content).outcome == "unchanged"
    states = [(one.name, one.state, one.verified) for one in desk.office.standings(NOW_MS) if "collateral" in one.name]
    assert len(states) == 6
    assert all(state is State.PRESENT and verified for _, state, verified in states), states
    assert not [path for path in desk.files.path.rglob(".*") if path.name != ".lock"]


def _chain(nvidia: FakeNvidia) -> list[Issued]:
    return [nvidia.leaf, nvidia.device, nvidia.provisioner, nvidia.model, nvidia.root]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (lambda d: d.intel_document(tcb_info_signature=bytes(64)), "attest.collateral: TDX is not signed"),
        (lambda d: d.intel_document(qe_identity_signature=bytes(64)), "attest.collateral: TD_QE is not signed"),
        (lambda d: json.dumps(dcap_form(d.intel.collateral())).encode(), "pck_crl_issuer_chain: missing"),
        (lambda d: d.intel_document({"nextUpdate": when(NOW - timedelta(hours=1))}), "is not current"),
        (lambda d: d.intel_document({"issueDate": when(NOW + timedelta(hours=1))}), "is not current"),
        (lambda d: d.intel_document({"id": "SGX"}), "TDX version 3 expected"),
        (lambda d: d.intel_document({"fmspc": "zz"}), "fmspc"),
        (lambda d: d.intel_document(pck_crl=revocations(FakeIntel().ca)), "revocation list not signed"),
        (lambda d: d.intel_document(root_ca_crl=revocations(d.intel.root, [d.intel.signer])), "attest.revoked"),
        (lambda d: d.intel_document(root_ca_crl=revocations(d.intel.root, [d.intel.ca])), "attest.revoked"),
        (lambda d: Desk.intel_document(_other(d)), "attest.collateral: issuer chain"),
        (lambda d: b"{}", "tcb_info"),
        (lambda d: d.intel_document()[:-1], "attest.collateral"),
        (lambda d: b"", "no collateral that is known"),
        (lambda d: b"\x30\x00", "revocation list"),
        (lambda d: revocations(Desk(d.files.path).amd.middle), "is not known"),
        (lambda d: revocations(d.amd.root, start=NOW - timedelta(9), end=NOW - timedelta(1)), "is not current"),
        (lambda d: revocations(d.nvidia.root), "bring its chain"),
        (lambda d: ocsp_answer(d.nvidia.device, d.nvidia.provisioner), "bring its chain"),
        (lambda d: b"".join(one.pem for one in _chain(FakeNvidia())), "attest.chain"),
        (lambda d: FakeManifests().driver(), "attest.chain: the root"),
        (lambda d: d.manifests.driver()[:-1], "attest.malformed"),
        (lambda d: FakeManifests(signer_shape=Shape(ca=False, end=NOW - timedelta(1))).driver(), "attest.chain"),
    ],
)  # fmt: skip
def test_what_does_not_hold_changes_nothing(desk: Desk, document: Callable[[Desk], bytes], reason: str) -> None:
    outcome = desk.take(f"{DRIVER}.xml", document(desk))
    assert outcome.outcome == "failed"
    assert reason in outcome.detail
    assert desk.there() == {}


def test_a_list_signed_by_a_namesake_is_refused(desk: Desk) -> None:
    desk.take("device.pem", b"".join(one.pem for one in _chain(desk.nvidia)))
    before = desk.there()
    outcome = desk.take("list", revocations(FakeNvidia().root))
    assert (outcome.outcome, "not signed by" in outcome.detail) == ("failed", True)
    assert desk.there() == before


def test_a_manifest_whose_signer_has_ended_is_refused(desk: Desk) -> None:
    desk.manifests = FakeManifests(signer_shape=Shape(ca=False, end=NOW - timedelta(1)))
    desk.office = Office(desk.files.path, roots=Roots(manifests=frozenset({desk.manifests.root.pin})))
    outcome = desk.take(f"{DRIVER}.xml", desk.manifests.driver())
    assert (outcome.outcome, "attest.expired" in outcome.detail) == ("failed", True)
    assert desk.take(f"{DRIVER}.xml", desk.manifests.driver(), NOW_MS - 2 * DAY_MS).outcome == "new"


def test_who_issued_the_list_of_platforms_is_an_authority_of_platforms(desk: Desk) -> None:
    desk.intel = FakeIntel(ca_name="Intel SGX Other CA")
    desk.office = Office(desk.files.path, roots=Roots(intel=desk.intel.roots))
    outcome = desk.take("a.json", desk.intel_document())
    assert (outcome.outcome, "not of an authority of platforms" in outcome.detail) == ("failed", True)


def _other(desk: Desk) -> Desk:
    other = Desk(desk.files.path)
    other.intel = FakeIntel()
    return other


class TestRollback:
    def newer(self, desk: Desk) -> None:
        tcb = {"tcbEvaluationDataNumber": 18, "issueDate": when(NOW - timedelta(hours=2))}
        qe = {"tcbEvaluationDataNumber": 18, "issueDate": when(NOW - timedelta(hours=2))}
        assert desk.take("a.json", desk.intel_document(tcb, qe)).outcome == "new"

    @pytest.mark.parametrize(
        ("tcb", "qe", "said"),
        [
            ({"tcbEvaluationDataNumber": 17}, {}, "tcb_info evaluation number 17 is older than 18"),
            ({}, {"tcbEvaluationDataNumber": 17}, "qe_identity evaluation number 17 is older than 18"),
            ({"issueDate": when(NOW - timedelta(hours=3))}, {}, "tcb_info issue date"),
            ({}, {"issueDate": when(NOW - timedelta(hours=3))}, "qe_identity issue date"),
        ],
    )
    def test_an_older_document_is_refused(self, desk: Desk, tcb: Any, qe: Any, said: str) -> None:
        self.newer(desk)
        before = desk.there()
        current = {"tcbEvaluationDataNumber": 18, "issueDate": when(NOW - timedelta(hours=2))}
        outcome = desk.take("b.json", desk.intel_document(current | tcb, current | qe))
        assert (outcome.outcome, said in outcome.detail) == ("failed", True), outcome.detail
        assert "remove it first" in outcome.detail
        assert desk.there() == before

    def test_a_newer_one_replaces(self, desk: Desk) -> None:
        self.newer(desk)
        newer = {"tcbEvaluationDataNumber": 19, "issueDate": when(NOW - timedelta(hours=1))}
        assert desk.take("b.json", desk.intel_document(newer, newer)).outcome == "updated"
        (loaded,) = desk.office.material(NOW_MS).intel
        assert loaded.value is not None
        assert loaded.value.evaluation_number == 19

    def test_lists(self, desk: Desk) -> None:
        late = revocations(desk.amd.root, start=NOW - timedelta(hours=1))
        assert desk.take("a", late).outcome == "new"
        outcome = desk.take("b", revocations(desk.amd.root, start=NOW - timedelta(hours=2)))
        assert (outcome.outcome, "issue date" in outcome.detail) == ("failed", True)
        assert desk.there()["collateral/amd/milan.crl"] == late
        assert desk.take("c", revocations(desk.amd.root, start=NOW - timedelta(minutes=1))).outcome == "updated"

    def test_manifests(self, desk: Desk) -> None:
        assert desk.take(f"{DRIVER}.xml", desk.manifests.driver()).outcome == "new"
        older = FakeManifests(signer_shape=Shape(ca=False, start=NOW - timedelta(500)))
        desk.office = Office(desk.files.path, roots=Roots(manifests=frozenset({older.root.pin})))
        outcome = desk.take(f"{DRIVER}.xml", older.driver())
        assert (outcome.outcome, "signer's certificate" in outcome.detail) == ("failed", True)

    def test_an_old_good_answer_does_not_take_back_a_revocation(self, desk: Desk) -> None:
        desk.take("chain.pem", b"".join(one.pem for one in _chain(desk.nvidia)))
        pair = (desk.nvidia.device, desk.nvidia.provisioner)
        revoked = ocsp_answer(*pair, status=ocsp.OCSPCertStatus.REVOKED, start=NOW - timedelta(hours=1))
        outcome = desk.take("a", revoked)
        assert (outcome.outcome, outcome.what.endswith("revoked")) == ("new", True)
        assert desk.take("b", ocsp_answer(*pair, start=NOW - timedelta(hours=2))).outcome == "failed"
        assert desk.there()[outcome.name] == revoked
        forged = ocsp_answer(*pair, start=NOW, signer=desk.manifests.signer)
        assert desk.take("c", forged).outcome == "failed"
        assert desk.take("d", ocsp_answer(*pair, start=NOW)).outcome == "updated"

    def test_what_cannot_be_read_is_replaced(self, desk: Desk) -> None:
        desk.files.put(INTEL_FILE, b"broken")
        assert desk.take("a.json", desk.intel_document()).outcome == "updated"

    def test_a_file_that_stopped_counting_is_older(self, tmp_path: Path) -> None:
        """A list without its number would start the count again."""
        name, dated = "collateral/amd/milan.crl", Dated(NOW_MS, NOW_MS + DAY_MS)
        numbered = revocations(FakeAmd().root)
        place(tmp_path, Candidate(name, numbered, "", dated, {}))
        with pytest.raises(Refused, match="without issue date, which the file in place has"):
            place(tmp_path, Candidate(name, b"another", "", dated, {}))
        assert (tmp_path / name).read_bytes() == numbered

    def test_an_import_waits_for_the_one_before_it(self, desk: Desk) -> None:
        done = threading.Event()

        def bring() -> None:
            desk.take("a.json", desk.intel_document())
            done.set()

        with open(desk.files.path / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            thread = threading.Thread(target=bring)
            thread.start()
            assert not done.wait(0.2)
            assert desk.there() == {}
        thread.join()
        assert set(desk.there()) == {INTEL_FILE}

    def test_two_imports_at_once_leave_the_newest(self, desk: Desk) -> None:
        documents = []
        for number in range(17, 27):
            changes = {"tcbEvaluationDataNumber": number}
            documents.append(desk.intel_document(changes, changes))
        threads = [threading.Thread(target=desk.take, args=("a.json", one)) for one in documents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert desk.there()[INTEL_FILE] == documents[-1]


def test_a_directory_that_cannot_be_written_is_told(desk: Desk) -> None:
    desk.files.put("collateral/intel", b"a file where a folder should be")
    outcome = desk.take("a.json", desk.intel_document())
    assert outcome.outcome == "failed"
    assert "intel" in outcome.detail


class TestStatus:
    def test_what_stands_and_until_when(self, desk: Desk) -> None:
        desk.take("a.json", desk.intel_document())
        found = {one.name: one for one in desk.office.standings(NOW_MS)}
        assert found["platforms.json"].state is State.MISSING
        intel = found[INTEL_FILE]
        assert (intel.state, intel.verified, intel.good) == (State.PRESENT, True, True)
        assert intel.what == f"Intel platform family {FMSPC.hex()}, evaluation 17"
        assert intel.expires_ms == NOW_MS + 28 * DAY_MS
        later = {one.name: one for one in desk.office.standings(NOW_MS + 28 * DAY_MS)}[INTEL_FILE]
        assert (later.state, later.good) == (State.EXPIRED, False)

    def test_a_forged_file_in_place_is_shown(self, desk: Desk) -> None:
        desk.files.put(INTEL_FILE, desk.intel_document(tcb_info_signature=bytes(64)))
        found = {one.name: one for one in desk.office.standings(NOW_MS)}[INTEL_FILE]
        assert (found.verified, found.good, "not signed" in found.problem) == (False, False, True)


def test_production_takes_in_nothing_of_development(desk: Desk) -> None:
    office = Office(desk.files.path)
    for name, content in (("a.json", desk.intel_document()), ("b", revocations(desk.amd.root)),
                          (f"{DRIVER}.xml", desk.manifests.driver())):  # fmt: skip
        assert office.take_in(name, content, NOW_MS).outcome == "failed"
    assert desk.there() == {}


class TestStatements:
    def admit(self, desk: Desk, min_svn: int = 22) -> None:
        desk.files.write("endorsers", endorsers=[{"issuer": ISSUER, "feed": "uvm", "min_svn": min_svn}])

    def test_one_of_an_admitted_endorser_is_taken_in_and_verified(self, desk: Desk) -> None:
        self.admit(desk)
        outcome = desk.take("uvm.cose", statement())
        assert (outcome.outcome, outcome.expires_ms) == ("new", None)
        assert outcome.name.startswith("collateral/endorsements/")
        assert list(desk.there()) == [outcome.name]
        (standing,) = [one for one in desk.office.standings(NOW_MS) if one.name == outcome.name]
        assert (standing.verified, standing.good) == (True, True)
        self.admit(desk, 23)
        (standing,) = [one for one in desk.office.standings(NOW_MS) if one.name == outcome.name]
        assert (standing.verified, standing.good) == (False, False)

    def test_of_nobody_admitted_or_not_signed_changes_nothing(self, desk: Desk) -> None:
        assert desk.take("uvm.cose", statement()).outcome == "failed"
        self.admit(desk)
        for bad in (statement(salt=20), statement(header={"feed": "b"}), statement({"x-ms-sevsnpvm-guestsvn": "21"})):
            assert desk.take("uvm.cose", bad).outcome == "failed"
        assert desk.there() == {}

    def test_never_an_older_one(self, desk: Desk) -> None:
        self.admit(desk)
        newer = statement({"x-ms-sevsnpvm-guestsvn": "30"})
        assert desk.take("a", newer).outcome == "new"
        older = desk.take("b", statement())
        assert (older.outcome, "security version 22 is older than 30" in older.detail) == ("failed", True)
        assert list(desk.there().values()) == [newer]
        assert desk.take("c", statement({"x-ms-sevsnpvm-launchmeasurement": "12" * 48})).outcome == "new"
