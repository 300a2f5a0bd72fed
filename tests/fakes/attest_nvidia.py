"""A fake NVIDIA: device certificates and measurement reports of any value."""

import struct
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from tests.fakes.attest_pki import NOW, Issued, Shape, ec_key, issue, raw_signature

NONCE = b"\x5a" * 32
FIRMWARE = b"\x77" * 48
MEASUREMENTS = {index: bytes((index,)) * 48 for index in range(1, 65)}
OPAQUE = [(6, bytes.fromhex("009f009601000000")), (3, b"550.90.07\0"), (11, b"\x55"), (20, FIRMWARE), (21, b"\x55")]


def ocsp_answer(
    subject: Issued, issuer: Issued, *, status: Any = ocsp.OCSPCertStatus.GOOD, start: datetime = NOW - timedelta(1),
    end: datetime | None = NOW + timedelta(1), signer: Issued | None = None, shown: bool = False,
) -> bytes:  # fmt: skip
    """What `issuer` (or `signer`) says of `subject`, DER."""
    revoked = status is ocsp.OCSPCertStatus.REVOKED
    by = signer or issuer
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            subject.certificate, issuer.certificate, hashes.SHA1(), status, start, end,
            NOW - timedelta(9) if revoked else None, None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, by.certificate)
    )  # fmt: skip
    if shown:
        builder = builder.certificates([by.certificate])
    return builder.sign(by.key, hashes.SHA384()).public_bytes(Encoding.DER)


@dataclass
class FakeNvidia:
    """Root, model, provisioner, device, leaf."""

    firmware: bytes = FIRMWARE
    blackwell: bool = False
    extension: bytes | None = None
    curve: ec.EllipticCurve = field(default_factory=ec.SECP384R1)
    leaf_shape: Shape = field(default_factory=Shape)
    device_shape: Shape = field(default_factory=lambda: Shape(ca=True))

    def __post_init__(self) -> None:
        authority = Shape(ca=True)
        self.root = issue("NVIDIA Device Identity CA", ec_key(), None, authority)
        self.model = issue("NVIDIA GH100 Identity", ec_key(), self.root, authority)
        self.provisioner = issue("Provisioner ICA 1", ec_key(), self.model, authority)
        self.device = issue("GH100 A01 GSP BROM", ec_key(), self.provisioner, self.device_shape)
        hopper, blackwell = bytes(100) + self.firmware, bytes(56) + self.firmware + bytes(20)
        value = (blackwell if self.blackwell else hopper) if self.extension is None else self.extension
        oid = "2.23.133.5.4.1.1" if self.blackwell else "2.23.133.5.4.1"
        extensions = ((oid, value),) if value else ()
        shape = Shape(**{**self.leaf_shape.__dict__, "extensions": extensions})
        self.leaf = issue("GH100 A01 GSP FMC LF", ec_key(self.curve), self.device, shape)

    @property
    def chain(self) -> list[bytes]:
        return [one.der for one in (self.leaf, self.device, self.provisioner, self.model, self.root)]

    @property
    def roots(self) -> frozenset[str]:
        return frozenset({self.root.pin})

    def report(
        self, *, nonce: bytes = NONCE, request: bytes = b"\x11\xe0\x01\xff", response: bytes = b"\x11\x60\0\0",
        measurements: Any = None, count: int | None = None, opaque: Any = None, opaque_tail: bytes = b"",
        specification: int = 1, value_size: int = 48, tail: bytes = b"", signer: Any = None,
    ) -> bytes:  # fmt: skip
        listed = list((MEASUREMENTS if measurements is None else dict(measurements)).items())
        blocks = b"".join(
            struct.pack("<BBHBH", index, specification, 3 + len(value), 1, value_size) + value
            for index, value in listed
        )
        free = b"".join(struct.pack("<HH", name, len(value)) + value for name, value in OPAQUE if opaque is None)
        free += b"".join(struct.pack("<HH", name, len(value)) + value for name, value in opaque or ()) + opaque_tail
        signed = request + nonce + b"\0" + response + bytes((len(listed) if count is None else count,))
        signed += len(blocks).to_bytes(3, "little") + blocks + bytes(32) + struct.pack("<H", len(free)) + free
        key: Any = signer or self.leaf.key
        return signed + (raw_signature(key, signed, 48) if key.curve.name == "secp384r1" else bytes(96)) + tail
