"""Ledger entries as the gateway writes them. No personal data: callers and object keys are keyed hashes."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from gateway.decide.decision import Allow, Decision
from gateway.identity.principal import Principal
from vault.keys.secrets import record_hash

Entry = dict[str, Any]
MAX_RANGES = 64


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as RFC 3339 with milliseconds, UTC."""
    return f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """Every record of one second shares this; formatting it was 3 % of a read."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a decision was about, by ids. `key` is hashed before it is written."""

    action: str
    interface: str
    dataset_id: str | None = None
    dataset: str | None = None
    key: str | None = None
    version: str | None = None


class Recorder:
    """Shapes entries of one zone (docs/spec/ledger.md); writing them is the ledger client's part."""

    def __init__(self, tenant: str, zone: str, hash_key: bytes) -> None:
        self._tenant = tenant
        self._zone = zone
        self._key = hash_key
        self._principals: dict[str, str] = {}

    def principal(self, principal_id: str) -> str:
        known = self._principals.get(principal_id)
        if known is None:
            if len(self._principals) > 10_000:
                self._principals.clear()
            known = self._principals[principal_id] = record_hash(self._key, "principal", principal_id)
        return known

    def object(self, key: str) -> str:
        return record_hash(self._key, "object", key)

    def intent(
        self,
        decision: Decision,
        principal: Principal,
        subject: Subject,
        *,
        at: int,
        run: str | None,
        document: bytes,
        residency: Sequence[dict[str, str]],
        view: str,
    ) -> Entry:
        """The entry that must be durable before anything is answered. `document` is the canonical decision input."""
        allow = isinstance(decision, Allow)
        return {
            "v": 1,
            "type": "intent",
            "id": decision.decision_id,
            "at": rfc3339(at),
            "zone": self._zone,
            "tenant": self._tenant,
            "decision": {
                "id": decision.decision_id,
                "allow": allow,
                "revision": decision.revision,
                "codes": [] if isinstance(decision, Allow) else list(decision.codes),
            },
            "action": subject.action,
            "interface": subject.interface,
            "dataset_id": subject.dataset_id,
            "dataset": subject.dataset,
            "object": record_hash(self._key, "object", subject.key) if subject.key is not None else None,
            "version": subject.version,
            "view": view,
            "principal": self.principal(principal.principal_id),
            "purpose": principal.purpose,
            "session": principal.session.session_id if principal.session else None,
            "run": run,
            "input_sha256": hashlib.sha256(document).hexdigest(),
            "residency": list(residency),
        }

    def outcome(
        self, intent: str, status: str, sent: int, ranges: list[list[int]], *, at: int, reason: str | None = None
    ) -> Entry:
        """What became of an allowed read or write. More than MAX_RANGES separate ranges count as the whole."""
        return {
            **self._head("outcome", at),
            "intent": intent,
            "status": status,
            "bytes": sent,
            "ranges": ranges if len(ranges) <= MAX_RANGES else "whole",
            "reason": reason,
        }

    def commit(
        self,
        *,
        at: int,
        dataset_id: str,
        dataset: str,
        key: str,
        version: str,
        sequence: int,
        run: str | None,
        principal_id: str,
        label: str,
        placement: Sequence[str],
        size: int,
        data_format: str,
        intent: str | None,
    ) -> Entry:
        """A version became visible. Lineage's outputs are projected from these."""
        return {
            **self._head("commit", at),
            "dataset_id": dataset_id,
            "dataset": dataset,
            "object": record_hash(self._key, "object", key),
            "version": version,
            "sequence": sequence,
            "run": run,
            "principal": self.principal(principal_id),
            "label": label,
            "placement": list(placement),
            "bytes": size,
            "format": data_format,
            "intent": intent,
        }

    def event(self, kind: str, at: int, **fields: Any) -> Entry:
        """A flat entry: dataset, contract, session, integrity and the like."""
        return {**self._head(kind, at), **fields}

    def _head(self, kind: str, at: int) -> Entry:
        return {
            "v": 1,
            "type": kind,
            "id": secrets.token_hex(16),
            "at": rfc3339(at),
            "zone": self._zone,
            "tenant": self._tenant,
        }


def coalesce(ranges: list[list[int]], start: int, stop: int) -> None:
    """Add [start, stop) to a list of disjoint ranges, joining it to the last one where they touch."""
    if ranges and ranges[-1][0] <= start <= ranges[-1][1]:
        ranges[-1][1] = max(ranges[-1][1], stop)
    elif stop > start:
        ranges.append([start, stop])
