"""Public signature keys of a JSON Web Key Set (RFC 7517), as strict as a list of who may say who somebody is must be.

A set that holds a secret, or one name twice, is refused whole: it was published by mistake or merged by somebody else.
A key that is merely of no use here (for encryption, another type, too weak) is left out, as RFC 7517 §5 asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.util import base64_to_int

MAX_KEYS = 64
MAX_KID = 256
_MAX_MEMBER = 1400  # base64url of 8192 bits and a little
_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_RSA_BITS = range(2048, 8193)  # a longer modulus is somebody's way to spend our CPU
_RSA_EXPONENTS = range(65537, 1 << 32)
_CURVES = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
ALGORITHMS = RSA_ALGORITHMS | frozenset(_CURVES.values())
"""What an issuer may be configured with. No symmetric one: a verifier that can sign proves nothing."""


class BadKeySet(ValueError):
    """The set cannot be trusted as a whole. The text says why and holds nothing of the set."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`kid` "" where the set names none; `algorithms` are those this one key may verify."""

    kid: str
    algorithms: frozenset[str]
    key: RSAKey | ECKey = field(repr=False)


def public_keys(document: Mapping[str, Any], *, use: str = "sig") -> tuple[PublicKey, ...]:
    """The usable keys of a set. `use`: what a key must say it is for, if it says so (`jwt-svid`: must say it).

    Raises BadKeySet: no set, more than MAX_KEYS keys, a secret or symmetric key in it, a name used twice.
    """
    listed = document.get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS or not all(isinstance(jwk, dict) for jwk in listed):
        raise BadKeySet(f"no JWK set of at most {MAX_KEYS} keys")
    if any(_SECRET_MEMBERS & set(jwk) or jwk.get("kty") == "oct" for jwk in listed):
        raise BadKeySet("the set holds a secret")
    keys = tuple(found for jwk in listed if (found := _public_key(jwk, use)) is not None)
    names = [key.kid for key in keys]
    if len(set(names)) != len(names):
        raise BadKeySet("two keys of the set have one kid")
    return keys


def _public_key(jwk: Mapping[str, Any], use: str) -> PublicKey | None:
    kid = jwk.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID or not _is_for_signatures(jwk, use):
        return None
    key: RSAKey | ECKey | None = None
    algorithms: frozenset[str] = frozenset()
    try:
        if jwk.get("kty") == "RSA":
            algorithms, key = RSA_ALGORITHMS, _rsa(jwk)
        elif jwk.get("kty") == "EC":
            algorithms, key = frozenset({_CURVES[str(jwk.get("crv"))]}), _ec(jwk)
    except (JoseError, ValueError, TypeError, KeyError, OverflowError):
        return None
    stated = jwk.get("alg")
    if stated is not None:
        algorithms &= {stated} if isinstance(stated, str) else frozenset()
    return PublicKey(kid, algorithms, key) if key is not None and algorithms else None


def _is_for_signatures(jwk: Mapping[str, Any], use: str) -> bool:
    if jwk.get("use", None if use != "sig" else "sig") != use:
        return False
    operations = jwk.get("key_ops")
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def _rsa(jwk: Mapping[str, Any]) -> RSAKey | None:
    modulus, exponent = base64_to_int(_text(jwk, "n")), base64_to_int(_text(jwk, "e"))
    if modulus.bit_length() not in _RSA_BITS or exponent not in _RSA_EXPONENTS or exponent % 2 == 0:
        return None
    return None if is_roca(modulus) else RSAKey.import_key({"kty": "RSA", "n": _text(jwk, "n"), "e": _text(jwk, "e")})


def _ec(jwk: Mapping[str, Any]) -> ECKey:
    """Raises ValueError for a point that is not on the curve: the library checks that when it makes the key."""
    key = ECKey.import_key({name: _text(jwk, name) for name in ("kty", "crv", "x", "y")})
    key.public_key.public_numbers()
    return key


def _text(jwk: Mapping[str, Any], name: str) -> str:
    value = jwk[name]
    if not isinstance(value, str) or len(value) > _MAX_MEMBER:
        raise TypeError(name)
    return value


def is_roca(modulus: int) -> bool:
    """Whether a modulus has the mark of CVE-2017-15361: it is a power of 65537 modulo each of many small primes."""
    return all(modulus % prime in powers for prime, powers in _roca_marks())


@cache
def _roca_marks() -> Sequence[tuple[int, frozenset[int]]]:
    primes = [n for n in range(3, 168) if all(n % d for d in range(2, n))]
    return [(prime, frozenset(pow(65537, power, prime) for power in range(prime))) for prime in primes]
