"""configfs-tsm: what the kernel does to a writer, and evidence that the gateway's verifiers take."""

import base64
import errno
import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from demesne.binding import additional_digest, report_data
from demesne.errors import Invalid, Malformed, NotConfigured, Unavailable
from demesne.evidence.tsm import TsmAttester
from tests.fakes.attest_endorsement import ISSUER, statement
from tests.fakes.attest_intel import FMSPC, FakeIntel
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.tsm_kernel import ROOT, FakeTsm, Firmware, another_writes
from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Claims
from vault.attest.snp.endorsed import Releases
from vault.attest.snp.evidence import SnpVerifier
from vault.attest.snp.policy import SnpPolicy
from vault.attest.snp.reference import Endorser
from vault.attest.tdx.evidence import TdxVerifier
from vault.attest.tdx.verify import TdxPolicy
from vault.errors import Refused

EXPECTED = ExpectedBinding("ab" * 32, "gateway", "thumbprint", "train", ("claims",))
BOUND = EXPECTED.report_data()
AMD = FakeAmd()
VCEK, ASK, ARK = (
    "63da758d-e664-4564-adc5-f4b93be8accd", "4ab7b379-bbac-4fe4-a02f-05aef327c782",
    "c0b406a4-a803-4952-9743-3fb6014cd0ae",
)  # fmt: skip


def ghcb_table(entries: dict[str, bytes]) -> bytes:
    """As the hypervisor lays it out: entries, a zero one, then the certificates."""
    offset, head, body = 24 * (len(entries) + 1), b"", b""
    for guid, der in entries.items():
        head += UUID(guid).bytes_le + struct.pack("<II", offset + len(body), len(der))
        body += der
    return head + bytes(24) + body


def snp_firmware(amd: FakeAmd = AMD) -> Firmware:
    table = ghcb_table(dict(zip((VCEK, ASK, ARK), amd.certificates, strict=True)))
    return Firmware(lambda inblob, level: (amd.report(report_data=inblob, vmpl=level), table))


def attester(kernel: FakeTsm, kind: str = "snp", **options: Any) -> TsmAttester:
    return TsmAttester(kind, reports=Path(ROOT), calls=kernel, sleep=kernel.sleep, **options)


def as_sent(evidence: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(evidence)))


def verified_snp(evidence: dict[str, Any], expected: ExpectedBinding = EXPECTED) -> Claims:
    return SnpVerifier(AMD.trust, SnpPolicy()).verify(as_sent(evidence), expected, NOW_MS)


def test_snp_evidence_verifies_at_the_gateway() -> None:
    kernel = FakeTsm(snp_firmware())
    claims = verified_snp(attester(kernel).evidence(BOUND))
    assert (claims.kind, claims.hardware, claims.platform["bound"]) == ("snp", True, True)
    assert (kernel.entries, kernel.descriptors) == ({}, 0)


def test_evidence_for_another_scope_is_refused_by_the_gateway() -> None:
    other = ExpectedBinding("ab" * 32, "gateway", "thumbprint", "train", ("other",))
    with pytest.raises(Refused, match=r"attest\.binding"):
        verified_snp(attester(FakeTsm(snp_firmware())).evidence(BOUND), other)


def test_tdx_evidence_verifies_at_the_gateway() -> None:
    intel = FakeIntel()
    kernel = FakeTsm(lambda inblob, _: (intel.quote(report_data=inblob), b""), "tdx_guest")
    kernel.without = {"auxblob", "privlevel"}
    verifier = TdxVerifier({FMSPC: intel.collateral()}, TdxPolicy(), intel.roots)
    claims = verifier.verify(as_sent(attester(kernel, "tdx").evidence(BOUND)), EXPECTED, NOW_MS)
    assert (claims.kind, claims.platform["tcb_status"]) == ("tdx", "UpToDate")
    assert kernel.entries == {}


def test_the_machine_commits_to_what_its_devices_said() -> None:
    """The job's computation of the binding, with additional evidence, is the gateway's."""
    entries = [{"kind": "nvgpu", "evidence": {"version": 1}}]
    digest = additional_digest(entries)
    bound = report_data(
        nonce="ab" * 32, gateway="gateway", thumbprint="thumbprint", purpose="train", scope=["claims"],
        additional=digest,
    )  # fmt: skip
    expected = ExpectedBinding("ab" * 32, "gateway", "thumbprint", "train", ("claims",), digest)
    assert verified_snp(attester(FakeTsm(snp_firmware())).evidence(bound), expected).platform["bound"] is True


def test_a_privilege_level_is_asked_for_and_counted_as_a_write() -> None:
    firmware = snp_firmware()
    kernel = FakeTsm(firmware)
    with pytest.raises(Refused, match=r"attest\.vmpl"):
        verified_snp(attester(kernel, privlevel=2).evidence(BOUND))
    assert firmware.asked == [(BOUND, 2)]


def test_busy_firmware_is_asked_again_and_the_waits_grow() -> None:
    kernel = FakeTsm(snp_firmware())
    kernel.faults = {"mkdir": [errno.EBUSY], "outblob": [errno.EBUSY, errno.EAGAIN, errno.EBUSY]}
    verified_snp(attester(kernel).evidence(BOUND))
    assert kernel.waits == [0.05, 0.05, 0.1, 0.2]


def test_firmware_that_stays_busy_is_unavailable_and_the_entry_is_removed() -> None:
    kernel = FakeTsm(snp_firmware())
    kernel.faults = {"outblob": [errno.EBUSY] * 99}
    with pytest.raises(Unavailable, match=r"evidence\.busy"):
        attester(kernel).evidence(BOUND)
    assert (kernel.entries, kernel.descriptors, len(kernel.waits)) == ({}, 0, 8)


def test_another_writer_makes_another_try_and_his_report_is_not_used() -> None:
    firmware = snp_firmware()
    kernel = FakeTsm(firmware)
    kernel.meanwhile = [another_writes()]
    verified_snp(attester(kernel).evidence(BOUND))
    assert [asked for asked, _ in firmware.asked] == [b"\x66" * 64, BOUND]


def test_another_writer_of_the_same_words_is_noticed_too() -> None:
    firmware = snp_firmware()
    kernel = FakeTsm(firmware)
    kernel.meanwhile = [another_writes(BOUND)]
    attester(kernel).evidence(BOUND)
    assert len(firmware.asked) == 2


def test_a_writer_who_does_not_stop_is_an_error() -> None:
    kernel = FakeTsm(snp_firmware())
    kernel.meanwhile = [another_writes() for _ in range(9)]
    with pytest.raises(Unavailable, match=r"evidence\.race"):
        attester(kernel).evidence(BOUND)
    assert kernel.entries == {}


def test_a_write_that_the_kernel_lost_at_close_is_noticed() -> None:
    """Its error goes nowhere; the report would be over what stood there before."""
    kernel = FakeTsm(snp_firmware())
    kernel.meanwhile = [lambda entry: setattr(entry, "inblob", b"\x66" * 64)]
    kernel.lost_writes = 1
    verified_snp(attester(kernel).evidence(BOUND))


def test_short_reads_are_put_together() -> None:
    kernel = FakeTsm(snp_firmware())
    kernel.longest_read = 100
    verified_snp(attester(kernel).evidence(BOUND))


@pytest.mark.parametrize(
    ("what", "code", "kind", "said"),
    [
        ("mkdir", errno.ENXIO, NotConfigured, "no report provider"),
        ("mkdir", errno.ENOENT, NotConfigured, "not there"),
        ("mkdir", errno.EACCES, NotConfigured, "may not write"),
        ("outblob", errno.ENXIO, NotConfigured, "went away"),
        ("outblob", errno.EIO, Unavailable, "EIO"),
        ("inblob", errno.EFBIG, Malformed, "EFBIG"),
        ("auxblob", errno.EIO, Unavailable, "EIO"),
    ],
)  # fmt: skip
def test_each_failure_of_the_kernel_has_its_own_words(what: str, code: int, kind: type[Exception], said: str) -> None:
    kernel = FakeTsm(snp_firmware())
    kernel.faults = {what: [code]}
    with pytest.raises(kind, match=said):
        attester(kernel).evidence(BOUND)
    assert (kernel.entries, kernel.descriptors) == ({}, 0)


@pytest.mark.parametrize("longer", [(32 * 1024 + 1, 0), (1184, 64 * 1024 + 1)])
def test_blobs_are_bounded(longer: tuple[int, int]) -> None:
    kernel = FakeTsm(lambda *_: (bytes(longer[0]), bytes(longer[1])))
    with pytest.raises(Malformed, match="longer than"):
        attester(kernel).evidence(BOUND)
    assert kernel.entries == {}


def test_the_other_hardware_is_not_taken_for_the_one_that_was_asked_for() -> None:
    with pytest.raises(NotConfigured, match="tdx_guest"):
        attester(FakeTsm(snp_firmware(), "tdx_guest")).evidence(BOUND)


@pytest.mark.parametrize(
    "spelled", [lambda raw: raw, lambda raw: base64.b64encode(raw) + b"\n"], ids=["bytes", "base64"]
)
def test_an_endorsement_is_brought_along(spelled: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "reference-info"
    path.write_bytes(spelled(statement()))
    evidence = attester(FakeTsm(snp_firmware()), endorsement=path).evidence(BOUND)
    trust = replace(AMD.trust, releases=Releases([Endorser(ISSUER, "uvm", 22)]))
    claims = SnpVerifier(trust, SnpPolicy()).verify(as_sent(evidence), EXPECTED, NOW_MS)
    assert claims.platform["endorsement_feed"] == "uvm"
    with pytest.raises(NotConfigured, match="cannot be read"):
        attester(FakeTsm(snp_firmware()), endorsement=tmp_path / "missing").evidence(BOUND)
    with pytest.raises(Invalid):
        attester(FakeTsm(snp_firmware()), "tdx", endorsement=path)


def test_report_data_of_another_length_never_reaches_the_kernel() -> None:
    firmware = snp_firmware()
    with pytest.raises(Invalid):
        attester(FakeTsm(firmware)).evidence(BOUND[:63])
    assert firmware.asked == []
