"""Keys that Trustee's clients attest: which are taken, and one thumbprint for each."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc.jwk import ECKey, RSAKey

from tests.fakes.attest_kbs import TeeKeyPair, b64url
from vault.attest.kbs.keys import load_tee_key, tee_key_thumbprint
from vault.errors import Refused

P256, P521, RSA = (TeeKeyPair(kind).jwk for kind in ("P-256", "P-521", "RSA"))


@pytest.mark.parametrize("jwk", [P256, P521, RSA], ids=["P-256", "P-521", "RSA"])
def test_the_thumbprint_is_that_of_rfc_7638(jwk: dict[str, str]) -> None:
    other: Any = RSAKey if jwk["kty"] == "RSA" else ECKey
    assert tee_key_thumbprint(jwk) == other.import_key(jwk).thumbprint()


def modulus(bits: int) -> str:
    number = rsa.generate_private_key(65537, bits).public_key().public_numbers().n
    return b64url(number.to_bytes(bits // 8, "big"))


def shifted(text: str, by: int = 1) -> str:
    raw = bytearray(base64.urlsafe_b64decode(text + "=="))
    raw[-1] ^= by
    return b64url(bytes(raw))


@pytest.mark.parametrize(
    "jwk",
    [
        P256 | {"crv": "P-384"},
        P256 | {"crv": "P-521"},
        P256 | {"alg": "ECDH-ES"},
        P256 | {"alg": "RSA-OAEP-256"},
        P256 | {"kty": "OKP"},
        P256 | {"kty": ["EC"]},
        P256 | {"crv": ["P-256"]},
        P256 | {"d": "AAAA"},
        P256 | {"kid": "one"},
        {name: value for name, value in P256.items() if name != "alg"},
        P256 | {"x": P256["x"] + "="},
        P256 | {"x": P256["x"][:-1] + "é"},
        P256 | {"x": b64url(bytes(33))},
        P256 | {"x": 7},
        P256 | {"y": shifted(P256["y"])},
        P256 | {"x": b64url(bytes(32)), "y": b64url(bytes(32))},
        P521 | {"y": shifted(P521["y"])},
        RSA | {"alg": "RSA1_5"},
        RSA | {"alg": "RSA-OAEP"},
        RSA | {"e": "Aw"},
        RSA | {"e": "AAEAAQ"},
        RSA | {"n": modulus(1024)},
        RSA | {"n": b64url(b"\0" * 128 + b"\xff" * 128)},
        RSA | {"n": b64url(b"\0" * 128 + base64.urlsafe_b64decode(RSA["n"] + "=="))},
        RSA | {"n": shifted(RSA["n"], 1)},
        RSA | {"d": "AAAA"},
        {},
        {"kty": "AKP", "alg": "ML-KEM-768+A192KW", "pub": "AAAA"},
    ],
)
def test_another_key_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        load_tee_key(jwk)
    assert caught.value.reason == "attest.key"
