"""What a zone admits follows its trust directory and its posture, for every kind, within seconds."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.attest_pki import NOW, NOW_MS, Shape, issue, revocations, rsa_key
from tests.fakes.attest_snp import CHIP, CSP, FakeAmd
from tests.fakes.attest_tpm import hcl_report, runtime_data
from tests.fakes.attest_trust import EXPECTED, FLOOR, Machines, TrustFiles, another_tpm, b64
from vault.attest.admitted.verifiers import DEVICES, MACHINES, admitted_verifiers
from vault.attest.binding import Binding, ExpectedBinding
from vault.attest.claims import Claims, Refusal
from vault.attest.trust.directory import LOOK_MS, TrustDirectory
from vault.attest.trust.tpm_keys import EnrolledKey
from vault.attest.verifier import Verifiers
from vault.errors import Refused

KINDS = sorted(MACHINES | DEVICES)
DAY = 86_400_000


@pytest.fixture(scope="module")
def machines() -> Machines:
    return Machines()


@pytest.fixture
def files(tmp_path: Path) -> TrustFiles:
    return TrustFiles(tmp_path)


def admitted(files: TrustFiles, machines: Machines | None, *, development: bool = False, **more: Any) -> Verifiers:
    directory = TrustDirectory(files.path, development=development, look_ms=0)
    roots = machines.roots if machines else None
    return admitted_verifiers(directory, development=development, roots=roots, **more)


def verify(verifiers: Verifiers, kind: str, evidence: dict[str, Any], *, expected: Binding = EXPECTED,
           at_ms: int = NOW_MS) -> Claims:  # fmt: skip
    if kind in DEVICES:
        (claims,) = verifiers.verify_devices([{"kind": kind, "evidence": evidence}], expected, at_ms)
        return claims
    return verifiers.verify(kind, evidence, expected, at_ms)


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return Refusal(caught.value.reason).removeprefix("attest.")


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_admitted_by_what_the_files_say(kind: str, files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    claims = verify(admitted(files, machines), kind, machines.evidence(kind))
    assert claims.kind == kind
    assert claims.platform["bound"] is True
    assert (claims.hardware, claims.synthetic_only) == (kind != "tpm", False)


@pytest.mark.parametrize("development", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_without_files_nothing_is_trusted(kind: str, development: bool, files: TrustFiles, machines: Machines) -> None:
    for verifiers in (
        admitted(files, machines, development=development),
        admitted(files, None, development=development),
    ):
        assert refusal(lambda v=verifiers: verify(v, kind, machines.evidence(kind))) == "no-trust"  # type: ignore[misc]


def test_sample_is_development_alone(files: TrustFiles, machines: Machines) -> None:
    evidence = machines.evidence("sample")
    claims = verify(admitted(files, None, development=True), "sample", evidence)
    assert (claims.hardware, claims.synthetic_only) == (False, True)
    machines.trust(files)
    assert refusal(lambda: verify(admitted(files, machines), "sample", evidence)) == "no-trust"
    assert refusal(lambda: admitted(files, machines).verify("sgx", {}, EXPECTED, NOW_MS)) == "unknown-kind"


@pytest.mark.parametrize("kind", KINDS)
def test_another_binding_is_refused(kind: str, files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    other = ExpectedBinding("cd" * 32, "de.example", "T" * 43, "claims-risk-model", ("claims", "models"))
    assert (
        refusal(lambda: verify(admitted(files, machines), kind, machines.evidence(kind), expected=other)) == "binding"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_packages_pins_do_not_know_these_makers(kind: str, files: TrustFiles, machines: Machines) -> None:
    """Hardware and its makers are not trusted by a file; keys of services and of TPMs are."""
    machines.trust(files)
    verifiers = admitted(files, None)
    if kind in {"snp", "tdx", "nitro", "azure-vtpm", "nvgpu"}:
        assert refusal(lambda: verify(verifiers, kind, machines.evidence(kind))) == "chain"
    else:
        assert verify(verifiers, kind, machines.evidence(kind))


@pytest.mark.parametrize("kind", DEVICES)
def test_devices_are_no_machines_and_machines_no_devices(kind: str, files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    verifiers = admitted(files, machines)
    assert refusal(lambda: verifiers.verify(kind, machines.evidence(kind), EXPECTED, NOW_MS)) == "unknown-kind"
    as_device = [{"kind": "tdx", "evidence": machines.evidence("tdx")}]
    assert refusal(lambda: verifiers.verify_devices(as_device, EXPECTED, NOW_MS)) == "unknown-kind"


def test_a_change_counts_within_five_seconds_and_an_expiry_at_once(files: TrustFiles, machines: Machines) -> None:
    assert LOOK_MS < 5000
    verifiers = admitted_verifiers(TrustDirectory(files.path), development=False, roots=machines.roots)
    evidence = machines.evidence("snp")
    assert refusal(lambda: verify(verifiers, "snp", evidence)) == "no-trust"
    files.platforms()
    assert refusal(lambda: verify(verifiers, "snp", evidence, at_ms=NOW_MS + LOOK_MS - 1)) == "no-trust"
    assert verify(verifiers, "snp", evidence, at_ms=NOW_MS + LOOK_MS)
    files.platforms(snp={"products": {"Genoa": FLOOR}})
    assert refusal(lambda: verify(verifiers, "snp", evidence, at_ms=NOW_MS + 2 * LOOK_MS)) == "platform"
    files.platforms()
    assert verify(verifiers, "snp", evidence, at_ms=NOW_MS + 3 * LOOK_MS)
    expired = NOW_MS + 30 * DAY
    assert verify(verifiers, "snp", evidence, at_ms=expired - 1)
    assert refusal(lambda: verify(verifiers, "snp", evidence, at_ms=expired)) == "no-trust"
    (files.path / "platforms.json").unlink()
    assert refusal(lambda: verify(verifiers, "snp", evidence, at_ms=NOW_MS)) == "no-trust"  # a clock that went back


@pytest.mark.parametrize(
    ("kind", "section"),
    [
        ("snp", {"products": {"Milan": FLOOR}, "deny_products": ["Milan"]}),
        ("snp", {"products": {"Milan": FLOOR}, "allow_chips": [CHIP.hex()], "deny_chips": [CHIP.hex()]}),
        ("snp", {"products": {"Milan": FLOOR}, "allow_chips": []}),
        ("tdx", {"min_evaluation_number": 17, "allow_ppids": ["50" * 16], "deny_ppids": ["50" * 16]}),
        ("tdx", {"min_evaluation_number": 17, "allow_ppids": []}),
        ("tdx", {"min_evaluation_number": 17, "allow_fmspcs": ["b0c06f000000"], "deny_fmspcs": ["b0c06f000000"]}),
        ("tdx", {"min_evaluation_number": 17, "allow_fmspcs": ["000000000001"]}),
        ("tdx", {"min_evaluation_number": 17, "deny_modules": ["0a" * 48]}),
        ("nitro", {"allow_modules": ["i-0123-enc0456"], "deny_modules": ["i-0123-enc0456"]}),
        ("nitro", {"allow_instances": ["i-0123"], "deny_modules": ["i-0123"]}),
        ("nitro", {"allow_instances": ["i-0124"]}),
    ],
)
def test_who_is_denied_stays_denied(kind: str, section: Any, files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    files.platforms(**{kind: section})
    assert refusal(lambda: verify(admitted(files, machines), kind, machines.evidence(kind))) == "platform"


def test_a_denied_provider_stays_denied(files: TrustFiles) -> None:
    machines = Machines(amd=FakeAmd(vlek=True))
    section: dict[str, Any] = {"products": {"Milan": FLOOR}}
    for more, outcome in (({}, False), ({"allow_providers": [CSP]}, True),
                          ({"allow_providers": [CSP], "deny_providers": [CSP]}, False)):  # fmt: skip
        files.platforms(snp=section | more)
        verifiers = admitted(files, machines)
        if outcome:
            assert verify(verifiers, "snp", machines.evidence("snp"))
        else:
            assert refusal(lambda v=verifiers: verify(v, "snp", machines.evidence("snp"))) == "platform"  # type: ignore[misc]


def test_floors(files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    for kind, section, reason in (
        ("snp", {"products": {"Milan": FLOOR | {"microcode": 218}}}, "tcb"),
        ("tdx", {"min_evaluation_number": 18}, "collateral"),
        ("tdx", {"min_evaluation_number": 17, "max_collateral_age_days": 1}, "collateral"),
        ("nvgpu", {"needs_manifests": False, "min_driver": "550.90.08"}, "tcb"),
        ("nvgpu", {"needs_manifests": False, "min_vbios": "96.00.A0.00.00"}, "tcb"),
        ("nvgpu", {"needs_manifests": False, "deny_drivers": ["550.90.07"]}, "tcb"),
        ("nvgpu", {"needs_manifests": False, "needs_revocation": True}, "collateral"),
        ("nvgpu", {}, "collateral"),  # manifests are asked for unless the file says otherwise
        ("snp", {"products": {"Milan": FLOOR}, "needs_revocation": True}, "collateral"),
    ):
        files.platforms(**{kind: section})
        verifiers = admitted(files, machines)
        assert refusal(lambda v=verifiers, k=kind: verify(v, k, machines.evidence(k))) == reason, section  # type: ignore[misc]


def test_a_vtpm_needs_its_hardware_admitted(files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    data = runtime_data(machines.tpm)
    quote = machines.intel.quote(report_data=hashlib.sha256(data).digest() + bytes(32))
    over_tdx = machines.evidence("azure-vtpm") | {
        "hcl_report": b64(hcl_report(b"", data, kind=4)), "td_quote": b64(quote), "certificates": [],
    }  # fmt: skip
    assert verify(admitted(files, machines), "azure-vtpm", over_tdx).tee == "tdx"
    files.platforms(tdx=None)
    assert refusal(lambda: verify(admitted(files, machines), "azure-vtpm", over_tdx)) == "no-trust"
    files.platforms(snp=None)
    assert (
        refusal(lambda: verify(admitted(files, machines), "azure-vtpm", machines.evidence("azure-vtpm"))) == "no-trust"
    )


def test_tpm_keys_are_enrolled_one_by_one(files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    claims = verify(admitted(files, machines), "tpm", machines.evidence("tpm"))
    assert (claims.platform["enrolled"], claims.platform["pcr_policy"], claims.platform["principal"]) == (True, [7], "")
    other = Machines(tpm=another_tpm())
    assert refusal(lambda: verify(admitted(files, machines), "tpm", other.evidence("tpm"))) == "chain"
    enrolled = EnrolledKey(other.tpm.name, {7: frozenset({b"\7" * 32})}, "principal-1", (3, 1, 1000))

    def find(name: str) -> EnrolledKey | None:
        return enrolled if name == enrolled.name else None

    found = verify(admitted(files, machines, find_tpm_key=find), "tpm", other.evidence("tpm"))
    assert found.platform["principal"] == "principal-1"
    for worse, reason in (
        (EnrolledKey(other.tpm.name, {7: frozenset()}), "measurement"),
        (EnrolledKey(other.tpm.name, {}, "", (3, 1, 1001)), "platform"),
        (EnrolledKey(machines.tpm.name), "chain"),  # an answer about another key enrols nobody
    ):
        verifiers = admitted(files, machines, find_tpm_key=lambda _, found=worse: found)
        assert refusal(lambda v=verifiers: verify(v, "tpm", other.evidence("tpm"))) == reason  # type: ignore[misc]


def test_a_file_that_is_half_understood_is_none(files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    files.platforms(snp={"products": {"Milan": FLOOR}, "deny_chip": []})
    assert refusal(lambda: verify(admitted(files, machines), "snp", machines.evidence("snp"))) == "no-trust"
    files.platforms()
    assert verify(admitted(files, machines), "snp", machines.evidence("snp"))


class TestDevelopmentRoots:
    def put(self, files: TrustFiles, machines: Machines) -> None:
        machines.trust(files)
        files.put("development-roots/amd-milan.pem", machines.amd.root.pem)
        files.put("development-roots/intel.pem", machines.intel.root.pem)
        files.put("development-roots/aws-nitro.pem", machines.nitro.root.pem)
        files.put("development-roots/nvidia.pem", machines.nvidia.root.pem)

    @pytest.mark.parametrize("kind", ["snp", "tdx", "nitro", "azure-vtpm", "nvgpu"])
    def test_what_rests_on_one_is_no_hardware(self, kind: str, files: TrustFiles, machines: Machines) -> None:
        self.put(files, machines)
        claims = verify(admitted(files, None, development=True), kind, machines.evidence(kind))
        assert (claims.hardware, claims.synthetic_only) == (False, True)

    @pytest.mark.parametrize("kind", ["snp", "tdx", "nitro", "azure-vtpm", "nvgpu"])
    def test_production_does_not_read_them(self, kind: str, files: TrustFiles, machines: Machines) -> None:
        self.put(files, machines)
        assert refusal(lambda: verify(admitted(files, None), kind, machines.evidence(kind))) == "chain"

    def test_pinned_makers_stay_hardware_beside_them(self, files: TrustFiles, machines: Machines) -> None:
        self.put(files, Machines())
        claims = verify(admitted(files, machines, development=True), "snp", machines.evidence("snp"))
        assert (claims.hardware, claims.synthetic_only) == (True, False)

    def test_another_refusal_than_an_unknown_root_is_final(self, files: TrustFiles, machines: Machines) -> None:
        """A genuine machine in debug mode is not tried again as a made-up one."""
        self.put(files, machines)
        debug = machines.evidence("snp") | {"report": _debug_report(machines)}
        assert refusal(lambda: verify(admitted(files, machines, development=True), "snp", debug)) == "debug"

    def test_a_root_of_another_maker_changes_no_refusal(self, files: TrustFiles, machines: Machines) -> None:
        machines.trust(files)
        files.put("development-roots/intel.pem", machines.intel.root.pem)
        verifiers = admitted(files, None, development=True)
        assert refusal(lambda: verify(verifiers, "snp", machines.evidence("snp"))) == "chain"
        assert verify(verifiers, "tdx", machines.evidence("tdx")).synthetic_only

    def test_they_need_the_kind_admitted(self, files: TrustFiles, machines: Machines) -> None:
        self.put(files, machines)
        (files.path / "platforms.json").unlink()
        verifiers = admitted(files, None, development=True)
        assert refusal(lambda: verify(verifiers, "snp", machines.evidence("snp"))) == "no-trust"


def _debug_report(machines: Machines) -> str:
    return b64(machines.amd.report(report_data=EXPECTED.report_data(), policy=0xB0000))


def test_revocation_lists_of_a_product_line(files: TrustFiles, machines: Machines) -> None:
    machines.trust(files)
    needs = {"products": {"Milan": FLOOR}, "needs_revocation": True}
    files.platforms(snp=needs)
    good = revocations(machines.amd.root)
    files.put("collateral/amd/milan.crl", good)
    claims = verify(admitted(files, machines), "snp", machines.evidence("snp"))
    assert claims.platform["revocation_checked"] is True
    files.put("collateral/amd/milan.crl", revocations(machines.amd.root, [machines.amd.middle]))
    assert refusal(lambda: verify(admitted(files, machines), "snp", machines.evidence("snp"))) == "revoked"
    files.platforms()
    old = revocations(machines.amd.root, start=NOW - timedelta(3), end=NOW - timedelta(1))
    forged = issue("ARK-Milan", rsa_key(5), None, Shape(ca=True))
    for content in (b"no list", old, revocations(forged)):  # a bad list is not the same as none
        files.put("collateral/amd/milan.crl", content)
        assert refusal(lambda: verify(admitted(files, machines), "snp", machines.evidence("snp"))) == "collateral"
    (files.path / "collateral/amd/milan.crl").unlink()
    files.put("collateral/amd/genoa.crl", b"another line's")
    assert verify(admitted(files, machines), "snp", machines.evidence("snp")).platform["revocation_checked"] is False
