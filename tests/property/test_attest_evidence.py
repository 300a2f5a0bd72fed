"""Whatever bytes come as evidence, the answer is a named refusal, in bounded time; changes prove nothing new."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.attest_intel import FakeIntel
from tests.fakes.attest_nitro import FakeNitro
from tests.fakes.attest_nvidia import FakeNvidia
from tests.fakes.attest_pki import NOW_MS, ec_key
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_tokens import BOUND as TOKEN_BOUND
from tests.fakes.attest_tokens import MAA, FakeIssuer, detached, device_claims, maa_claims
from tests.fakes.attest_tpm import EXTRA, FakeTpm, hcl_report, runtime_data
from vault.attest.azure.evidence import AzureEvidence, parse_trustee
from vault.attest.azure.verify import AzurePolicy, AzureTrust, verify_azure
from vault.attest.claims import Claims, Refusal
from vault.attest.documents import json_object
from vault.attest.nitro.verify import NitroPolicy, verify_nitro
from vault.attest.nvidia.evidence import parse_list
from vault.attest.nvidia.verify import NvidiaPolicy, verify_nvidia
from vault.attest.ocsp import load_answer
from vault.attest.offline.contents import Presented
from vault.attest.offline.inspection import inspect_file
from vault.attest.offline.kinds import KINDS, verify_files
from vault.attest.snp.evidence import certificate_table
from vault.attest.snp.policy import SnpPolicy
from vault.attest.snp.verify import verify_snp
from vault.attest.tdx.eventlog import replay
from vault.attest.tdx.verify import TdxPolicy, verify_tdx
from vault.attest.tokens.maa import MaaPolicy, verify_maa
from vault.attest.tokens.nras import NrasPolicy, verify_nras
from vault.attest.tpm.verify import TpmEvidence, TpmPolicy, verify_tpm
from vault.errors import Refused

AMD, NITRO, INTEL, NVIDIA, TPM = FakeAmd(), FakeNitro(), FakeIntel(), FakeNvidia(), FakeTpm()
ISSUER, NRAS = FakeIssuer(), FakeIssuer(ec_key())
COLLATERAL = INTEL.collateral()
BOUND = b"\x5a" * 64
DEADLINE = timedelta(seconds=2)


def snp(raw: bytes) -> Claims:
    return verify_snp(raw, AMD.certificates, AMD.trust, SnpPolicy(), BOUND, NOW_MS)


def nitro(raw: bytes) -> Claims:
    return verify_nitro(raw, NITRO.roots, NitroPolicy(), BOUND, NOW_MS)


def tdx(raw: bytes) -> Claims:
    return verify_tdx(raw, COLLATERAL, INTEL.roots, TdxPolicy(), BOUND, NOW_MS)


def device(raw: bytes) -> Claims:
    return verify_nvidia(raw, NVIDIA.chain, NVIDIA.roots, NvidiaPolicy(), BOUND, NOW_MS)


def token(raw: bytes) -> Claims:
    return verify_maa(raw.decode("latin-1"), {MAA: ISSUER.keys}, MaaPolicy(), TOKEN_BOUND, NOW_MS)


def detached_eat(raw: bytes) -> Claims:
    return verify_nras(raw, NRAS.keys, NrasPolicy(), TOKEN_BOUND, NOW_MS)


def tpm(raw: bytes) -> Claims:
    """A quote's message and its signature behind it."""
    evidence = TpmEvidence(TPM.public, raw[:-256], raw[-256:], TPM.pcrs)
    return verify_tpm(evidence, {TPM.name}, TpmPolicy(), EXTRA)


def azure(raw: bytes) -> Claims:
    message = TPM.message()
    evidence = AzureEvidence(raw, message, TPM.sign(message), TPM.pcrs, tuple(AMD.certificates))
    return verify_azure(evidence, AzureTrust(AMD.trust), AzurePolicy(), EXTRA, NOW_MS)


def paravisor() -> bytes:
    data = runtime_data(TPM)
    return hcl_report(AMD.report(report_data=hashlib.sha256(data).digest() + bytes(32)), data)


GENUINE = {
    "snp": (snp, AMD.report()), "nitro": (nitro, NITRO.document()), "tdx": (tdx, INTEL.quote()),
    "nvgpu": (device, NVIDIA.report()), "maa": (token, ISSUER.sign(maa_claims()).encode()),
    "nras": (detached_eat, detached(NRAS, {"GPU-0": NRAS.sign(device_claims(), alg="ES384")}).encode()),
    "tpm": (tpm, TPM.message() + TPM.sign(TPM.message())), "azure": (azure, paravisor()),
}  # fmt: skip


@pytest.mark.parametrize("kind", sorted(GENUINE))
@settings(max_examples=150, deadline=DEADLINE)
@given(data=st.data())
def test_changed_evidence_says_nothing_else(kind: str, data: st.DataObject) -> None:
    """Bytes written over, cut out or put in: refused, or the very claims of the genuine evidence.

    The second happens: a line's end in PEM, unsigned header bytes of a quote. It never proves anything new.
    """
    verify, genuine = GENUINE[kind]
    at = data.draw(st.integers(0, len(genuine) - 1))
    gone = data.draw(st.integers(0, 16))
    put = data.draw(st.binary(max_size=16))
    changed = genuine[:at] + put + genuine[at + gone :]
    try:
        claims = verify(changed)
    except Refused as refused:
        assert refused.reason in set(Refusal)  # noqa: PT017
    else:
        assert claims == verify(genuine)


READERS: dict[str, Callable[[bytes], object]] = {
    "snp": snp, "nitro": nitro, "tdx": tdx, "table": certificate_table, "log": replay, "nvgpu": device, "maa": token,
    "nras": detached_eat, "tpm": tpm, "azure": azure, "list": parse_list, "ocsp": load_answer,
    "inspect": lambda raw: inspect_file(raw, None), "clients": lambda raw: parse_trustee(json_object(raw, "evidence")),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(READERS))
@settings(max_examples=100, deadline=DEADLINE)
@given(raw=st.binary(max_size=2048))
def test_any_bytes_end_in_a_named_refusal_or_a_value(name: str, raw: bytes) -> None:
    try:
        READERS[name](raw)
    except Refused as refused:
        assert refused.reason in set(Refusal)  # noqa: PT017
    else:
        assert name in {"table", "log"}


@pytest.mark.parametrize("kind", sorted(KINDS))
@settings(max_examples=40, deadline=DEADLINE)
@given(raw=st.binary(max_size=256), other=st.binary(max_size=64))
def test_files_of_any_bytes_end_in_a_named_refusal(kind: str, raw: bytes, other: bytes) -> None:
    """In each form that a file may have: as it is, hex, a JSON document that says it is evidence."""
    document = json.dumps({"kind": kind, "version": 1, "report": raw.hex(), "quote": other.hex()}).encode()
    for content in (raw, raw.hex().encode(), document, b"[" + document + b"]"):
        with pytest.raises(Refused) as caught:
            verify_files(kind, Presented(content, (other,), other, other or None, NOW_MS))
        assert caught.value.reason in set(Refusal)
