"""Token libraries' own history as tests: each shape that once made one accept a forgery is refused here, by its reason.

The eleven of docs/spec/web-identity.md §5 carry their CVE; what follows them are shapes of the same family.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.identity.issuer_keys import IssuerKeys
from gateway.identity.issuers import parse_issuers
from gateway.identity.jwk import is_roca, public_keys
from gateway.identity.jws import BadJws, check_signature, parse_jws
from gateway.identity.web_identity import WebIdentities
from gateway.identity.web_token import TokenRefused, WebIdentity
from tests.fakes.clock import Clock
from tests.fakes.identity_provider import IdentityProvider, b64, ec_jwk, issuers_file, number, rsa_jwk, rsa_key

NOW_MS = Clock()()
NOW = NOW_MS // 1000


async def _no_catalog(*_: Any) -> Any:
    raise AssertionError("the catalog has no part in pinned keys")


class Door:
    """A zone that trusts one provider, its keys pinned."""

    def __init__(self, provider: IdentityProvider, **issuer: Any) -> None:
        issuers, _ = parse_issuers(issuers_file(provider.issuer(**issuer)))
        keys = IssuerKeys(None, _no_catalog, lambda: NOW_MS)  # type: ignore[arg-type]
        self._identities = WebIdentities(lambda: issuers, keys, lambda: NOW_MS)

    def knock(self, token: str) -> WebIdentity:
        return asyncio.run(self._identities.identify(token))

    def refuses(self, token: str) -> str:
        """The rule that refused; with whom it counts is checked: nothing here has a valid signature of the issuer."""
        with pytest.raises(TokenRefused) as caught:
            self.knock(token)
        assert caught.value.code == "InvalidIdentityToken"
        assert caught.value.issuer is None
        return str(caught.value.rule)


@pytest.fixture(scope="module")
def provider() -> IdentityProvider:
    return IdentityProvider()


@pytest.fixture(scope="module")
def door(provider: IdentityProvider) -> Door:
    return Door(provider)


def test_the_honest_token_is_taken(provider: IdentityProvider, door: Door) -> None:
    for alg in ("RS256", "ES256"):
        identity = door.knock(provider.token(provider.claims(NOW), alg=alg))
        assert (identity.subject, identity.rule.principal) == ("ci", "analyst")


def hmac_signed(provider: IdentityProvider, secret: bytes, alg: str = "HS256", **header: Any) -> str:
    head = {"alg": alg, "kid": provider.rsa_kid, "typ": "JWT"} | header
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(provider.claims(NOW)).encode())}"
    return f"{signed}.{b64(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def spellings_of(provider: IdentityProvider) -> list[bytes]:
    """Everything public of a key that a confused verifier might take for a secret."""
    public = provider.rsa.public_key()
    pem, pkcs1 = (
        public.public_bytes(serialization.Encoding.PEM, form)
        for form in (serialization.PublicFormat.SubjectPublicKeyInfo, serialization.PublicFormat.PKCS1)
    )
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(rsa_jwk(provider.rsa, provider.rsa_kid)).encode()
    ssh = public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return [pem, pem.strip(), pkcs1, der, jwk, ssh, b""]


@pytest.mark.parametrize("spelling", range(7))
def test_cve_2024_37568_the_public_key_as_a_secret_where_no_algorithm_was_given(
    provider: IdentityProvider, door: Door, spelling: int
) -> None:
    """authlib < 1.3.1; the three below are spellings of it in PyJWT and python-jose."""
    assert door.refuses(hmac_signed(provider, spellings_of(provider)[spelling])) == "identity.algorithm"


def test_cve_2017_11424_a_pkcs1_key_is_no_secret(provider: IdentityProvider, door: Door) -> None:
    assert door.refuses(hmac_signed(provider, spellings_of(provider)[2], alg="HS512")) == "identity.algorithm"


def test_cve_2022_29217_an_openssh_key_is_no_secret(provider: IdentityProvider, door: Door) -> None:
    assert door.refuses(hmac_signed(provider, spellings_of(provider)[5])) == "identity.algorithm"


def test_cve_2024_33663_a_der_key_is_no_secret(provider: IdentityProvider, door: Door) -> None:
    assert door.refuses(hmac_signed(provider, spellings_of(provider)[3], alg="HS384")) == "identity.algorithm"


@pytest.mark.parametrize(
    "more",
    [
        {"crit": ["bork"], "bork": True}, {"crit": ["bork"]}, {"crit": []}, {"crit": ["exp"]}, {"crit": "bork"},
        {"crit": ["b64"], "b64": False}, {"crit": ["b64"], "b64": True}, {"b64": False},
    ],
)  # fmt: skip
def test_cve_2025_59420_a_critical_extension_that_nobody_knows(
    provider: IdentityProvider, door: Door, more: dict[str, Any]
) -> None:
    """authlib < 1.6.4. `b64` is known to the library and still refused: it changes what was signed."""
    assert door.refuses(provider.token(provider.claims(NOW), header=more)) == "identity.header"


def test_cve_2026_32597_the_same_in_the_other_library(provider: IdentityProvider, door: Door) -> None:
    """PyJWT < 2.12.0."""
    token = provider.token(provider.claims(NOW), alg="ES256", header={"crit": ["cnf"], "cnf": {"jkt": "x"}})
    assert door.refuses(token) == "identity.header"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_cve_2025_61920_a_part_without_end(provider: IdentityProvider, door: Door, part: int) -> None:
    """authlib < 1.6.5 took a header of 500 MB for 4 GB of memory. Here its length is looked at before it is."""
    parts = provider.token(provider.claims(NOW)).split(".")
    parts[part] = "A" * (64 << 20)
    long = ".".join(parts)
    tracemalloc.start()
    assert door.refuses(long) == "identity.malformed"
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("size", [(2048, 0), (0, 1366)])
def test_a_header_and_a_signature_have_bounds_of_their_own(
    provider: IdentityProvider, door: Door, size: tuple[int, int]
) -> None:
    head, claims, signature = provider.token(provider.claims(NOW)).split(".")
    assert door.refuses(f"{head}{'A' * size[0]}.{claims}.{signature}{'A' * size[1]}") == "identity.malformed"


NONES = ["none", "None", "NONE", "nOnE", "", None, False, 0, ["none"], "none ", "RS256none"]


@pytest.mark.parametrize("alg", NONES)
@pytest.mark.parametrize("signature", ["", "AA", "empty-dot"])
def test_cve_2026_28802_no_algorithm_and_no_signature(
    provider: IdentityProvider, door: Door, alg: Any, signature: str
) -> None:
    """authlib 1.6.5 to 1.6.6 took `none` with an empty signature."""
    head = {"alg": alg, "kid": provider.rsa_kid} if alg is not None else {"kid": provider.rsa_kid}
    signed = f"{b64(json.dumps(head).encode())}.{b64(json.dumps(provider.claims(NOW)).encode())}"
    token = signed if signature == "empty-dot" else f"{signed}.{signature}"
    assert door.refuses(token) in {"identity.algorithm", "identity.malformed"}


def foreign(provider: IdentityProvider) -> IdentityProvider:
    """Somebody with keys of his own, and the issuer's name."""
    return IdentityProvider(provider.iss, generation=1)


@pytest.mark.parametrize("keyless", [False, True])
def test_cve_2026_27962_a_token_that_brings_its_own_key(provider: IdentityProvider, door: Door, keyless: bool) -> None:
    """authlib < 1.6.9 verified with the header's `jwk` where it was given no key."""
    thief = foreign(provider)
    header = {"jwk": rsa_jwk(thief.rsa, thief.rsa_kid), "kid": None if keyless else provider.rsa_kid}
    assert door.refuses(thief.token(thief.claims(NOW), header=header)) == "identity.header"


@pytest.mark.parametrize(
    ("alg", "jwk_alg"), [("PS256", "RS256"), ("RS512", "RS256"), ("RS256", "RS384"), ("RS256", "ES256"), ("RS256", 7)]
)
def test_cve_2026_48523_the_algorithm_must_be_the_keys_as_well(
    provider: IdentityProvider, alg: str, jwk_alg: Any
) -> None:
    """PyJWT < 2.13.0 held the header against the list, and the signature against what the JWK said."""
    jwk = rsa_jwk(provider.rsa, provider.rsa_kid, alg=jwk_alg)
    keys = public_keys({"keys": [jwk]})
    with pytest.raises(BadJws):
        check_signature(parse_jws(provider.token(provider.claims(NOW), alg=alg)), keys, {alg})


def test_cve_2026_48523_the_algorithm_must_be_the_issuers(provider: IdentityProvider, door: Door) -> None:
    assert door.refuses(provider.token(provider.claims(NOW), alg="PS256")) == "identity.algorithm"


def test_cve_2026_48524_unknown_kids_ask_nobody_anything(provider: IdentityProvider, door: Door) -> None:
    """PyJWKClient < 2.13.0 fetched for each. Pinned: `_no_catalog` would raise; fetched: test_issuer_key_fetch."""
    for number_of_kid in range(200):
        token = provider.token(provider.claims(NOW), header={"kid": f"k{number_of_kid}"})
        assert door.refuses(token) == "identity.key"


def test_cve_2024_33663_an_ec_key_is_not_taken_for_an_rsa_algorithm(provider: IdentityProvider, door: Door) -> None:
    """The confusion between asymmetric kinds: kid of the EC key, signature of the RSA key, and the other way round."""
    assert door.refuses(provider.token(provider.claims(NOW), header={"kid": provider.ec_kid})) == "identity.algorithm"
    token = provider.token(provider.claims(NOW), alg="ES256", header={"kid": provider.rsa_kid})
    assert door.refuses(token) == "identity.algorithm"


# --- the same family, without a number of those eleven


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null", "/dev/null", "' UNION SELECT 'secret", "rsa-0\x00", "RSA-0", "rsa-0 ", "", "|id",
        "https://evil.example/jwks", "a" * 300, 0, ["rsa-0"], {"kid": "rsa-0"}, True,
    ],
)  # fmt: skip
def test_a_kid_is_a_name_to_compare_and_nothing_else(provider: IdentityProvider, door: Door, kid: Any) -> None:
    """Paths, queries and other spellings of a name (CVE-2018-0114's cousins): two keys, and none of these is one."""
    thief = foreign(provider)
    assert door.refuses(thief.token(thief.claims(NOW), header={"kid": kid})) in {"identity.key", "identity.header"}


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/jwks"}, {"x5u": "https://evil.example/cert"}, {"x5c": ["MIIB"]},
        {"zip": "DEF"}, {"enc": "A256GCM"}, {"p2c": 2_000_000_000, "p2s": "AA"}, {"cty": "JWT"}, {"epk": {}},
        {"iss": "https://id.example"}, {"unknown": 1},
    ],
)  # fmt: skip
def test_a_header_holds_what_issuers_send_and_nothing_else(
    provider: IdentityProvider, door: Door, header: dict[str, Any]
) -> None:
    """Keys from elsewhere, PBES2 counts (CVE-2023-6681), compression (CVE-2024-28102, -33664), nested tokens."""
    assert door.refuses(provider.token(provider.claims(NOW), header=header)) == "identity.header"


def test_a_compressed_bomb_is_no_token(provider: IdentityProvider, door: Door) -> None:
    bomb = zlib.compress(b" " * (64 << 20))[2:-4]
    assert len(bomb) > 1000
    assert door.refuses(provider.token(bomb[:12000], header={"zip": "DEF"})) in {
        "identity.header",
        "identity.malformed",
    }


@pytest.mark.parametrize("parts", [1, 2, 4, 5])
def test_a_jwe_or_any_other_number_of_parts(provider: IdentityProvider, door: Door, parts: int) -> None:
    token = provider.token(provider.claims(NOW))
    assert door.refuses(".".join((token.split(".") * 2)[:parts])) == "identity.malformed"


def test_the_json_serialisation_is_not_read(provider: IdentityProvider, door: Door) -> None:
    head, claims, signature = provider.token(provider.claims(NOW)).split(".")
    assert (
        door.refuses(json.dumps({"protected": head, "payload": claims, "signature": signature})) == "identity.malformed"
    )


@pytest.mark.parametrize(
    "signature", [bytes(64), bytes(63) + b"\x01", b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\x01" * 63]
)
def test_cve_2022_21449_psychic_signatures(provider: IdentityProvider, door: Door, signature: bytes) -> None:
    head, claims, _ = provider.token(provider.claims(NOW), alg="ES256").split(".")
    assert door.refuses(f"{head}.{claims}.{b64(signature)}") == "identity.signature"


def test_an_ecdsa_signature_has_one_form(provider: IdentityProvider, door: Door) -> None:
    """r + n, and r or s with zeros before them, are other spellings of one signature."""
    head, claims, signature = provider.token(provider.claims(NOW), alg="ES256").split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    for r_bytes, s_bytes in [
        (b"\0" + raw[:32], b"\0" + raw[32:]),
        ((r + order).to_bytes(33, "big"), s.to_bytes(33, "big")),
    ]:
        assert door.refuses(f"{head}.{claims}.{b64(r_bytes + s_bytes)}") == "identity.signature"


def test_a_base64_of_a_second_spelling(provider: IdentityProvider, door: Door) -> None:
    head, claims, signature = provider.token(provider.claims(NOW)).split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other = signature[:-1] + last[last.index(signature[-1]) ^ 1]
    for bad in (other, signature + "=", signature + "\n", " " + signature, signature.replace("-", "+") + "/"):
        assert door.refuses(f"{head}.{claims}.{bad}") in {"identity.malformed", "identity.signature"}


@pytest.mark.parametrize(
    "claims", [b'{"iss":"https://id.example","sub":"ci","sub":"root"}', b"[]", b'"x"', b"{}x", b"\xff{}", b""]
)
def test_claims_are_one_object_with_single_members(provider: IdentityProvider, door: Door, claims: bytes) -> None:
    assert door.refuses(provider.token(claims)) == "identity.malformed"


def test_a_header_with_a_member_twice(provider: IdentityProvider, door: Door) -> None:
    head = json.dumps({"alg": "RS256", "kid": provider.rsa_kid}).encode()
    twice = head[:-1] + b', "alg": "none"}'
    assert door.refuses(provider.token(provider.claims(NOW), raw_header=twice)) == "identity.malformed"


@pytest.mark.parametrize(
    "nested", [b"[" * 6000 + b"]" * 6000, b'{"a":' * 2000 + b"1" + b"}" * 2000, b'{"n":' + b"9" * 9000 + b"}"]
)
def test_nesting_and_numbers_without_end(provider: IdentityProvider, door: Door, nested: bytes) -> None:
    assert door.refuses(provider.token(nested)) == "identity.malformed"
    assert door.refuses(provider.token(provider.claims(NOW), raw_header=nested[:1500])) == "identity.malformed"


def test_every_bit_of_a_token_counts(provider: IdentityProvider, door: Door) -> None:
    """One changed character anywhere (each of the three parts sampled) refuses."""
    token = provider.token(provider.claims(NOW), alg="ES256")
    for at in range(0, len(token), 5):
        changed = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
        with pytest.raises(TokenRefused) as caught:
            door.knock(changed)
        assert caught.value.issuer is None


@pytest.mark.parametrize("length", range(0, 400, 7))
def test_a_truncated_token(provider: IdentityProvider, door: Door, length: int) -> None:
    assert door.refuses(provider.token(provider.claims(NOW))[:length])


# --- keys


def test_a_set_with_a_secret_is_refused_whole(provider: IdentityProvider) -> None:
    private = rsa_jwk(provider.rsa, "p", d=number(provider.rsa.private_numbers().d))
    for bad in (private, {"kty": "oct", "kid": "h", "k": b64(b"k" * 32)}, {"kty": "oct", "kid": "h"}):
        with pytest.raises(ValueError, match="secret"):
            public_keys({"keys": [*provider.jwks["keys"], bad]})


def test_one_kid_for_two_keys_is_refused_whole(provider: IdentityProvider) -> None:
    with pytest.raises(ValueError, match="one kid"):
        public_keys({"keys": [rsa_jwk(provider.rsa, "a"), ec_jwk(provider.ec, "a")]})


@pytest.mark.parametrize(
    "bad", [{}, {"keys": {}}, {"keys": [1]}, {"keys": [{}] * 65}, {"keys": None}], ids=lambda bad: str(bad)[:30]
)
def test_what_is_no_set(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no JWK set"):
        public_keys(bad)


def weak_keys(provider: IdentityProvider) -> dict[str, dict[str, Any]]:
    numbers = provider.rsa.public_key().public_numbers()
    good, point = rsa_jwk(provider.rsa, "k"), ec_jwk(provider.ec, "k")
    small = 0xC0FFEE << 1000 | 1
    off_curve = number(provider.ec.public_key().public_numbers().y ^ 1, 32)
    return {
        "1024 bits": good | {"n": number(small)},
        "16384 bits": good | {"n": number(numbers.n**8)},
        "exponent 1": good | {"e": "AQ"},
        "exponent 3": good | {"e": "Aw"},
        "even exponent": good | {"e": number(65538)},
        "long exponent": good | {"e": number(numbers.n)},
        "for encryption": good | {"use": "enc"},
        "for no verification": good | {"key_ops": ["encrypt"]},
        "key_ops no list": good | {"key_ops": "verify"},
        "another alg": good | {"alg": "RSA-OAEP"},
        "alg no text": good | {"alg": ["RS256"]},
        "n no text": good | {"n": 7},
        "no n": {name: value for name, value in good.items() if name != "n"},
        "kid no text": good | {"kid": 7},
        "another kty": good | {"kty": "OKP"},
        "off the curve": point | {"y": off_curve},
        "at infinity": point | {"x": number(0, 32), "y": number(0, 32)},
        "another curve": point | {"crv": "P-384"},
        "an old curve": point | {"crv": "secp256k1"},
        "curve and alg differ": point | {"alg": "ES512"},
    }


@pytest.mark.parametrize("name", sorted(weak_keys(IdentityProvider())))
def test_a_key_of_no_use_is_left_out(provider: IdentityProvider, name: str) -> None:
    assert public_keys({"keys": [weak_keys(provider)[name]]}) == ()
    assert len(public_keys({"keys": [weak_keys(provider)[name] | {"kid": "other"}, ec_jwk(provider.ec, "e")]})) in (
        1,
        2,
    )


def test_roca_marks_what_the_chips_made_and_nothing_else(provider: IdentityProvider) -> None:
    """CVE-2017-15361: a modulus of the marked form, made here, and honest ones."""
    primorial = 1
    for prime in (n for n in range(3, 168) if all(n % d for d in range(2, n))):
        primorial *= prime
    marked = (primorial * (1 << 1800) + pow(65537, 77, primorial)) | 0
    assert is_roca(marked)
    assert not any(is_roca(rsa_key(number_of_key).public_key().public_numbers().n) for number_of_key in (0, 1))


def test_a_token_without_a_kid_is_of_the_only_key_or_nobodys(provider: IdentityProvider) -> None:
    only = Door(provider, jwks={"keys": [rsa_jwk(provider.rsa, "")]})
    assert only.knock(provider.token(provider.claims(NOW), header={"kid": None})).subject == "ci"
    two = Door(provider)
    assert two.refuses(provider.token(provider.claims(NOW), header={"kid": None})) == "identity.key"


def test_an_issuers_key_is_not_another_issuers(provider: IdentityProvider) -> None:
    """Two issuers with one kid: the token is verified with the keys of the one it names."""
    other = IdentityProvider("https://other.example", generation=1)
    other.rsa_kid = provider.rsa_kid
    issuers, _ = parse_issuers(issuers_file(provider.issuer("one"), other.issuer("two")))
    keys = IssuerKeys(None, _no_catalog, lambda: NOW_MS)  # type: ignore[arg-type]
    identities = WebIdentities(lambda: issuers, keys, lambda: NOW_MS)
    forged = other.token(other.claims(NOW, iss=provider.iss))
    with pytest.raises(TokenRefused) as caught:
        asyncio.run(identities.identify(forged))
    assert caught.value.rule == "identity.signature"
    assert asyncio.run(identities.identify(other.token(other.claims(NOW)))).issuer.name == "two"


def test_p384_and_p521_and_every_hash(tmp_path: Path) -> None:
    for curve, alg in ((ec.SECP384R1(), "ES384"), (ec.SECP521R1(), "ES512")):
        provider = IdentityProvider()
        provider.ec = ec.generate_private_key(curve)
        opened = Door(provider, algorithms=[alg])
        assert opened.knock(provider.token(provider.claims(NOW), alg=alg)).subject == "ci"
        assert opened.refuses(provider.token(provider.claims(NOW), alg="ES256")) == "identity.algorithm"
    provider = IdentityProvider()
    for alg in ("RS384", "RS512", "PS256", "PS384", "PS512"):
        assert Door(provider, algorithms=[alg]).knock(provider.token(provider.claims(NOW), alg=alg)).subject == "ci"
