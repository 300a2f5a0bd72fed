"""Evidence out of files: which file is what, what time counts, what a manifest's entry ends as."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.attest_intel import FakeIntel
from tests.fakes.attest_nvidia import FakeNvidia
from tests.fakes.attest_pki import NOW_MS, ec_key
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_tokens import BOUND, NOW_S, FakeIssuer, b64, ear_claims, maa_claims
from tests.fakes.attest_tpm import EXTRA, FakeTpm, hcl_report, runtime_data
from vault.attest.certificates import fingerprint, load_certificate
from vault.attest.claims import Refusal
from vault.attest.offline.contents import Presented, binary, milliseconds
from vault.attest.offline.inspection import inspect_file
from vault.attest.offline.kinds import KINDS, verify_files
from vault.attest.offline.manifest import check_entries
from vault.attest.snp.amd import amd_certificates
from vault.attest.snp.product import ROOTS
from vault.errors import Refused

TPM = FakeTpm()
EAR = FakeIssuer(ec_key(ec.SECP256R1()), kid="")


def refusal(kind: str, presented: Presented) -> str:
    with pytest.raises(Refused) as caught:
        verify_files(kind, presented)
    return Refusal(caught.value.reason).removeprefix("attest.")


def tpm_files(*, nonce: bytes | None = None) -> Presented:
    message = TPM.message()
    pem = TPM.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    values = b"".join(TPM.pcrs[index] for index in sorted(TPM.pcrs))
    files = (TPM.sign(message), pem, values, *([nonce] if nonce else []))
    return Presented(message, files)


def jwk() -> bytes:
    numbers = EAR.key.public_key().public_numbers()
    assert isinstance(numbers, ec.EllipticCurvePublicNumbers)
    x, y = (b64(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return json.dumps({"kty": "EC", "crv": "P-256", "x": x, "y": y}).encode()


def token(**changes: Any) -> bytes:
    return EAR.sign(ear_claims(**changes), alg="ES256").encode() + b"\n"


def test_amds_certificates_are_those_of_the_pinned_roots() -> None:
    found = {fingerprint(load_certificate(der)) for der in amd_certificates()}
    assert len(found) == 9
    assert all(pins & found for pins in ROOTS.values())


def test_a_quote_and_its_files_in_order() -> None:
    assert verify_files("tpm", tpm_files()).claims["platform"]["bound"] is False
    assert verify_files("tpm", tpm_files(nonce=EXTRA.hex().encode())).claims["platform"]["bound"] is True
    assert refusal("tpm", tpm_files(nonce=b"00" * 32)) == "binding"
    genuine = tpm_files()
    signature, key, values = genuine.endorsements
    assert refusal("tpm", Presented(genuine.evidence, (signature, key))) == "malformed"
    assert refusal("tpm", Presented(genuine.evidence, (signature, key, values[:-32]))) == "measurement"
    assert refusal("tpm", Presented(genuine.evidence, (key, signature, values))) == "malformed"


def test_tpm_evidence_in_our_form_needs_the_enrolled_key() -> None:
    message = TPM.message()
    document = {
        "kind": "tpm", "version": 1, "key": base64.b64encode(TPM.public).decode(),
        "message": base64.b64encode(message).decode(), "signature": base64.b64encode(TPM.sign(message)).decode(),
        "pcrs": {str(index): value.hex() for index, value in TPM.pcrs.items()},
    }  # fmt: skip
    raw = json.dumps(document).encode()
    assert verify_files("tpm", Presented(raw, (TPM.public,), None, EXTRA)).claims["platform"]["bound"] is True
    assert refusal("tpm", Presented(raw)) == "no-trust"
    other = FakeTpm(ec.generate_private_key(ec.SECP256R1()))
    assert refusal("tpm", Presented(raw, (other.public,))) == "chain"


@pytest.mark.parametrize("kind", ["ear", "jws"])
def test_a_token_and_its_keys(kind: str) -> None:
    presented = Presented(token(), (jwk(),), None, BOUND, NOW_MS)
    assert verify_files(kind, presented).claims["platform"]["bound"] is True
    assert refusal(kind, Presented(token(), (), None, BOUND, NOW_MS)) == "no-trust"
    assert refusal(kind, Presented(token(iat=NOW_S - 9000), (jwk(),), None, BOUND, NOW_MS)) == "expired"
    # Of its own time, for material of the past.
    assert verify_files(kind, Presented(token(iat=NOW_S - 9000), (jwk(),), None, BOUND))
    assert refusal(kind, Presented(b"\xff", (jwk(),))) == "malformed"


def test_a_token_of_nobody_known() -> None:
    assert refusal("jws", Presented(token(eat_profile="tag:other"), (jwk(),))) == "unknown-kind"
    elsewhere = EAR.sign(maa_claims(iss="https://attest.azure.net.evil"), alg="ES256").encode()
    assert refusal("maa", Presented(elsewhere, (jwk(),))) == "chain"
    assert refusal("jws", Presented(elsewhere, (jwk(),))) == "unknown-kind"


def test_makers_of_our_own_are_trusted_nowhere() -> None:
    """Every kind of hardware is verified by its maker's pinned root, whatever comes with the evidence."""
    amd, intel, nvidia = FakeAmd(), FakeIntel(), FakeNvidia()
    chain = b"".join(one.pem for one in (amd.leaf, amd.middle, amd.root))
    assert refusal("snp", Presented(amd.report(), (chain,), present_ms=NOW_MS)) == "chain"
    for kind in ("tdx", "tdx-quote"):
        assert refusal(kind, Presented(intel.quote(), present_ms=NOW_MS)) == "chain"
    assert refusal("nvgpu", Presented(nvidia.report(), tuple(nvidia.chain), present_ms=NOW_MS)) == "chain"
    message = TPM.message()
    quote = {"message": message.hex(), "signature": TPM.sign(message).hex(),
             "pcrs": [TPM.pcrs[index].hex() for index in range(24)]}  # fmt: skip
    for type_, report in ((2, amd.report()), (4, b"")):
        evidence = {"version": 1, "hcl_report": hcl_report(report, runtime_data(TPM), kind=type_).hex(),
                    "tpm_quote": quote, "td_quote": intel.quote().hex()}  # fmt: skip
        for name in ("azure-vtpm", "azure-vtpm-quote"):
            presented = Presented(json.dumps(evidence).encode(), (chain,), present_ms=NOW_MS)
            assert refusal(name, presented) == "chain"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_files_beyond_the_bound(kind: str) -> None:
    assert refusal(kind, Presented(bytes(1 << 21))) == "malformed"
    assert refusal(kind, Presented(b"", (bytes(1 << 21),))) == "malformed"
    assert refusal(kind, Presented(b"", (), bytes(1 << 21))) == "malformed"
    assert refusal("new", Presented(b"")) == "unknown-kind"


def test_inspection_of_each_kind() -> None:
    message = TPM.message()
    evidence = {"version": 1, "hcl_report": hcl_report(b"", runtime_data(TPM)).hex(),
                "tpm_quote": {"message": message.hex(), "signature": "00", "pcrs": []}}  # fmt: skip
    for content, kind, name in (
        (FakeAmd().report().hex().encode(), "snp", "measurement"), (FakeIntel().quote(), "tdx", "mrtd"),
        (message, "tpm", "extra_data"), (FakeNvidia().report(), "nvgpu", "driver"), (token(), "jws", "header.alg"),
        (json.dumps(evidence).encode(), "azure-vtpm", "configuration"),
    ):  # fmt: skip
        found, lines = inspect_file(content, None)
        assert found == kind
        assert name in {line.name for line in lines}


def test_contents() -> None:
    assert binary(b"00 ff\n") == b"\x00\xff"
    assert binary(b"AP8=\n") == b"\x00\xff"
    assert binary(b"\x00\xff") == b"\x00\xff"
    assert milliseconds("2026-06-01T12:00:00Z") == milliseconds("2026-06-01T14:00:00+02:00") == NOW_MS
    assert milliseconds("2026-06-01") == NOW_MS - 12 * 3600 * 1000


def test_entries_of_a_manifest() -> None:
    files = {"az": b'{"version":1}', "json": b"{}", "token": token(), "key": jwk(), "quote": tpm_files().evidence}
    entries: list[dict[str, Any]] = [
        {"id": "a", "kind": "jws", "files": ["token", "key"], "at": None, "expect": "ok"},
        {"id": "b", "kind": "jws", "files": ["token", "key"], "at": "2027-01-01", "expect": "expired"},
        {"id": "c", "kind": "tpm", "files": ["quote"], "expect": "malformed"},
        {"id": "d", "kind": "jws", "files": ["token"], "at": None, "expect": "ok"},
        {"id": "e", "kind": "azure-vtpm", "files": ["az", "json"], "at": None, "expect": "malformed"},
    ]
    checked = list(check_entries(entries, lambda name: files[name], NOW_MS))
    assert [(one.outcome, one.agrees) for one in checked] == [
        ("ok", True), ("expired", True), ("malformed", True), ("no-trust", False), ("malformed", True),
    ]  # fmt: skip
