"""From a bearer token of somebody else's identity provider to one of our principals, or a refusal that says why.

    read under limits → the issuer it names → that issuer's keys → signature → claims → subject → principal

Nothing before the signature is believed: a refusal there has no issuer and counts as a stranger's. One after it is a
statement of an issuer the zone trusts, and worth a record of its own.
"""

from collections.abc import Callable
from typing import Any

from gateway.identity.issuer_keys import IssuerKeys
from gateway.identity.issuers import Issuer, Issuers
from gateway.identity.jws import BadJws, ParsedJws, check_signature, parse_jws
from gateway.identity.web_token import TokenRefused, WebIdentity, check_type, identity_of
from vault.attest.documents import json_object
from vault.errors import Refused

_WHY = {
    "malformed": ("identity.malformed", "The token does not parse as a signed JWT within the limits"),
    "header": ("identity.header", "The token's header holds what no issuer of this zone may send"),
    "algorithm": ("identity.algorithm", "The token is not signed by an algorithm of its issuer"),
    "signature": ("identity.signature", "The token's signature does not hold"),
    "unknown-key": ("identity.key", "Couldn't retrieve verification key from your identity provider"),
    "no-key": ("identity.no-keys", "Couldn't retrieve verification key from your identity provider"),
}


class WebIdentities:
    """`issuers()` answers the zone's issuers as of now; `clock` ms UTC."""

    def __init__(self, issuers: Callable[[], Issuers], keys: IssuerKeys, clock: Callable[[], int]) -> None:
        self._issuers = issuers
        self._keys = keys
        self._clock = clock

    async def identify(self, token: str) -> WebIdentity:
        """Raises TokenRefused; Unavailable where the catalog does not answer."""
        issuer, parsed, claims = self._read(token)
        known = await self._keys.of(issuer)
        try:
            check_signature(parsed, known.keys, issuer.algorithms)
        except BadJws as error:
            raise await self._unverified(issuer, error, pending=known.pending) from error
        check_type(issuer, parsed.header)
        return identity_of(issuer, claims, self._clock() // 1000)

    def _read(self, token: str) -> tuple[Issuer, ParsedJws, dict[str, Any]]:
        try:
            parsed = parse_jws(token, headers=_every_header(self._issuers()))
            claims = json_object(parsed.payload, "claims")
        except (BadJws, Refused) as error:
            raise _refused(getattr(error, "why", "malformed")) from error
        issuer = _named(self._issuers(), claims)
        if issuer is None:
            raise TokenRefused(
                "InvalidIdentityToken", "identity.issuer", "No identity provider of this zone is the token's issuer"
            )
        if extra := set(parsed.header) & (_every_header(self._issuers()) - issuer.headers):
            raise _refused("header") from BadJws("header", min(extra))
        return issuer, parsed, claims

    async def _unverified(self, issuer: Issuer, error: BadJws, *, pending: bool) -> TokenRefused:
        if error.why in {"unknown-key", "no-key"}:
            await self._keys.want(issuer)
            if pending and issuer.source is not None:
                # Clients try again after this code: keys that were just rotated are here a second later.
                return TokenRefused(
                    "IDPCommunicationError",
                    _WHY[error.why][0],
                    "The identity provider's keys are being fetched; try again",
                )
        return _refused(error.why)


def _refused(why: str) -> TokenRefused:
    return TokenRefused("InvalidIdentityToken", *_WHY[why])


def _every_header(issuers: Issuers) -> frozenset[str]:
    return frozenset[str]().union(*(issuer.headers for issuer in issuers.all()))


def _named(issuers: Issuers, claims: dict[str, Any]) -> Issuer | None:
    """By `iss`, exactly; a JWT-SVID need not have one and is named by its subject's trust domain."""
    named, subject = claims.get("iss"), claims.get("sub")
    if isinstance(named, str) and named in issuers.of_issuer:
        return issuers.of_issuer[named]
    if isinstance(subject, str) and subject.startswith("spiffe://"):
        return issuers.of_trust_domain.get(subject.removeprefix("spiffe://").partition("/")[0])
    return None
