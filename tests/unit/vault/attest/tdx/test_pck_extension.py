"""The SGX extension of a provisioning certificate: DER in one shape, nothing foreign, nothing twice."""

import pytest

from tests.fakes.attest_intel import FMSPC, PCE_ID, PPID, FakeIntel, der, number, pair
from tests.fakes.attest_pki import NOW
from vault.attest.tdx.pck import Pck, verified_pck
from vault.errors import Refused


def components(svns: dict[int, bytes] | None = None) -> bytes:
    values = {n: number(200) for n in range(1, 18)} | (svns or {})
    return b"".join(pair(b"\2" + bytes((n,)), value) for n, value in values.items())


def extension(tcb: bytes | None = None, **parts: bytes) -> bytes:
    values = {
        "1": pair(b"\1", der(4, PPID)), "2": pair(b"\2", der(0x30, components() if tcb is None else tcb)),
        "3": pair(b"\3", der(4, PCE_ID)), "4": pair(b"\4", der(4, FMSPC)),
    } | {name.removeprefix("_"): value for name, value in parts.items()}  # fmt: skip
    return der(0x30, b"".join(values.values()))


def parsed(content: bytes) -> Pck:
    intel = FakeIntel(extension=content)
    return verified_pck(intel.pck.pem + intel.ca.pem + intel.root.pem, intel.roots, NOW)


def test_values_are_read() -> None:
    pck = parsed(extension(components({1: number(255), 17: number(65535)})))
    assert (pck.ppid, pck.pce_id, pck.fmspc) == (PPID, PCE_ID, FMSPC)
    assert (pck.components[0], pck.components[15], pck.pcesvn) == (255, 200, 65535)


def test_a_length_may_have_one_long_octet() -> None:
    assert parsed(extension(_5=der(0x30, der(6, bytes.fromhex("2a864886f84d010d0105")) + b"\4\x81\x80" + bytes(128))))


@pytest.mark.parametrize(
    "content",
    [
        extension() + b"\0",
        b"\x31" + extension()[1:],
        extension(_1=b""),
        extension(_1=pair(b"\1", der(4, PPID[1:]))),
        extension(_1=pair(b"\1", der(12, PPID))),
        extension(_3=pair(b"\3", der(4, b"\0"))),
        extension(_4=pair(b"\4", der(4, FMSPC + b"\0"))),
        extension(_5=pair(b"\4", der(4, b"\1" * 6))),
        extension(_5=der(0x30, der(6, bytes.fromhex("2a864886f84d010d02")) + der(4, b""))),
        extension(_5=der(0x31, der(6, bytes.fromhex("2a864886f84d010d0105")) + der(4, b""))),
        extension(_5=der(0x30, der(4, bytes.fromhex("2a864886f84d010d0105")) + der(4, b""))),
        extension(_5=der(0x30, der(6, bytes.fromhex("2a864886f84d010d0105")) + der(4, b"") + b"\5\0")),
        extension(_5=b"\x30\x80\0\0"),
        extension(_5=b"\x30\x83\0\0\1\0"),
        extension(b""),
        extension(components({3: der(2, b"")})),
        extension(components({3: der(2, b"\xff")})),
        extension(components({3: der(2, b"\0\1\0\0")})),
        extension(components({3: der(4, b"\1")})),
        extension(components() + pair(b"\2\3", number(1))),
        extension(_2=pair(b"\2", der(4, components()))),
    ],
)
def test_another_shape_is_malformed(content: bytes) -> None:
    with pytest.raises(Refused, match=r"attest\.malformed"):
        parsed(content)
