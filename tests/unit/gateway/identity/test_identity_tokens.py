import asyncio
import json

import pytest

from gateway.identity.errors import Unauthenticated
from gateway.identity.lookup import DerivedKeyLookup
from gateway.identity.principal import Principal, SessionClaims
from gateway.identity.tokens import (
    decode_claims,
    encode_claims,
    session_access_key_id,
    session_secret,
    static_secret,
)
from tests.fakes.s3_server import PRINCIPAL

CLAIMS = SessionClaims("5" * 32, "claims-risk-model", ("claims", "models"), "r" * 32, "attested", 1_000_000)
KEY = b"k" * 32


class People:
    known = True

    async def static_principal(self, access_key_id: str) -> Principal | None:
        return PRINCIPAL if self.known and access_key_id == "DKEY" else None

    async def session_principal(self, claims: SessionClaims, access_key_id: str) -> Principal | None:
        return PRINCIPAL if self.known else None


class NotSealed(Exception):
    pass


def open_token(token: str) -> bytes:
    if not token.startswith("sealed:"):
        raise NotSealed
    return token.removeprefix("sealed:").encode()


def lookup(key_id: str, token: str | None, *, now: int = 0, known: bool = True) -> str:
    people = People()
    people.known = known
    keys = DerivedKeyLookup(KEY, people, open_token, (NotSealed,), lambda: now)
    found = asyncio.run(keys.lookup(key_id, token))
    assert found.secret not in repr(found)
    return found.secret


def test_claims_round_trip() -> None:
    assert decode_claims(encode_claims(CLAIMS)) == CLAIMS


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"extra": 1},
        {"scope": "claims"},
        {"scope": [1]},
        {"kind": "root"},
        {"expires_at": 1.5},
        {"expires_at": True},
        {"session": None},
        {"scope": ["models", "claims"]},
    ],
)
def test_claims_of_another_shape_are_refused(change: dict[str, object]) -> None:
    document = {**json.loads(encode_claims(CLAIMS)), **change}
    with pytest.raises(Unauthenticated) as caught:
        decode_claims(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    assert caught.value.code == "InvalidToken"


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"\xff", b"null", encode_claims(CLAIMS) + b" "])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Unauthenticated):
        decode_claims(data)


def test_secrets_are_apart() -> None:
    assert static_secret(KEY, "x") != session_secret(KEY, "x") != session_secret(b"o" * 32, "x")
    assert len(static_secret(KEY, "x")) == 40


def test_lookup() -> None:
    token = "sealed:" + encode_claims(CLAIMS).decode()
    session_key = session_access_key_id(CLAIMS.session_id)
    assert lookup("DKEY", None) == static_secret(KEY, "DKEY")
    assert lookup(session_key, token) == session_secret(KEY, CLAIMS.session_id)
    for key_id, given, now, known, code in (
        ("OTHER", None, 0, True, "InvalidAccessKeyId"),
        ("DKEY", None, 0, False, "InvalidAccessKeyId"),
        ("DKEY", token, 0, True, "InvalidToken"),  # a token lends nothing to another key
        (session_key, None, 0, True, "InvalidAccessKeyId"),  # a session key without its token is nobody
        (session_key, "forged", 0, True, "InvalidToken"),
        (session_key, token, 1_000_000, True, "ExpiredToken"),
        (session_key, token, 0, False, "InvalidAccessKeyId"),
    ):
        with pytest.raises(Unauthenticated) as caught:
            lookup(key_id, given, now=now, known=known)
        assert caught.value.code == code
