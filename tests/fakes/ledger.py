"""A live ledger in memory: real canonical entries, real leaves, real signed promises, no disk, no socket.

`fault` is called as fault(when, entry) with when = "before" (nothing recorded yet) and "after" (recorded, the
answer lost); raising Unavailable there is how a test makes the ledger fail on either side of the effect.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from lineage.errors import Unavailable
from lineage.ledger.entry import check_entry, encode_entry, leaf_hash
from lineage.ledger.promise import Promise, signed_bytes

Fault = Callable[[str, Mapping[str, Any]], None]


def no_fault(when: str, entry: Mapping[str, Any]) -> None:
    """The ledger works."""


def ledger_down(when: str, entry: Mapping[str, Any]) -> None:
    """Nothing can be recorded."""
    if when == "before":
        raise Unavailable("ledger.connect", "fake: down")


def answer_lost(when: str, entry: Mapping[str, Any]) -> None:
    """The entry is recorded and the caller never learns it."""
    if when == "after":
        raise Unavailable("ledger.timeout", "fake: answer lost")


class FakeLedger:
    """Satisfies lineage.ledger.client.Ledger; `sign` as ZoneSigner.sign (64 bytes). Entries in `entries`."""

    def __init__(self, zone: str, sign: Callable[[bytes], bytes], *, now_ms: Callable[[], int] | None = None) -> None:
        self.zone = zone
        self.fault: Fault = no_fault
        self.entries: list[dict[str, Any]] = []
        self.encoded: list[bytes] = []
        self.sealed: dict[str, bytes] = {}
        self._sign = sign
        self._now = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._index = itertools.count()

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.entries if entry["type"] == kind]

    async def append(self, entry: Mapping[str, Any], sealed: bytes = b"") -> Promise:
        return self.record(entry, sealed)

    def append_later(self, entry: Mapping[str, Any]) -> None:
        self.record(entry)

    async def drain(self) -> None:
        """Nothing is ever waiting here."""

    async def close(self) -> None:
        """Nothing to close."""

    def record(self, entry: Mapping[str, Any], sealed: bytes = b"") -> Promise:
        encoded = encode_entry(entry)
        check_entry(entry)
        self.fault("before", entry)
        index, at, leaf = next(self._index), self._now(), leaf_hash(encoded).hex()
        self.entries.append(dict(entry))
        self.encoded.append(encoded)
        if sealed:
            self.sealed[entry["id"]] = sealed
        self.fault("after", entry)
        return Promise(self.zone, index, leaf, at, self._sign(signed_bytes(self.zone, index, leaf, at)))


class SyncFakeLedger:
    """The blocking face of the same fake."""

    def __init__(self, ledger: FakeLedger) -> None:
        self.ledger = ledger

    def append(self, entry: Mapping[str, Any], sealed: bytes = b"") -> Promise:
        return self.ledger.record(entry, sealed)

    def close(self) -> None:
        """Nothing to close."""
