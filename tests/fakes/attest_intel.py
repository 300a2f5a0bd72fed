"""A fake Intel: root, provisioning and TCB-signing certificates, collateral, and quotes of any value."""

import copy
import hashlib
import json
import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.attest_pki import NOW, Issued, Shape, ec_key, issue, raw_signature, revocations
from vault.attest.tdx.collateral import Collateral

FMSPC, PCE_ID, PPID = b"\xb0\xc0\x6f\0\0\0", b"\0\0", b"P" * 16
QE_SIGNER, QE_ATTRIBUTES = b"Q" * 32, bytes.fromhex("11000000000000000000000000000000")
_ARC = bytes.fromhex("2a864886f84d010d01")


def der(tag: int, content: bytes) -> bytes:
    size = len(content)
    head = bytes((size,)) if size < 128 else b"\x82" + size.to_bytes(2, "big")
    return bytes((tag,)) + head + content


def pair(name: bytes, value: bytes) -> bytes:
    return der(0x30, der(6, _ARC + name) + value)


def number(value: int) -> bytes:
    return der(2, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def when(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def p256() -> ec.EllipticCurvePrivateKey:
    return ec_key(ec.SECP256R1())


def ca(path_length: int | None = None, **changes: Any) -> Shape:
    return Shape(ca=True, path_length=path_length, hash=hashes.SHA256(), **changes)


def leaf(**changes: Any) -> Shape:
    values: dict[str, Any] = {"ca": False, "hash": hashes.SHA256()} | changes
    return Shape(**values)


@dataclass
class FakeIntel:
    """Attributes may be changed before `quote` and `collateral`; certificates are made at once."""

    pck_shape: Shape = field(default_factory=leaf)
    ca_shape: Shape = field(default_factory=lambda: ca(0))
    signer_shape: Shape = field(default_factory=leaf)
    root_shape: Shape = field(default_factory=lambda: ca(1))
    pck_name: str = "Intel SGX PCK Certificate"
    ca_name: str = "Intel SGX PCK Platform CA"
    signer_name: str = "Intel SGX TCB Signing"
    pck_curve: ec.EllipticCurve = field(default_factory=ec.SECP256R1)
    components: tuple[int, ...] = (5,) * 16
    pcesvn: int = 11
    extension: bytes | None = None

    def __post_init__(self) -> None:
        self.root = issue("Intel SGX Root CA", p256(), None, self.root_shape)
        self.ca = issue(self.ca_name, p256(), self.root, self.ca_shape)
        tcb = b"".join(pair(b"\2" + bytes((n,)), number(svn)) for n, svn in enumerate(self.components, 1))
        tcb += pair(b"\2\x11", number(self.pcesvn)) + pair(b"\2\x12", der(4, bytes(self.components)))
        values = (
            pair(b"\1", der(4, PPID)) + pair(b"\2", der(0x30, tcb)) + pair(b"\3", der(4, PCE_ID))
            + pair(b"\4", der(4, FMSPC)) + pair(b"\5", der(10, b"\1"))
        )  # fmt: skip
        content = der(0x30, values) if self.extension is None else self.extension
        listed = (("1.2.840.113741.1.13.1", content),) if content else ()
        shape = Shape(**{**self.pck_shape.__dict__, "extensions": listed + self.pck_shape.extensions})
        self.pck = issue(self.pck_name, ec_key(self.pck_curve), self.ca, shape)
        self.signer = issue(self.signer_name, p256(), self.root, self.signer_shape)
        self.attestation = p256()

    @property
    def roots(self) -> frozenset[str]:
        return frozenset({self.root.pin})

    def tcb_info(self) -> dict[str, Any]:
        none = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        module = [self.level({"isvsvn": 3}), self.level({"isvsvn": 2}, "OutOfDate", ["INTEL-SA-1"])]
        return {
            "id": "TDX", "version": 3, "issueDate": when(NOW - timedelta(1)), "nextUpdate": when(NOW + timedelta(29)),
            "fmspc": FMSPC.hex().upper(), "pceId": PCE_ID.hex(), "tcbType": 0, "tcbEvaluationDataNumber": 17,
            "tdxModule": none, "tdxModuleIdentities": [{"id": "TDX_01", **none, "tcbLevels": module}],
            "tcbLevels": [self.platform(5, 11), self.platform(4, 5, "OutOfDate", ["INTEL-SA-2"])],
        }  # fmt: skip

    def level(
        self, tcb: dict[str, Any], status: str = "UpToDate", advisories: list[str] | None = None
    ) -> dict[str, Any]:
        found: dict[str, Any] = {"tcb": tcb, "tcbDate": "2026-03-13T00:00:00Z", "tcbStatus": status}
        return found | ({"advisoryIDs": advisories} if advisories else {})

    def platform(
        self, svn: int, pcesvn: int, status: str = "UpToDate", advisories: list[str] | None = None
    ) -> dict[str, Any]:
        components = [{"svn": svn}] * 16
        tdx = [{"svn": 3}, {"svn": 1}] + [{"svn": 2}] * 14
        tcb = {"sgxtcbcomponents": components, "pcesvn": pcesvn, "tdxtcbcomponents": tdx}
        return self.level(copy.deepcopy(tcb), status, advisories)

    def qe_identity(self) -> dict[str, Any]:
        return {
            "id": "TD_QE", "version": 2, "issueDate": when(NOW - timedelta(2)), "nextUpdate": when(NOW + timedelta(28)),
            "tcbEvaluationDataNumber": 17, "miscselect": "00000000", "miscselectMask": "FFFFFFFF",
            "attributes": QE_ATTRIBUTES.hex(), "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": QE_SIGNER.hex(), "isvprodid": 2,
            "tcbLevels": [self.level({"isvsvn": 4}), self.level({"isvsvn": 3}, "OutOfDate"),
                          self.level({"isvsvn": 2}, "Revoked")],
        }  # fmt: skip

    def sign(self, text: str, signer: Issued | None = None) -> bytes:
        return raw_signature((signer or self.signer).key, text.encode(), 32, digest=hashes.SHA256())

    def collateral(self, tcb: Any = None, qe: Any = None, **changes: Any) -> Collateral:
        tcb_text = tcb if isinstance(tcb, str) else json.dumps(self.tcb_info() | (tcb or {}), separators=(",", ":"))
        qe_text = qe if isinstance(qe, str) else json.dumps(self.qe_identity() | (qe or {}), separators=(",", ":"))
        chain = self.signer.pem + self.root.pem
        values: dict[str, Any] = {
            "tcb_info": tcb_text, "tcb_info_signature": self.sign(tcb_text), "tcb_info_issuer_chain": chain,
            "qe_identity": qe_text, "qe_identity_signature": self.sign(qe_text), "qe_identity_issuer_chain": chain,
            "root_ca_crl": revocations(self.root), "pck_crl": revocations(self.ca),
        }  # fmt: skip
        return Collateral(**(values | changes))

    def qe_report(self, **changes: Any) -> bytes:
        values: dict[str, Any] = {
            "miscselect": 0,
            "attributes": QE_ATTRIBUTES,
            "mrsigner": QE_SIGNER,
            "product": 2,
            "svn": 4,
        } | changes
        raw = bytearray(384)
        struct.pack_into("<I", raw, 16, values["miscselect"])
        raw[48:64], raw[128:160] = values["attributes"], values["mrsigner"]
        struct.pack_into("<HH", raw, 256, values["product"], values["svn"])
        raw[320:384] = values.get("report_data") or self.commitment()
        return bytes(raw)

    @property
    def attestation_key(self) -> bytes:
        return self.attestation.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]

    def commitment(self) -> bytes:
        return hashlib.sha256(self.attestation_key + b"auth" * 8).digest() + bytes(32)

    def body(self, version: int = 4, **changes: Any) -> bytes:
        values: dict[str, Any] = {
            "tcb": bytes((3, 1)) + b"\2" * 14, "mrseam": b"\x0a" * 48, "mrsignerseam": bytes(48), "seam": bytes(8),
            "attributes": 1 << 28, "xfam": 0x602E7, "mrtd": b"\x11" * 48, "mrconfigid": b"\x12" * 48,
            "rtmrs": b"".join(bytes((n,)) * 48 for n in (1, 2, 3, 4)), "report_data": b"\x5a" * 64,
        } | changes  # fmt: skip
        raw = values["tcb"] + values["mrseam"] + values["mrsignerseam"] + values["seam"]
        raw += struct.pack("<QQ", values["attributes"], values["xfam"]) + values["mrtd"] + values["mrconfigid"]
        raw += bytes(96) + values["rtmrs"] + values["report_data"]
        later = values.get("tcb2", values["tcb"]) + values.get("service", bytes(48))
        return bytes(raw + later if version == 5 and not changes.get("short") else raw)

    def quote(self, version: int = 4, **changes: Any) -> bytes:
        """Fields: those of `body`, and key_type, tee, vendor, body_type, body_size, qe, chain, signer, qe_signer,
        type6, type5, key, tail."""
        take = changes.pop
        head = struct.pack("<HHI", take("number", version), take("key_type", 2), take("tee", 0x81)) + bytes(4)
        head += take("vendor", bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")) + bytes(20)
        body_type, body_size = take("body_type", None), take("body_size", None)
        qe, chain = take("qe", None), take("chain", None)
        signer, qe_signer = take("signer", self.attestation), take("qe_signer", self.pck.key)
        type6, type5, key, tail = (
            take("type6", 6),
            take("type5", 5),
            take("key", self.attestation_key),
            take("tail", b""),
        )
        body = self.body(version, **changes)
        if version == 5:
            kind = body_type or (3 if len(body) == 648 else 2)
            head += struct.pack("<HI", kind, len(body) if body_size is None else body_size)
        signed = head + body
        qe = self.qe_report() if qe is None else qe
        certificates = (self.pck.pem + self.ca.pem + self.root.pem + b"\0") if chain is None else chain
        inner = qe + self.sign_raw(qe_signer, qe) + struct.pack("<H", 32) + b"auth" * 8
        inner += struct.pack("<HI", type5, len(certificates)) + certificates
        data = self.sign_raw(signer, signed) + key + struct.pack("<HI", type6, len(inner)) + inner
        return bytes(signed + struct.pack("<I", len(data)) + data + tail)

    @staticmethod
    def sign_raw(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
        if not isinstance(key.curve, ec.SECP256R1):
            return bytes(64)
        return raw_signature(key, message, 32, digest=hashes.SHA256())
