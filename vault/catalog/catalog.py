"""The front door of one zone's catalog. Synchronous, thread-safe; each write is one transaction.

    database = Database(sqlite_url(path)); database.upgrade()
    catalog = Catalog(database, RowSeal(mac_key), clock, tenant="main")

A catalog serves one tenant; `for_tenant` gives that of another over the same database. All calls raise
Unavailable("catalog.…") when the engine does not answer, Refused("catalog.row-edited") for a row whose MAC
does not hold.
"""

from typing import Self

from vault.catalog.durability import Durability
from vault.catalog.erasing import Erasing
from vault.catalog.history import History
from vault.catalog.issuer_key_sets import IssuerKeySets
from vault.catalog.kbs import KbsClients
from vault.catalog.key_requests import KeyRequests
from vault.catalog.keys import Keys
from vault.catalog.listing import Listing
from vault.catalog.outlets import Outlets
from vault.catalog.principals import Principals
from vault.catalog.revocations import RevocationRows
from vault.catalog.runs import Runs
from vault.catalog.sessions import Sessions
from vault.catalog.tpm_keys import TpmKeys
from vault.catalog.uploads import Uploads
from vault.catalog.views import Views
from vault.catalog.zones import Zones


class Catalog(
    Views, Uploads, Listing, History, Sessions, Runs, Principals, Keys, KeyRequests, Zones, Outlets, Durability,
    Erasing, IssuerKeySets, TpmKeys, RevocationRows, KbsClients,
):
    """See the sections, one file each, for the calls."""

    def for_tenant(self, tenant: str) -> Self:
        return type(self)(self._database, self._seal, self._clock, tenant)

    def derived_key(self) -> bytes:
        """What the keys of records in the store are made from: the rows' own key."""
        return self._seal.key

    def close(self) -> None:
        self._database.close()
