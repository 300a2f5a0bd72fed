"""A fake vendor of guest firmware, whose signed statements name launch measurements as its releases."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.fakes.attest_pki import Issued, Shape, issue, rsa_key

EKU = ("2.5.29.37", bytes.fromhex("300a06082b06010401820101"))  # 1.3.6.1.4.1.257.1
PURPOSE = "1.3.6.1.4.1.257.1"
ROOT = issue("Releases Root", rsa_key(3), None, Shape(ca=True))
MIDDLE = issue("Releases CA", rsa_key(4), ROOT, Shape(ca=True))


def leaf(**changes: Any) -> Issued:
    values: dict[str, Any] = {"ca": False, "extensions": (EKU,)} | changes
    return issue("Releases", rsa_key(5), MIDDLE, Shape(**values))


LEAF = leaf()
ISSUER = (
    "did:x509:0:sha256:" + base64.urlsafe_b64encode(bytes.fromhex(ROOT.pin)).decode().rstrip("=") + "::eku:" + PURPOSE
)
PAYLOAD = {"x-ms-sevsnpvm-guestsvn": "22", "x-ms-sevsnpvm-launchmeasurement": "11" * 48}


def statement(
    payload: Any = None, header: dict[Any, Any] | None = None, chain: list[Issued] | None = None, tag: int | None = 18,
    unprotected: Any = None, salt: int = 48, parts: int = 4,
) -> bytes:  # fmt: skip
    chain = chain or [LEAF, MIDDLE, ROOT]
    fields: dict[Any, Any] = {
        1: -38, 3: "application/json", 33: [one.der for one in chain], "iss": ISSUER, "feed": "uvm",
        "signingtime": datetime(2026, 5, 1, tzinfo=UTC),
    } | (header or {})  # fmt: skip
    protected = cbor2.dumps(fields, datetime_as_timestamp=True)
    raw = payload if isinstance(payload, bytes) else json.dumps(PAYLOAD | (payload or {})).encode()
    message = cbor2.dumps(["Signature1", protected, b"", raw])
    key = chain[0].key
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(message, padding.PSS(padding.MGF1(hashes.SHA384()), salt), hashes.SHA384())
    else:
        signature = bytes(256)
    value = [protected, {"timestamp": b"t"} if unprotected is None else unprotected, raw, signature][:parts]
    return cbor2.dumps(value if tag is None else cbor2.CBORTag(tag, value))
