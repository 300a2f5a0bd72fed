"""The thumbprint of the attested key: RFC 7638, one spelling, on the curve, nothing private."""

from typing import Any

import pytest
from joserfc.jwk import ECKey

from tests.fakes.broker import new_jwk
from vault.attest.binding import key_thumbprint
from vault.errors import Refused


def test_thumbprint_agrees_with_another_implementation() -> None:
    for _ in range(5):
        jwk = new_jwk()
        assert key_thumbprint(jwk) == ECKey.import_key({**jwk}).thumbprint()


def test_annotations_do_not_change_the_thumbprint() -> None:
    jwk = new_jwk()
    assert key_thumbprint({**jwk, "use": "enc", "alg": "ECDH-ES+A256KW", "kid": "1"}) == key_thumbprint(jwk)


@pytest.mark.parametrize(
    "change",
    [
        {"d": "AAAA"},
        {"x5c": []},
        {"kty": "RSA"},
        {"kty": "OKP"},
        {"crv": "P-384"},
        {"crv": "secp256k1"},
        {"x": "A" * 43},
        {"x": "", "y": ""},
        {"x": None},
        {"x": 7},
        {"y": "!" * 43},
        {"y": "é" * 43},
        {"y": "A" * 5000},
    ],
)
def test_other_keys_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refused, match=r"attest\.key"):
        key_thumbprint({**new_jwk(), **change})


@pytest.mark.parametrize("missing", ["kty", "crv", "x", "y"])
def test_key_without_a_member_is_refused(missing: str) -> None:
    jwk = new_jwk()
    del jwk[missing]
    with pytest.raises(Refused, match=r"attest\.key"):
        key_thumbprint(jwk)


def test_second_spelling_of_one_key_is_refused() -> None:
    jwk = new_jwk()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for other in (
        jwk["x"] + "=",
        "AA" + jwk["x"],
        jwk["x"][:-1] + alphabet[alphabet.index(jwk["x"][-1]) ^ 1],  # the two spare bits of 32 bytes
    ):
        with pytest.raises(Refused, match=r"attest\.key"):
            key_thumbprint({**jwk, "x": other})
