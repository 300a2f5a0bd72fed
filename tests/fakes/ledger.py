"""A live ledger in memory: real canonical entries, real leaves, real signed promises, no disk, no socket.

`fault` is called as fault(when, entry) with when = "before" (nothing recorded yet) and "after" (recorded, the
answer lost); raising Unavailable there is how a test makes the ledger fail on either side of the effect.
"""

import itertools
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lineage.errors import Unavailable
from lineage.ledger.entry import encode_entry, leaf_hash
from lineage.ledger.promise import Promise, signed_bytes
from lineage.ledger.shapes import check_entry

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


class LedgerKey:
    """A real Ed25519 key, with the two callables the ledger takes by injection."""

    def __init__(self, seed: bytes | None = None) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed) if seed else Ed25519PrivateKey.generate()
        self.public_key = self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def verify_ed25519(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Raises cryptography's InvalidSignature."""
    Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)


def entry_id(number: int) -> str:
    """A distinct 32-hex id for a number."""
    return sha256(number.to_bytes(8, "big")).hexdigest()[:32]


def intent(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A well-formed intent entry, changed as asked."""
    name = changes.get("id", entry_id(number))
    entry: dict[str, Any] = {
        "v": 1, "type": "intent", "id": name, "at": "2026-11-21T21:00:00.000Z", "zone": "de", "tenant": "acme",
        "decision": {"id": name, "allow": True, "revision": "b" * 64, "codes": []},
        "action": "read", "interface": "s3", "dataset_id": "c" * 32, "dataset": "claims", "object": "d" * 64,
        "version": "e" * 32, "view": "raw", "principal": "f" * 64, "purpose": "claims-risk-model", "session": "1" * 32,
        "run": "2" * 32, "input_sha256": "3" * 64,
        "residency": [{"what": "store", "observed": "de", "strength": "self-reported"}],
    }  # fmt: skip
    return entry | changes


def outcome(of: str, number: int = 1_000_000, **changes: Any) -> dict[str, Any]:
    """A well-formed outcome of the intent `of`."""
    entry: dict[str, Any] = {
        "v": 1, "type": "outcome", "id": entry_id(number), "at": "2026-11-21T21:00:01.000Z", "zone": "de",
        "tenant": "acme", "intent": of, "status": "complete", "bytes": 10, "ranges": "whole", "reason": None,
    }  # fmt: skip
    return entry | changes


def commit(number: int = 2_000_000, **changes: Any) -> dict[str, Any]:
    """A well-formed commit of version "e"*32 of dataset claims."""
    entry: dict[str, Any] = {
        "v": 1, "type": "commit", "id": entry_id(number), "at": "2026-11-21T20:00:00.000Z", "zone": "de",
        "tenant": "acme", "dataset_id": "c" * 32, "dataset": "claims", "object": "d" * 64, "version": "e" * 32,
        "sequence": 1, "run": "9" * 32, "principal": "f" * 64, "label": "personal", "placement": ["de"], "bytes": 10,
        "format": "parquet", "intent": None,
    }  # fmt: skip
    return entry | changes


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
