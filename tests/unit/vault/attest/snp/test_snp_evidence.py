"""How SNP evidence arrives: our form, configfs-tsm captures, certificate tables; and the port with its binding."""

import base64
import struct
from typing import Any
from uuid import UUID

import pytest

from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_snp import FakeAmd
from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Refusal
from vault.attest.snp.evidence import SnpVerifier, certificate_table, parse_evidence, parse_tsm
from vault.attest.snp.policy import SnpPolicy
from vault.errors import Refused

EXPECTED = ExpectedBinding("ab" * 32, "de.example", "T" * 43, "claims-risk-model", ("claims", "models"))
VCEK = UUID("63da758d-e664-4564-adc5-f4b93be8accd")
ASK = UUID("4ab7b379-bbac-4fe4-a02f-05aef327c782")
ARK = UUID("c0b406a4-a803-4952-9743-3fb6014cd0ae")
OTHER = UUID("00112233-4455-6677-8899-aabbccddeeff")


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def table(entries: list[tuple[UUID, bytes]], *, little: bool = True, end: bool = True) -> bytes:
    header, data = b"", b""
    start = 24 * (len(entries) + end)
    for guid, content in entries:
        header += (guid.bytes_le if little else guid.bytes) + struct.pack("<II", start + len(data), len(content))
        data += content
    return header + bytes(24 * end) + data


def evidence(amd: FakeAmd, **changes: Any) -> dict[str, Any]:
    raw = amd.report(report_data=EXPECTED.report_data())
    form = {
        "kind": "snp",
        "version": 1,
        "report": b64(raw),
        "certificates": [b64(c) for c in amd.certificates],
        "auxblob": "",
    }
    return form | changes


def refusal(form: dict[str, Any], amd: FakeAmd, expected: ExpectedBinding = EXPECTED) -> str:
    with pytest.raises(Refused) as caught:
        SnpVerifier(amd.trust, SnpPolicy()).verify(form, expected, NOW_MS)
    assert caught.value.reason in set(Refusal)
    return caught.value.reason.removeprefix("attest.")


@pytest.fixture(scope="module")
def amd() -> FakeAmd:
    return FakeAmd()


def test_the_port_checks_the_binding(amd: FakeAmd) -> None:
    claims = SnpVerifier(amd.trust, SnpPolicy()).verify(evidence(amd), EXPECTED, NOW_MS)
    assert claims.as_document()["platform"]["bound"] is True
    other = ExpectedBinding("ac" * 32, "de.example", "T" * 43, "claims-risk-model", ("claims", "models"))
    assert refusal(evidence(amd), amd, other) == "binding"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"more": 1}, "malformed"),
        ({"kind": "tdx"}, "malformed"),
        ({"version": 2}, "unknown-version"),
        ({"version": True}, "unknown-version"),
        ({"report": "!"}, "malformed"),
        ({"report": None}, "malformed"),
        ({"report": "A" * 10_000_000}, "malformed"),
        ({"report": "AA=="}, "malformed"),
        ({"certificates": "x"}, "malformed"),
        ({"certificates": ["AA=="] * 9}, "malformed"),
        ({"certificates": [7]}, "malformed"),
        ({"certificates": ["é"]}, "malformed"),
        ({"certificates": ["AAAA"]}, "malformed"),
        ({"certificates": []}, "chain"),
        ({"auxblob": None}, "malformed"),
        ({"auxblob": "AA=="}, "malformed"),
    ],
)
def test_another_form_is_refused(amd: FakeAmd, changes: dict[str, Any], reason: str) -> None:
    assert refusal(evidence(amd, **changes), amd) == reason


@pytest.mark.parametrize("little", [True, False])
@pytest.mark.parametrize("pem", [True, False])
def test_certificates_come_from_the_table(amd: FakeAmd, little: bool, pem: bool) -> None:
    parts = [(VCEK, amd.leaf), (ASK, amd.middle), (ARK, amd.root)]
    entries = [(guid, issued.pem if pem else issued.der) for guid, issued in parts]
    blob = table([*entries, (OTHER, b"anything")], little=little) + bytes(100)
    assert certificate_table(blob) == amd.certificates
    report, certificates = parse_evidence(evidence(amd, certificates=[], auxblob=b64(blob)))
    assert certificates == amd.certificates
    assert parse_tsm({"provider": "sev_guest\n", "outblob": b64(report), "auxblob": b64(blob)}) == (
        report,
        certificates,
    )
    assert parse_tsm({"provider": "sev_guest", "outblob": b64(report)}) == (report, [])


@pytest.mark.parametrize(
    "blob",
    [
        b"\1",
        bytes(23),
        table([(VCEK, b"x")], end=False),
        VCEK.bytes_le + struct.pack("<II", 0xFFFFFFFF, 1) + bytes(24),
        VCEK.bytes_le + struct.pack("<II", 48, 0xFFFFFFFF) + bytes(24),
        table([(OTHER, b"")] * 40),
        table([(VCEK, b"x")] * 9),
        table([(VCEK, b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----")]),
        table([(VCEK, b"-----nothing")]),
    ],
)
def test_a_table_that_lies_is_malformed(blob: bytes) -> None:
    with pytest.raises(Refused, match=r"attest\.malformed"):
        certificate_table(blob)


@pytest.mark.parametrize(
    "capture",
    [{}, {"provider": "tdx_guest", "outblob": ""}, {"outblob": ""}, {"provider": "sev_guest", "outblob": "", "x": 1}],
)
def test_a_capture_of_something_else_is_refused(capture: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"attest\.(malformed|unknown-kind)"):
        parse_tsm(capture)


def test_a_capture_without_a_report_is_malformed() -> None:
    with pytest.raises(Refused, match=r"attest\.malformed"):
        parse_tsm({"provider": "sev_guest", "auxblob": ""})
