"""From an access key id to the secret that verifies and the principal it belongs to. The port and its one adapter."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from gateway.identity.errors import Unauthenticated
from gateway.identity.principal import Principal, SessionClaims
from gateway.identity.tokens import decode_claims, session_access_key_id, session_secret, static_secret


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A verification secret and whose it is. The secret never appears in a repr."""

    secret: str = field(repr=False)
    principal: Principal


class KeyLookup(Protocol):
    """Asynchronous so that a cache miss may ask the catalog in an executor; a hit must not yield to the loop."""

    async def lookup(self, access_key_id: str, security_token: str | None) -> SecretKey:
        """Raises Unauthenticated: InvalidAccessKeyId, InvalidToken, ExpiredToken. Never reads freshness or policy."""
        ...


class Directory(Protocol):
    """Who holds a key. Rows are the catalog's; None means unknown or revoked."""

    async def static_principal(self, access_key_id: str) -> Principal | None: ...
    async def session_principal(self, claims: SessionClaims, access_key_id: str) -> Principal | None: ...


class DerivedKeyLookup:
    """Static and session secrets are derived from one token key, so that no table of secrets exists.

    `open_token` unseals a session token to the claims' bytes and raises on anything it did not seal itself;
    `open_failures` names the exceptions it may raise. `clock` answers ms UTC.
    """

    def __init__(
        self,
        token_key: bytes,
        directory: Directory,
        open_token: Callable[[str], bytes],
        open_failures: tuple[type[Exception], ...],
        clock: Callable[[], int],
        *,
        static_key: bytes | None = None,
    ) -> None:
        """`static_key`: what static secrets derive from, where that is not the token key (embedded zones share one)."""
        self._token_key = token_key
        self._static_key = static_key if static_key is not None else token_key
        self._directory = directory
        self._open_token = open_token
        self._open_failures = open_failures
        self._clock = clock

    async def lookup(self, access_key_id: str, security_token: str | None) -> SecretKey:
        if security_token is None:
            principal = await self._directory.static_principal(access_key_id)
            if principal is None:
                raise _unknown_key()
            return SecretKey(static_secret(self._static_key, access_key_id), principal)
        claims = self._claims(security_token)
        # The token and the key id must name the same session: else a token of one could lend its scope to another.
        if access_key_id != session_access_key_id(claims.session_id):
            raise Unauthenticated("InvalidToken", "the session token does not belong to this access key id")
        if claims.expires_at <= self._clock():
            raise Unauthenticated("ExpiredToken", "the session has expired", remedy="attest again")
        principal = await self._directory.session_principal(claims, access_key_id)
        if principal is None:
            raise _unknown_key()
        return SecretKey(session_secret(self._token_key, claims.session_id), principal)

    def _claims(self, security_token: str) -> SessionClaims:
        try:
            opened = self._open_token(security_token)
        except self._open_failures:
            raise Unauthenticated("InvalidToken", "the session token is not one of this gateway") from None
        return decode_claims(opened)


def _unknown_key() -> Unauthenticated:
    return Unauthenticated("InvalidAccessKeyId", "the access key id is not known here")
