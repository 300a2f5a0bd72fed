"""Event logs: replayed to the registers of a quote, or refused by name."""

import hashlib
import struct

import pytest

from tests.fakes.attest_intel import FakeIntel
from tests.fakes.attest_pki import NOW_MS
from vault.attest.tdx.eventlog import replay
from vault.attest.tdx.verify import TdxPolicy, verify_tdx
from vault.errors import Refused

FIRST = struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", 4) + b"Spec"


def event(index: int, digest: bytes, kind: int = 1, data: bytes = b"data") -> bytes:
    head = struct.pack("<IIIH", index, kind, 1, 0x0C)
    return head + digest + struct.pack("<I", len(data)) + data


def extend(*digests: bytes) -> bytes:
    value = bytes(48)
    for digest in digests:
        value = hashlib.sha384(value + digest).digest()
    return value


A, B, C = (letter * 48 for letter in (b"a", b"b", b"c"))
LOG = FIRST + event(1, A) + event(2, B) + event(1, C) + event(4, A) + event(0, A) + event(3, B, kind=3)
REGISTERS = (extend(A, C), extend(B), bytes(48), extend(A))


@pytest.mark.parametrize("tail", [b"", bytes(3), bytes(1000), b"\xff" * 64])
def test_a_log_is_replayed(tail: bytes) -> None:
    assert replay(LOG + tail) == REGISTERS


def test_a_log_belongs_to_one_quote() -> None:
    intel = FakeIntel()
    raw = intel.quote(rtmrs=b"".join(REGISTERS))

    def verify(log: bytes) -> bool:
        policy = TdxPolicy(needs_event_log=True)
        claims = verify_tdx(raw, intel.collateral(), intel.roots, policy, b"\x5a" * 64, NOW_MS, log)
        return bool(claims.platform["event_log"])

    assert verify(LOG)
    for other in (FIRST, LOG + event(3, A), LOG.replace(A, C), FIRST + event(2, B) + event(1, A)):
        with pytest.raises(Refused, match=r"attest\.event-log"):
            verify(other)


@pytest.mark.parametrize(
    "log",
    [
        b"",
        bytes((1 << 20) + 1),
        FIRST + event(5, A),
        FIRST + struct.pack("<III", 1, 1, 0) + struct.pack("<I", 0) + bytes(16),
        FIRST + struct.pack("<IIIH", 1, 1, 1, 0x99) + A,
        FIRST + struct.pack("<IIIH", 1, 1, 2, 0x0C) + A + struct.pack("<H", 0x0C) + A + struct.pack("<I", 0),
        FIRST + struct.pack("<IIIH", 1, 1, 1, 0x0B) + bytes(32) + struct.pack("<I", 0),
        FIRST + struct.pack("<III", 1, 1, 0xFFFFFFFF) + bytes(1000),
    ],
)
def test_a_log_that_cannot_be_read_is_refused(log: bytes) -> None:
    with pytest.raises(Refused, match=r"attest\.event-log"):
        replay(log)


def test_a_log_is_bounded() -> None:
    with pytest.raises(Refused, match=r"attest\.event-log"):
        replay(FIRST + event(1, A, data=b"") * 8192)


def test_a_log_cut_anywhere_is_refused_or_another() -> None:
    for length in range(len(LOG)):
        try:
            found = replay(LOG[:length])
        except Refused as refused:
            assert refused.reason == "attest.event-log"  # noqa: PT017
        else:
            assert found != REGISTERS or length >= len(LOG) - 66 - 66 * 2
