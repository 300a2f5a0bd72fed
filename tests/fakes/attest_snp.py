"""A fake AMD: roots, chips and providers, and reports with any field changed before or after signing."""

import struct
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.attest_pki import Issued, Shape, ec_key, issue, raw_signature, rsa_key
from vault.attest.snp.policy import SnpTrust
from vault.attest.snp.product import Product

AMD = "1.3.6.1.4.1.3704.1."
CSP = "CN=cc.example"
CHIP = bytes(range(1, 65))
CPUID = {Product.MILAN: (0x19, 0x01, 1), Product.GENOA: (0x19, 0x11, 1), Product.TURIN: (0x1A, 0x02, 1)}


def integer(value: int) -> bytes:
    body = value.to_bytes(value.bit_length() // 8 + 1, "big")
    return bytes((2, len(body))) + body


def ia5(text: str) -> bytes:
    return bytes((0x16, len(text))) + text.encode()


def spl_bytes(product: Product, fmc: int, bl: int, tee: int, snp: int, ucode: int) -> bytes:
    if product is Product.TURIN:
        return bytes((fmc, bl, tee, snp, 0, 0, 0, ucode))
    return bytes((bl, tee, 0, 0, 0, 0, snp, ucode))


@dataclass
class FakeAmd:
    """One product line. `vlek` signs as a provider's key; attributes are changed before `chip` is called."""

    product: Product = Product.MILAN
    vlek: bool = False
    tcb: tuple[int, int, int, int, int] = (0, 4, 1, 24, 217)  # fmc, bl, tee, snp, ucode
    hardware_id: bytes = CHIP
    octets: bool = False
    extensions: dict[str, bytes | None] = field(default_factory=dict)  # None removes
    leaf_shape: Shape = field(default_factory=Shape)
    middle_shape: Shape = field(default_factory=lambda: Shape(ca=True, path_length=0))
    root_shape: Shape = field(default_factory=lambda: Shape(ca=True))
    curve: ec.EllipticCurve = field(default_factory=ec.SECP384R1)
    leaf_name: str = ""
    middle_name: str = ""

    def __post_init__(self) -> None:
        if self.product is Product.TURIN and self.hardware_id == CHIP:
            self.hardware_id = CHIP[:8]
        self.root = issue(f"ARK-{self.product}", rsa_key(0), None, self.root_shape)
        middle = self.middle_name or (f"SEV-VLEK-{self.product}" if self.vlek else f"SEV-{self.product}")
        self.middle = issue(middle, rsa_key(1), self.root, self.middle_shape)
        self.leaf = self.issue_leaf()

    def issue_leaf(self, issuer: Issued | None = None) -> Issued:
        values: dict[str, bytes | None] = {
            "1": integer(0), "2": ia5(self.product if self.vlek else f"{self.product}-B0"),
            "3.1": integer(self.tcb[1]), "3.2": integer(self.tcb[2]), "3.3": integer(self.tcb[3]),
            "3.8": integer(self.tcb[4]),
        }  # fmt: skip
        if self.product is Product.TURIN:
            values["3.9"] = integer(self.tcb[0])
        if self.vlek:
            values["5"] = ia5(CSP)
        else:
            values["4"] = bytes((4, len(self.hardware_id))) * self.octets + self.hardware_id
        values |= self.extensions
        listed = tuple((AMD + oid, value) for oid, value in values.items() if value is not None)
        leaf_name = self.leaf_name or ("SEV-VLEK" if self.vlek else "SEV-VCEK")
        shape = replace(self.leaf_shape, extensions=listed + self.leaf_shape.extensions)
        return issue(leaf_name, ec_key(self.curve), issuer or self.middle, shape)

    @property
    def certificates(self) -> list[bytes]:
        return [self.leaf.der, self.middle.der, self.root.der]

    @property
    def trust(self) -> SnpTrust:
        return SnpTrust({self.product: frozenset({self.root.pin})})

    def report(self, **fields: Any) -> bytes:
        """A signed report; fields: those of `layout`, and `patch={offset: bytes}` before signing."""
        signer = fields.pop("signer", self.leaf.key)
        signed = self.layout(**fields)
        signature = raw_signature(signer, signed, 72, "little") if isinstance(
            signer.curve, ec.SECP384R1) else bytes(144)  # fmt: skip
        return signed + signature + bytes(512 - 144)

    def layout(
        self, *, version: int = 3, policy: int = 0x30000, vmpl: int = 0, algorithm: int = 1,
        key_info: int | None = None, platform_info: int = 0x21, report_data: bytes = b"\x5a" * 64,
        measurement: bytes = b"\x11" * 48, host_data: bytes = b"\x22" * 32, id_key: bytes = b"\x33" * 48,
        reported: bytes | None = None, committed: bytes | None = None, launch: bytes | None = None,
        cpuid: tuple[int, int, int] | None = None, chip_id: bytes | None = None,
        mitigations: tuple[int, int] = (0x11, 0x11), patch: dict[int, bytes] | None = None,
    ) -> bytes:  # fmt: skip
        mine = spl_bytes(self.product, *self.tcb)
        raw = bytearray(0x2A0)
        struct.pack_into("<IIQ", raw, 0, version, 7, policy)
        struct.pack_into("<II", raw, 0x30, vmpl, algorithm)
        raw[0x38:0x40] = mine
        struct.pack_into("<QI", raw, 0x40, platform_info, (4 if self.vlek else 0) if key_info is None else key_info)
        raw[0x50:0x90], raw[0x90:0xC0], raw[0xC0:0xE0], raw[0xE0:0x110] = report_data, measurement, host_data, id_key
        raw[0x180:0x188] = reported or mine
        if version >= 3:
            raw[0x188:0x18B] = bytes(cpuid or CPUID[self.product])
        raw[0x1A0:0x1E0] = (
            (bytes(64) if self.vlek else self.hardware_id.ljust(64, b"\0")) if chip_id is None else chip_id
        )
        raw[0x1E0:0x1E8] = committed or mine
        raw[0x1E8:0x1F0] = bytes.fromhex("1d3701001d370100")
        raw[0x1F0:0x1F8] = launch or mine
        if version >= 5:
            struct.pack_into("<QQ", raw, 0x1F8, *mitigations)
        for offset, value in (patch or {}).items():
            raw[offset : offset + len(value)] = value
        return bytes(raw)
