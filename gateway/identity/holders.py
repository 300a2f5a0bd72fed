"""Whose a key is: static credentials and session rows of the catalog, each at most seconds old.

Implements `gateway.identity.lookup.Directory`. A cached answer costs no hop to the executor: SigV4 runs on every
request. A revoked credential is known everywhere within CACHE_MS.
"""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gateway.identity.principal import Principal, SessionClaims
from vault.catalog.catalog import Catalog
from vault.catalog.rows import PrincipalRow
from vault.errors import NotFound

CACHE_MS = 5_000
_MAX_CACHED = 10_000
T = TypeVar("T")
Blocking = Callable[..., Awaitable[Any]]


class CatalogHolders:
    """`blocking(call, *args)` runs a catalog call on the bounded executor."""

    def __init__(self, catalog: Catalog, blocking: Blocking, clock: Callable[[], int]) -> None:
        self._catalog = catalog
        self._blocking = blocking
        self._clock = clock
        self._known: dict[str, tuple[Principal | None, int]] = {}

    async def static_principal(self, access_key_id: str) -> Principal | None:
        return await self._cached(access_key_id, self._static, access_key_id)

    async def session_principal(self, claims: SessionClaims, access_key_id: str) -> Principal | None:
        return await self._cached(f"session/{claims.session_id}", self._session, claims, access_key_id)

    async def _cached(self, name: str, load: Callable[..., Principal | None], *args: Any) -> Principal | None:
        now = self._clock()
        known = self._known.get(name)
        if known is not None and known[1] > now:
            return known[0]
        found: Principal | None = await self._blocking(load, *args)
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        # Unknown keys are not remembered: they would fill the cache, and a new credential must work at once.
        if found is not None:
            self._known[name] = (found, now + CACHE_MS)
        return found

    def _static(self, access_key_id: str) -> Principal | None:
        try:
            credential, row = self._catalog.credential(access_key_id)
        except NotFound:
            return None
        return _principal(row, credential.purpose, None, access_key_id)

    def _session(self, claims: SessionClaims, access_key_id: str) -> Principal | None:
        session = self._catalog.find_session(claims.session_id)
        if session is None:
            return None
        try:
            row = self._catalog.principal(session.principal_id)
        except NotFound:
            return None
        return _principal(row, claims.purpose, claims, access_key_id)


def _principal(row: PrincipalRow, purpose: str, session: SessionClaims | None, access_key_id: str) -> Principal:
    return Principal(
        tenant=row.tenant, principal_id=row.principal_id, name=row.name, kind=row.kind, roles=frozenset(row.roles),
        jurisdiction=row.jurisdiction, purposes=frozenset(row.purposes), purpose=purpose, session=session,
        access_key_id=access_key_id,
    )  # fmt: skip
