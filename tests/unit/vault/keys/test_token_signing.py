"""Tokens of the zone: one key for one secret, checked by the reader that checks other issuers' tokens."""

import pytest

from vault.attest.tokens.jose import parse_keys, parse_token, verified
from vault.errors import Refused
from vault.keys.token_signing import TokenSigner

SECRET = bytes(range(32))


def test_every_broker_of_a_zone_has_the_same_key_and_another_zone_another() -> None:
    assert TokenSigner(SECRET).jwk == TokenSigner(SECRET).jwk
    assert TokenSigner(SECRET).jwk != TokenSigner(SECRET[::-1]).jwk
    assert "d" not in TokenSigner(SECRET).jwk


def test_a_token_verifies_under_the_pinned_key_alone() -> None:
    signer = TokenSigner(SECRET)
    token = signer.sign({"iss": "demesne", "iat": 7})
    keys = parse_keys(dict(signer.jwk))
    assert verified(parse_token(token), keys, frozenset({"ES256"})) == {"iss": "demesne", "iat": 7}
    other = parse_keys(dict(TokenSigner(SECRET[::-1]).jwk) | {"kid": signer.jwk["kid"]})
    with pytest.raises(Refused) as caught:
        verified(parse_token(token), other, frozenset({"ES256"}))
    assert caught.value.reason == "attest.signature"
