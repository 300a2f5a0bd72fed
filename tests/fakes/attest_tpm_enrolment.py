"""A fake maker of TPMs: endorsement certificates of any shape, and public areas of any attributes."""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from demesne.evidence.tpm_public import attestation_template, endorsement_template
from tests.fakes.attest_pki import PrivateKey, Shape, ec_key, issue, rsa_key
from vault.attest.tpm.enrolment import EndorsementTrust, EnrolmentRequest

EK_USE = bytes.fromhex("300706056781050801")  # SEQUENCE { OID 2.23.133.8.1 }
OTHER_USE = bytes.fromhex("300a06082b06010505070301")  # server authentication
TPM_NAME = bytes.fromhex("3019a417301531133011060567810502010c0869643a3031323334")  # tcg-at-tpmManufacturer
RSA, ECC = 1, 0x23


@dataclass
class FakeMaker:
    """Root, issuer, and endorsement certificates for given keys."""

    issuer_shape: Shape = field(default_factory=lambda: Shape(ca=True, path_length=0))
    root_shape: Shape = field(default_factory=lambda: Shape(ca=True))

    def __post_init__(self) -> None:
        self.root = issue("TPM maker's root", ec_key(), None, self.root_shape)
        self.issuer = issue("TPM maker's EK issuer", ec_key(), self.root, self.issuer_shape)

    @property
    def trust(self) -> EndorsementTrust:
        return EndorsementTrust({self.root.pin}, (self.issuer.der, self.root.der))

    def certificate(self, key: Any, shape: Shape | None = None, use: bytes | None = EK_USE) -> bytes:
        """For a public key; `use` None leaves the extended key usage out. The name in it is critical, as makers do."""
        shape = shape or Shape(ca=False)
        added = tuple((oid, value) for oid, value in (
            (ExtensionOID.EXTENDED_KEY_USAGE.dotted_string, use),
            (ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string, TPM_NAME),
        ) if value is not None)  # fmt: skip
        shape = replace(
            shape, extensions=shape.extensions + added,
            critical=(*shape.critical, ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string),
        )  # fmt: skip
        return issue("TPM", _Holder(key), self.issuer, shape).der  # type: ignore[arg-type]


class _Holder:
    """Stands for a private key that only a TPM has: a certificate needs the public half."""

    def __init__(self, public: Any) -> None:
        self._public = public

    def public_key(self) -> Any:
        return self._public


def with_key(template: bytes, public: Any) -> bytes:
    """The public area that a key of this template has."""
    at = 10 + int.from_bytes(template[8:10], "big")
    if isinstance(public, rsa.RSAPublicKey):
        end = at + (6 if template[at : at + 2] != b"\0\x10" else 2)
        end += 4 if template[end : end + 2] != b"\0\x10" else 2
        modulus = public.public_numbers().n.to_bytes(public.key_size // 8, "big")
        return template[:end] + struct.pack(">HI", public.key_size, 0) + sized(modulus)
    end = at + (6 if template[at : at + 2] != b"\0\x10" else 2)
    end += 4 if template[end : end + 2] != b"\0\x10" else 2
    numbers = public.public_numbers()
    curve = {"secp256r1": 3, "secp384r1": 4}[public.curve.name]
    size = public.key_size // 8
    return (
        template[:end] + struct.pack(">HH", curve, 0x10) + sized(numbers.x.to_bytes(size, "big"))
        + sized(numbers.y.to_bytes(size, "big"))
    )  # fmt: skip


def sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def with_attributes(area: bytes, *, on: int = 0, off: int = 0) -> bytes:
    attributes = int.from_bytes(area[4:8], "big") & ~off | on
    return area[:4] + attributes.to_bytes(4, "big") + area[8:]


@dataclass
class FakeMachine:
    """Keys in software, with the public areas a TPM would give them."""

    maker: FakeMaker
    ek: PrivateKey = field(default_factory=lambda: rsa_key(11))
    ak: PrivateKey = field(default_factory=lambda: ec_key(ec.SECP256R1()))

    @property
    def ek_area(self) -> bytes:
        return with_key(
            endorsement_template(RSA if isinstance(self.ek, rsa.RSAPrivateKey) else ECC), self.ek.public_key()
        )

    @property
    def ak_area(self) -> bytes:
        return with_key(
            attestation_template(RSA if isinstance(self.ak, rsa.RSAPrivateKey) else ECC), self.ak.public_key()
        )

    def request(
        self, *, certificates: Sequence[bytes] | None = None, ek: bytes | None = None, ak: bytes | None = None
    ) -> EnrolmentRequest:
        chain = (self.maker.certificate(self.ek.public_key()),) if certificates is None else tuple(certificates)
        return EnrolmentRequest(chain, self.ek_area if ek is None else ek, self.ak_area if ak is None else ak)


def as_document(request: EnrolmentRequest) -> dict[str, Any]:
    return {
        "endorsement_certificates": [base64.b64encode(der).decode() for der in request.endorsement_certificates],
        "endorsement_key": base64.b64encode(request.endorsement_key).decode(),
        "attestation_key": base64.b64encode(request.attestation_key).decode(),
    }


def ders(pems: Sequence[bytes]) -> list[bytes]:
    return [x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) for pem in pems]
