"""Whatever bytes come as evidence, the answer is a named refusal, in bounded time; changes prove nothing new."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.attest_intel import FakeIntel
from tests.fakes.attest_nitro import FakeNitro
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_snp import FakeAmd
from vault.attest.claims import Claims, Refusal
from vault.attest.nitro.verify import NitroPolicy, verify_nitro
from vault.attest.snp.evidence import certificate_table
from vault.attest.snp.policy import SnpPolicy
from vault.attest.snp.verify import verify_snp
from vault.attest.tdx.eventlog import replay
from vault.attest.tdx.verify import TdxPolicy, verify_tdx
from vault.errors import Refused

AMD, NITRO, INTEL = FakeAmd(), FakeNitro(), FakeIntel()
COLLATERAL = INTEL.collateral()
BOUND = b"\x5a" * 64
DEADLINE = timedelta(seconds=2)


def snp(raw: bytes) -> Claims:
    return verify_snp(raw, AMD.certificates, AMD.trust, SnpPolicy(), BOUND, NOW_MS)


def nitro(raw: bytes) -> Claims:
    return verify_nitro(raw, NITRO.roots, NitroPolicy(), BOUND, NOW_MS)


def tdx(raw: bytes) -> Claims:
    return verify_tdx(raw, COLLATERAL, INTEL.roots, TdxPolicy(), BOUND, NOW_MS)


GENUINE = {"snp": (snp, AMD.report()), "nitro": (nitro, NITRO.document()), "tdx": (tdx, INTEL.quote())}


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
    "snp": snp, "nitro": nitro, "tdx": tdx, "table": certificate_table, "log": replay,
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
