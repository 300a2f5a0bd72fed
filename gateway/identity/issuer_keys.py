"""An issuer's keys as a front worker has them: pinned in its file, or fetched by the jobs process into the catalog.

This process opens no connection to an issuer, whatever a token says. A key that is not known is *wanted*: the jobs
process looks for it, at most once a minute, and the old keys serve meanwhile, for a day after they were last fetched.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from gateway.identity.issuers import Issuer
from gateway.identity.jwk import BadKeySet, PublicKey, public_keys
from vault.catalog.attestation_rows import JwksRow
from vault.catalog.catalog import Catalog
from vault.catalog.issuer_key_sets import FETCH_GAP_MS, NEVER

CACHE_MS: Final = 2_000
MAX_AGE_MS: Final = 86_400_000
LATE_MS: Final = 2_700_000  # three fetches that failed
Blocking = Callable[..., Awaitable[Any]]


def use_of(issuer: Issuer) -> str:
    """What the keys of an issuer must say they are for: of a SPIFFE bundle only those of JWT-SVIDs."""
    return "jwt-svid" if issuer.kind == "spiffe" else "sig"


def row_name(issuer: Issuer) -> str:
    """Under which name the catalog keeps the keys: with another URL they are another set, never the old one's."""
    assert issuer.source is not None
    return f"{issuer.name} {hashlib.sha256(issuer.source.url.encode()).hexdigest()}"


@dataclass(frozen=True, slots=True)
class KnownKeys:
    """`pending`: newer keys may be here in seconds, so that a token with an unknown one is worth another try."""

    keys: tuple[PublicKey, ...]
    pending: bool


class IssuerKeys:
    """`blocking(call, *args)` runs a catalog call on the bounded executor. `clock`: ms UTC."""

    def __init__(self, catalog: Catalog, blocking: Blocking, clock: Callable[[], int]) -> None:
        self._catalog = catalog
        self._blocking = blocking
        self._clock = clock
        self._rows: dict[str, tuple[JwksRow | None, tuple[PublicKey, ...], int]] = {}
        self._wanted: dict[str, int] = {}

    async def of(self, issuer: Issuer) -> KnownKeys:
        """Keys that count now; none when they were last fetched more than a day ago."""
        if issuer.source is None:
            return KnownKeys(issuer.keys, pending=False)
        row, keys = await self._row(issuer)
        now = self._clock()
        if row is None:
            return KnownKeys((), pending=True)
        # Fetched in the future by a clock that was wrong, they would count until it comes.
        usable = row.fetched_at != NEVER and -FETCH_GAP_MS <= now - row.fetched_at <= MAX_AGE_MS
        return KnownKeys(keys if usable else (), pending=not 0 <= now - row.tried_at < FETCH_GAP_MS)

    async def want(self, issuer: Issuer) -> None:
        """A token named a key that is not in the set. Written at most every few seconds, whatever clients send."""
        if issuer.source is None:
            return
        name, now = row_name(issuer), self._clock()
        if now - self._wanted.get(name, -CACHE_MS) < CACHE_MS:
            return
        self._wanted[name] = now
        await self._blocking(self._catalog.want_issuer_keys, name)

    def states(self, issuers: Iterable[Issuer]) -> dict[str, str]:
        """The worst of the fetched sets, for who asks how the zone is: present, late (its issuer does not answer),
        expired (its tokens are refused). Asks the catalog: not on the loop. Issuers are not named."""
        names = [row_name(issuer) for issuer in issuers if issuer.source is not None]
        ages = [self._age(self._catalog.issuer_keys(name)) for name in names]
        if not ages:
            return {}
        oldest = max(ages)
        return {"issuer-keys": "present" if oldest < LATE_MS else "late" if oldest <= MAX_AGE_MS else "expired"}

    def _age(self, row: JwksRow | None) -> int:
        return self._clock() - (NEVER if row is None else row.fetched_at)

    async def _row(self, issuer: Issuer) -> tuple[JwksRow | None, tuple[PublicKey, ...]]:
        name, now = row_name(issuer), self._clock()
        known = self._rows.get(name)
        if known is not None and known[2] > now:
            return known[0], known[1]
        row: JwksRow | None = await self._blocking(self._catalog.issuer_keys, name)
        if known is not None and known[0] is not None and row is not None and known[0].document == row.document:
            keys = known[1]
        else:
            keys = _parsed(row, issuer)
        self._rows[name] = (row, keys, now + CACHE_MS)
        return row, keys


def _parsed(row: JwksRow | None, issuer: Issuer) -> tuple[PublicKey, ...]:
    if row is None or row.fetched_at == NEVER:
        return ()
    try:
        return public_keys(json.loads(row.document), use=use_of(issuer))
    except BadKeySet:
        return ()  # parsed before it was written; rules may have become stricter since
