"""A MAC over each catalog row whose silent edit would change a decision or what is served.

The row's `record` column, the ledger entry that authorised it, is under the MAC: a forged row would need
the catalog key, and a genuine one names the entry an auditor can find. The MAC does not stop someone who
puts back an *older genuine* row, or removes one: the ledger's commit entries do (sequence numbers).

Not under the MAC, each for a reason:
    dataset.sequence    rises with each commit; the snapshot rows say the same again
    view.progress       shown to people, decides nothing
    jwks.tried_at, jwks.wanted_at   when the keys are fetched again; which keys they are is under it
"""

import hmac
import json
from collections.abc import Mapping
from typing import Any

from vault.errors import Refused

LABEL = "demesne/catalog-row/1"
VOLATILE: Mapping[str, frozenset[str]] = {
    "dataset": frozenset({"sequence"}),
    "view": frozenset({"progress"}),
    "jwks": frozenset({"tried_at", "wanted_at"}),
}
_NONE: frozenset[str] = frozenset()


def _hex(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    raise TypeError(f"no canonical form for {type(value).__name__}")


_encoder = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), default=_hex, allow_nan=False)


class RowSeal:
    """HMAC-SHA256 over `[label, table, {column: value}]` in canonical JSON; bytes as hex, volatile columns left out."""

    def __init__(self, mac_key: bytes) -> None:
        if len(mac_key) < 32:
            raise Refused("catalog.mac-key", "at least 32 bytes")
        self._key = mac_key

    @property
    def key(self) -> bytes:
        """For what is derived from it (`vault.records`)."""
        return self._key

    def seal(self, table: str, row: Mapping[str, Any]) -> bytes:
        """`row`: stored values by column name (a `row_mac` in it is ignored)."""
        volatile = VOLATILE.get(table, _NONE)
        covered = {name: value for name, value in row.items() if name != "row_mac" and name not in volatile}
        message = _encoder.encode([LABEL, table, covered]).encode("utf-8", "surrogatepass")
        return hmac.digest(self._key, message, "sha256")

    def check(self, table: str, row: Mapping[str, Any], mac: bytes) -> None:
        """Raise Refused("catalog.row-edited") unless `mac` is this row's: a relabelled row is refused, not obeyed."""
        if not hmac.compare_digest(self.seal(table, row), mac):
            raise Refused("catalog.row-edited", table)
