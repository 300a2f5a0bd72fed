"""A compact JWS (RFC 7515) of somebody unknown: read under limits, verified with one key and one algorithm.

Everything that lets a token say how it is to be verified is refused: keys and certificates in the header or where it
points (`jwk`, `x5c`, `jku`, `x5u`), extensions (`crit`, `b64`), compression and encryption. The algorithm must be the
issuer's, the key's and the token's: checked against the header alone, a token chooses its own (CVE-2026-48523).
"""

import base64
import binascii
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from gateway.identity.jwk import ALGORITHMS, MAX_KID, PublicKey
from vault.attest.documents import json_object
from vault.errors import Refused

MAX_TOKEN: Final = 16 * 1024
MAX_HEADER: Final = 2048
MAX_SIGNATURE: Final = 1024 + 342  # base64url of 8192 bits
_HEADERS = frozenset({"alg", "kid", "typ", "x5t", "x5t#S256"})


class BadJws(ValueError):
    """`why` is one of: malformed, header, algorithm, unknown-key, no-key, signature."""

    def __init__(self, why: str, detail: str) -> None:
        super().__init__(f"{why}: {detail}")
        self.why = why
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ParsedJws:
    """Not verified: only what selects issuer and key may be read from this."""

    header: Mapping[str, Any]
    payload: bytes
    text: str


class _Registry(JWSRegistry):
    max_header_length = MAX_HEADER
    max_payload_length = MAX_TOKEN
    max_signature_length = MAX_SIGNATURE


def parse_jws(text: str, *, headers: Collection[str] = ()) -> ParsedJws:
    """`headers`: parameters that an issuer sends besides the usual ones; they are looked at and believed by nobody.

    Raises BadJws "malformed" or "header". Length first, then three parts in one spelling of base64url.
    """
    if len(text) > MAX_TOKEN:
        raise BadJws("malformed", f"longer than {MAX_TOKEN}")
    parts = text.split(".")
    if len(parts) != 3 or not parts[2]:
        raise BadJws("malformed", "not three parts")
    if len(parts[0]) > MAX_HEADER or len(parts[2]) > MAX_SIGNATURE:
        raise BadJws("malformed", "a part is too long")
    raw_header, payload, _ = (_decoded(part) for part in parts)
    try:
        header = json_object(raw_header, "header")
    except Refused as error:
        raise BadJws("malformed", "header is no JSON object of single members") from error
    if unknown := set(header) - _HEADERS - set(headers):
        raise BadJws("header", f"{min(unknown)[:32]!r} is not taken")
    kid = header.get("kid", "")
    if not isinstance(kid, str) or len(kid) > MAX_KID:
        raise BadJws("header", "kid")
    return ParsedJws(header, payload, text)


def check_signature(parsed: ParsedJws, keys: Sequence[PublicKey], algorithms: Collection[str]) -> None:
    """One of the issuer's `keys` signed it, by one of the issuer's `algorithms`.

    Raises BadJws "algorithm", "no-key" (the issuer has none that is usable), "unknown-key", "signature".
    """
    algorithm = parsed.header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS or algorithm not in algorithms:
        raise BadJws("algorithm", "alg")
    key = _chosen(parsed.header.get("kid", ""), keys)
    if algorithm not in key.algorithms:
        raise BadJws("algorithm", "not one of this key")
    try:
        jws.deserialize_compact(
            parsed.text, key.key, registry=_Registry(algorithms=[algorithm], strict_check_header=False)
        )
    except (JoseError, ValueError, TypeError) as error:
        raise BadJws("signature", type(error).__name__) from error


def _chosen(kid: str, keys: Sequence[PublicKey]) -> PublicKey:
    """By name and never by trying: a token without a name may be of the only key there is."""
    if not keys:
        raise BadJws("no-key", "no usable key of the issuer is known")
    if not kid:
        if len(keys) == 1:
            return keys[0]
        raise BadJws("unknown-key", "no kid, and several keys")
    named = [key for key in keys if key.kid == kid]
    if len(named) != 1:
        raise BadJws("unknown-key", "kid")
    return named[0]


def _decoded(part: str) -> bytes:
    try:
        raw = base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise BadJws("malformed", "not base64url") from error
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii") != part:
        raise BadJws("malformed", "a second spelling of base64url")
    return raw
