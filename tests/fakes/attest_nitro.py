"""A fake Nitro hypervisor: signs documents with any field, header or spelling."""

from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.attest_pki import NOW_MS, Shape, ec_key, issue, raw_signature

PCRS = {0: b"\1" * 48, 1: b"\2" * 48, 2: b"\3" * 48, 3: b"\4" * 48, 4: b"\5" * 48, 8: b"\6" * 48, 15: bytes(48)}
REMOVED = object()


@dataclass
class FakeNitro:
    """Root, two regional authorities, leaf."""

    leaf_shape: Shape = field(default_factory=lambda: Shape(ca=False))
    middle_shape: Shape = field(default_factory=lambda: Shape(ca=True, path_length=0))
    root_shape: Shape = field(default_factory=lambda: Shape(ca=True))
    curve: ec.EllipticCurve = field(default_factory=ec.SECP384R1)

    def __post_init__(self) -> None:
        self.root = issue("aws.nitro-enclaves", ec_key(), None, self.root_shape)
        self.region = issue("region", ec_key(), self.root, Shape(ca=True, path_length=1))
        self.instance = issue("instance", ec_key(), self.region, self.middle_shape)
        self.leaf = issue("enclave", ec_key(self.curve), self.instance, self.leaf_shape)

    @property
    def roots(self) -> frozenset[str]:
        return frozenset({self.root.pin})

    def payload(self, **changes: Any) -> dict[str, Any]:
        fields = {
            "module_id": "i-0123-enc0456", "digest": "SHA384", "timestamp": NOW_MS - 1000, "pcrs": PCRS,
            "certificate": self.leaf.der, "cabundle": [self.root.der, self.region.der, self.instance.der],
            "public_key": None, "user_data": None, "nonce": b"\x5a" * 64,
        } | changes  # fmt: skip
        return {name: value for name, value in fields.items() if value is not REMOVED}

    def document(self, **changes: Any) -> bytes:
        return self.sign(cbor2.dumps(self.payload(**changes)))

    def sign(self, payload: bytes, header: Any = None, unprotected: Any = None, signer: Any = None) -> bytes:
        protected = cbor2.dumps({1: -35} if header is None else header)
        structure = cbor2.dumps(["Signature1", protected, b"", payload])
        signature = raw_signature(signer or self.leaf.key, structure, 48) if not isinstance(
            self.curve, ec.SECP521R1) else bytes(96)  # fmt: skip
        return cbor2.dumps([protected, unprotected or {}, payload, signature])
