"""The SDK's own opening of a JWE, against a JOSE library that seals; every change of one is refused."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwe
from joserfc.jwk import ECKey

from demesne.jwe import NotOpened, base64url, open_compact

HEADER = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}


def sealed(key: ECKey, plaintext: bytes = b"secret", header: dict[str, Any] | None = None) -> str:
    algorithms = ["ECDH-ES", "ECDH-ES+A256KW", "ECDH-ES+A128KW", "A256GCM", "A128GCM", "A256CBC-HS512", "DEF"]
    return jwe.encrypt_compact(header or HEADER, plaintext, key, algorithms=algorithms)


@pytest.fixture(scope="module")
def key() -> ECKey:
    return ECKey.generate_key("P-256")


def private(key: ECKey) -> ec.EllipticCurvePrivateKey:
    found = key.private_key
    assert isinstance(found, ec.EllipticCurvePrivateKey)
    return found


@pytest.mark.parametrize("size", [0, 1, 16, 1000, 20_000])
def test_what_a_library_seals_opens(key: ECKey, size: int) -> None:
    for _ in range(5):
        assert open_compact(sealed(key, b"x" * size), private(key)) == b"x" * size


@pytest.mark.parametrize(
    "header",
    [
        HEADER | {"alg": "ECDH-ES"}, HEADER | {"alg": "ECDH-ES+A128KW"}, HEADER | {"enc": "A128GCM"},
        HEADER | {"enc": "A256CBC-HS512"}, HEADER | {"zip": "DEF"}, HEADER | {"kid": "k"}, HEADER | {"apu": "QQ"},
    ],
    ids=str,
)  # fmt: skip
def test_another_header_is_refused(key: ECKey, header: dict[str, Any]) -> None:
    with pytest.raises(NotOpened):
        open_compact(sealed(key, header=header), private(key))


def test_another_key_opens_nothing(key: ECKey) -> None:
    with pytest.raises(NotOpened):
        open_compact(sealed(key), private(ECKey.generate_key("P-256")))


def test_a_changed_character_anywhere_is_refused(key: ECKey) -> None:
    whole = sealed(key)
    for at, letter in enumerate(whole):
        for other in {"A", "B", ".", "=", "", "é"} - {letter}:
            with pytest.raises(NotOpened):
                open_compact(whole[:at] + other + whole[at + 1 :], private(key))
    for cut in range(len(whole)):
        with pytest.raises(NotOpened):
            open_compact(whole[:cut], private(key))


@pytest.mark.parametrize(
    "change",
    [
        {"y": base64url(bytes(32))}, {"x": base64url(b"\xff" * 32)}, {"x": base64url(bytes(33))}, {"x": 7}, {"y": None},
        {"crv": "P-384"}, {"kty": "OKP"}, {"d": "AA"},
    ],
    ids=str,
)  # fmt: skip
def test_a_senders_key_that_is_none_is_refused(key: ECKey, change: dict[str, Any]) -> None:
    """Off the curve, of another one, with more beside it."""
    protected, *rest = sealed(key).split(".")
    header = json.loads(base64.urlsafe_b64decode(protected + "=="))
    header["epk"] = header["epk"] | change
    with pytest.raises(NotOpened):
        open_compact(".".join([base64url(json.dumps(header).encode()), *rest]), private(key))


@pytest.mark.parametrize("text", ["", "....", "a.b.c.d.e", "x" * 100_000, "[]..." + ".", base64url(b"[]") + "...."])
def test_no_jwe_at_all(key: ECKey, text: str) -> None:
    with pytest.raises(NotOpened):
        open_compact(text, private(key))
