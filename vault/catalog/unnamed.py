"""What lies in the store under a name that no row has: noted when it is first seen, swept much later."""

import secrets
from collections.abc import Iterable

from sqlalchemy import bindparam, select

from vault.catalog.mapping import BODY
from vault.catalog.rows import BodyRow
from vault.catalog.section import Section, same
from vault.catalog.tables import body

_NAMED = select(body.c.store_key).where(same(body), body.c.store_key.in_(bindparam("names", expanding=True)))
_PAGE = 500
UNNAMED = "unnamed"


class Unnamed(Section):
    def unnamed(self, store_keys: Iterable[str]) -> list[str]:
        """Those of `store_keys` that no row names. Every writer writes its names down before the store sees them, so
        what is not named is no write under way."""
        wanted = sorted(store_keys)
        found: list[str] = []
        for at in range(0, len(wanted), _PAGE):
            page = wanted[at : at + _PAGE]
            named = {row[0] for row in self._database.rows(_NAMED, {"tenant": self.tenant, "names": page})}
            found += [name for name in page if name not in named]
        return found

    def note_unnamed(self, store_keys: Iterable[str], sweep_from: int) -> None:
        """As orphans that the sweeper takes once `sweep_from` (ms) is as long past as for any orphan."""
        with self._database.write() as connection:
            for store_key in store_keys:
                row = BodyRow(
                    self.tenant, secrets.token_hex(16), "", store_key, "orphan", UNNAMED, 0, sweep_from
                )
                self._insert(connection, BODY, row)
