"""The report of a device: an SPDM 1.1 GET_MEASUREMENTS request and its response (DMTF DSP0274 §10.11), 37 and n bytes.

    request   11 e0 01 ff ‖ nonce 32 ‖ slot
    response  11 60 ‖ 2 ‖ blocks u8 ‖ length u24 ‖ blocks ‖ nonce 32 ‖ length u16 ‖ opaque fields ‖ r ‖ s (P-384)
    block     index u8 ‖ 01 ‖ size u16 ‖ type u8 ‖ size u16 ‖ value           opaque field: id u16 ‖ size u16 ‖ value

Signed is everything before r and s, the request included. Numbers are little-endian, r and s big-endian.
"""

from dataclasses import dataclass

from vault.attest.claims import Refusal, refuse
from vault.attest.fields import Fields, must_be_zero

MAX_REPORT = 16 * 1024
_TAIL = 16  # zero bytes that buffers of fixed size leave behind the signature
_SIGNATURE = 96
_DRIVER, _VBIOS, _FWID, _NVDEC0, _PCIE = 3, 6, 20, 11, 21
_PROJECT, _PROJECT_SKU, _CHIP_SKU = 17, 18, 15


@dataclass(frozen=True, slots=True)
class DeviceReport:
    """What a device says, before anything is believed. `measurements` by block index, from 1."""

    signed: bytes
    signature: bytes
    nonce: bytes
    measurements: dict[int, bytes]
    opaque: dict[int, bytes]

    @property
    def fwid(self) -> bytes | None:
        """The firmware that the device says its certificate is for; old firmware does not say."""
        return self.opaque.get(_FWID)

    @property
    def is_switch(self) -> bool:
        """Switches have firmware only, no driver."""
        return _DRIVER not in self.opaque

    @property
    def driver(self) -> str:
        """The version of the driver; switches have none."""
        return self.opaque.get(_DRIVER, b"").rstrip(b"\0").decode("ascii", "replace")

    @property
    def vbios(self) -> str:
        """96.00.9F.00.01: text on switches, four bytes backwards and one more on GPUs."""
        raw = self.opaque.get(_VBIOS, b"")
        if len(raw) != 8:
            return raw.rstrip(b"\0").decode("ascii", "replace")
        return ".".join(f"{byte:02X}" for byte in (*reversed(raw[:4]), raw[4]))

    @property
    def board(self) -> tuple[str, ...]:
        """Project, its SKU and the chip's, by which firmware is published; empty for switches."""
        if self.is_switch:
            return ()
        fields = (self.opaque.get(name, b"") for name in (_PROJECT, _PROJECT_SKU, _CHIP_SKU))
        return tuple(raw.rstrip(b"\0").decode("ascii", "replace") for raw in fields)

    @property
    def decoder_off(self) -> bool:
        """Whether NVDEC0 is off; its measurement (block 36) then means nothing."""
        return self.opaque.get(_NVDEC0) == b"\x55"

    @property
    def protected_pcie(self) -> bool:
        """Whether it is in the mode for several devices behind switches."""
        return self.opaque.get(_PCIE) == b"\xaa"


def parse_device_report(raw: bytes) -> DeviceReport:
    """`Refused`: `malformed`, `unknown-version`."""
    if len(raw) > MAX_REPORT:
        raise refuse(Refusal.MALFORMED, "report length")
    f = Fields(raw, "device report")
    if f.take(1) != b"\x11":
        raise refuse(Refusal.UNKNOWN_VERSION, "SPDM version of the request")
    if f.take(3) != b"\xe0\x01\xff":
        raise refuse(Refusal.MALFORMED, "request is not for all measurements, signed")
    nonce = f.take(32)
    f.take(1)  # slot of the certificate
    if f.take(1) != b"\x11":
        raise refuse(Refusal.UNKNOWN_VERSION, "SPDM version of the response")
    if f.take(1) != b"\x60":
        raise refuse(Refusal.MALFORMED, "response is no measurements")
    f.take(2)
    count = f.number(1)
    measurements = _blocks(Fields(f.take(f.number(3)), "measurements"), count)
    f.take(32)  # the device's own nonce
    opaque = _opaque(Fields(f.take(f.number(2)), "opaque fields"))
    signed = raw[: f.at]
    signature, tail = f.take(_SIGNATURE), f.rest()
    if len(tail) > _TAIL:
        raise refuse(Refusal.MALFORMED, "device report goes on after its end")
    must_be_zero(tail, "what follows the signature")
    return DeviceReport(signed, signature, nonce, measurements, opaque)


def _blocks(f: Fields, count: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    for _ in range(count):
        index, specification, size = f.number(1), f.number(1), f.number(2)
        block = Fields(f.take(size), "measurement")
        block.take(1)  # of what: firmware, hardware, configuration
        value = block.take(block.number(2))
        block.end()
        if specification != 1 or index in found or not index:
            raise refuse(Refusal.MALFORMED, "measurement")
        if len(value) != 48:
            raise refuse(Refusal.ALGORITHM, "digest of a measurement")
        found[index] = value
    f.end()
    return found


def _opaque(f: Fields) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while rest := f.remaining:
        if rest < 4:
            raise refuse(Refusal.MALFORMED, "opaque fields")
        name, size = f.number(2), f.number(2)
        if name in found:
            raise refuse(Refusal.MALFORMED, "an opaque field twice")
        found[name] = f.take(size)
    return found
