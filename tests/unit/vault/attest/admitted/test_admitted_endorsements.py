"""Endorsed measurements in a zone: whose statements its trust directory admits, brought with evidence or lying here."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import cbor2
import pytest

from tests.fakes.attest_endorsement import ISSUER, MIDDLE, ROOT, leaf, statement
from tests.fakes.attest_pki import NOW, NOW_MS
from tests.fakes.attest_tpm import hcl_report, runtime_data
from tests.fakes.attest_trust import EXPECTED, Machines, TrustFiles, b64, instant
from vault.attest.admitted.verifiers import admitted_verifiers
from vault.attest.claims import Claims, Refusal
from vault.attest.trust.directory import ENDORSEMENTS, TrustDirectory
from vault.attest.trust.watched import State
from vault.errors import Refused

KINDS = ("snp", "azure-vtpm")
ENDORSER = {"issuer": ISSUER, "feed": "uvm", "min_svn": 22}
SAID = {"endorsement_issuer": ISSUER, "endorsement_feed": "uvm", "endorsement_svn": 22}
FILED = f"{ENDORSEMENTS}/uvm.cose"


@pytest.fixture(scope="module")
def machines() -> Machines:
    return Machines()


@pytest.fixture
def files(tmp_path: Path, machines: Machines) -> TrustFiles:
    files = TrustFiles(tmp_path)
    machines.trust(files)
    return files


def admit(files: TrustFiles, *endorsers: dict[str, Any], **dates: Any) -> None:
    files.write("endorsers", endorsers=list(endorsers) or [ENDORSER], **dates)


def verify(files: TrustFiles, machines: Machines, kind: str, evidence: dict[str, Any], at_ms: int = NOW_MS) -> Claims:
    directory = TrustDirectory(files.path, look_ms=0)
    verifiers = admitted_verifiers(directory, development=False, roots=machines.roots)
    return verifiers.verify(kind, evidence, EXPECTED, at_ms)


def bringing(machines: Machines, kind: str, raw: bytes | None = None) -> dict[str, Any]:
    return machines.evidence(kind) | {"endorsement": b64(statement() if raw is None else raw)}


def said(claims: Claims) -> dict[str, Any]:
    return {name: value for name, value in claims.platform.items() if name.startswith("endorsement")}


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return Refusal(caught.value.reason).removeprefix("attest.")


@pytest.mark.parametrize("kind", KINDS)
def test_a_statement_that_holds_is_a_claim(kind: str, files: TrustFiles, machines: Machines) -> None:
    admit(files)
    claims = verify(files, machines, kind, bringing(machines, kind))
    assert (said(claims), claims.hardware) == (SAID, True)
    assert claims.measurement == "11" * 48
    assert said(verify(files, machines, kind, machines.evidence(kind))) == {}
    assert said(verify(files, machines, kind, bringing(machines, kind, b""))) == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "raw",
    [
        statement({"x-ms-sevsnpvm-launchmeasurement": "12" * 48}),
        statement({"x-ms-sevsnpvm-guestsvn": "21"}),
        statement(header={"feed": "other"}),
        statement(header={"iss": ISSUER.replace("sha256:", "sha256:A")[:-1]}),
        statement(chain=[leaf(end=NOW - timedelta(1)), MIDDLE, ROOT]),
        statement(salt=20),
    ],
    ids=["another measurement", "svn", "feed", "issuer", "expired", "signature"],
)
def test_a_statement_that_does_not_hold_refuses_good_evidence(
    kind: str, raw: bytes, files: TrustFiles, machines: Machines
) -> None:
    admit(files)
    assert refusal(lambda: verify(files, machines, kind, bringing(machines, kind, raw))) == "endorsement"
    assert verify(files, machines, kind, machines.evidence(kind)).hardware


@pytest.mark.parametrize("kind", KINDS)
def test_a_statement_of_nobody_who_is_admitted_is_refused_and_not_dropped(
    kind: str, files: TrustFiles, machines: Machines
) -> None:
    brought = bringing(machines, kind)
    assert refusal(lambda: verify(files, machines, kind, brought)) == "endorsement"
    admit(files, ENDORSER | {"feed": "another"})
    assert refusal(lambda: verify(files, machines, kind, brought)) == "endorsement"
    admit(files, expires=NOW + timedelta(hours=1))
    assert verify(files, machines, kind, brought)
    assert refusal(lambda: verify(files, machines, kind, brought, NOW_MS + 3_600_000)) == "endorsement"
    files.put("endorsers.json", b"{}")
    assert refusal(lambda: verify(files, machines, kind, brought)) == "endorsement"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [b"\xd2\x84", cbor2.dumps([]), bytes(70_000), 7, None, "?"])
def test_what_is_no_statement_is_malformed(kind: str, bad: Any, files: TrustFiles, machines: Machines) -> None:
    admit(files)
    field = b64(bad) if isinstance(bad, bytes) else bad
    evidence = machines.evidence(kind) | {"endorsement": field}
    assert refusal(lambda: verify(files, machines, kind, evidence)) == "malformed"
    assert refusal(lambda: verify(files, machines, kind, machines.evidence(kind) | {"endorsements": ""})) == "malformed"


def test_a_statement_mends_nothing_else(files: TrustFiles, machines: Machines) -> None:
    """The machine is judged first, by all that judged it before."""
    admit(files)
    debug = bringing(machines, "snp") | {"report": b64(machines.amd.report(report_data=b"\0" * 64))}
    assert refusal(lambda: verify(files, machines, "snp", debug)) == "binding"
    files.platforms(snp=None)
    assert refusal(lambda: verify(files, machines, "snp", bringing(machines, "snp"))) == "no-trust"


def test_a_domain_of_intel_has_no_snp_measurement(files: TrustFiles, machines: Machines) -> None:
    admit(files)
    data = runtime_data(machines.tpm)
    quote = machines.intel.quote(report_data=hashlib.sha256(data).digest() + bytes(32))
    over_tdx = bringing(machines, "azure-vtpm") | {
        "hcl_report": b64(hcl_report(b"", data, kind=4)), "td_quote": b64(quote), "certificates": [],
    }  # fmt: skip
    assert refusal(lambda: verify(files, machines, "azure-vtpm", over_tdx)) == "endorsement"
    measured = verify(files, machines, "azure-vtpm", over_tdx | {"endorsement": ""}).measurement
    named = statement({"x-ms-sevsnpvm-launchmeasurement": measured})
    assert refusal(lambda: verify(files, machines, "azure-vtpm", over_tdx | {"endorsement": b64(named)})) == (
        "endorsement"
    )
    files.put(FILED, named)
    assert said(verify(files, machines, "azure-vtpm", over_tdx | {"endorsement": ""})) == {}


def test_other_kinds_take_none(files: TrustFiles, machines: Machines) -> None:
    admit(files)
    for kind in ("tdx", "nitro", "tpm"):
        assert refusal(lambda k=kind: verify(files, machines, k, bringing(machines, k))) == "malformed"  # type: ignore[misc]


def test_certificates_count_as_of_the_time_that_the_operator_names(files: TrustFiles, machines: Machines) -> None:
    old = bringing(machines, "snp", statement(chain=[leaf(end=NOW - timedelta(1)), MIDDLE, ROOT]))
    admit(files)
    assert refusal(lambda: verify(files, machines, "snp", old)) == "endorsement"
    admit(files, ENDORSER | {"as_of": instant(NOW - timedelta(2))})
    assert said(verify(files, machines, "snp", old)) == SAID
    young = bringing(machines, "snp", statement(chain=[leaf(start=NOW - timedelta(1)), MIDDLE, ROOT]))
    assert refusal(lambda: verify(files, machines, "snp", young)) == "endorsement"


class TestFiled:
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_statement_in_the_zone_is_a_claim_for_who_brings_none(
        self, kind: str, files: TrustFiles, machines: Machines
    ) -> None:
        admit(files)
        files.put(FILED, statement())
        assert said(verify(files, machines, kind, machines.evidence(kind))) == SAID

    def test_the_newest_that_holds_counts(self, files: TrustFiles, machines: Machines) -> None:
        admit(files)
        for svn in (23, 22, 24):
            files.put(f"{ENDORSEMENTS}/{svn}.cose", statement({"x-ms-sevsnpvm-guestsvn": str(svn)}))
        files.put(f"{ENDORSEMENTS}/a.cose", statement({"x-ms-sevsnpvm-guestsvn": "99"}, salt=20))
        assert said(verify(files, machines, "snp", machines.evidence("snp")))["endorsement_svn"] == 24

    def test_one_that_does_not_hold_is_no_claim_and_refuses_nobody(self, files: TrustFiles, machines: Machines) -> None:
        files.put(FILED, statement())
        assert said(verify(files, machines, "snp", machines.evidence("snp"))) == {}
        admit(files, ENDORSER | {"min_svn": 23})
        assert said(verify(files, machines, "snp", machines.evidence("snp"))) == {}
        admit(files)
        files.put(FILED, statement({"x-ms-sevsnpvm-launchmeasurement": "12" * 48}))
        assert said(verify(files, machines, "snp", machines.evidence("snp"))) == {}

    def test_what_is_brought_is_not_mended_by_what_lies_here(self, files: TrustFiles, machines: Machines) -> None:
        admit(files)
        files.put(FILED, statement())
        bad = bringing(machines, "snp", statement(salt=20))
        assert refusal(lambda: verify(files, machines, "snp", bad)) == "endorsement"

    def test_files_have_states(self, files: TrustFiles) -> None:
        files.put(FILED, statement())
        files.put(f"{ENDORSEMENTS}/bad.cose", statement()[:-1])
        files.put(f"{ENDORSEMENTS}/other.txt", statement())
        material = TrustDirectory(files.path).material(NOW_MS)
        states = {loaded.name.rpartition("/")[2]: loaded.state(NOW_MS) for loaded in material.endorsements}
        assert states == {"uvm.cose": State.PRESENT, "bad.cose": State.UNREADABLE, "other.txt": State.UNREADABLE}
        assert material.states(NOW_MS)["collateral"] == "unreadable"
