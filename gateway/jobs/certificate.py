"""The erasure certificate: what was erased, which keys are gone, who ordered it, and what it does not prove.

One canonical JSON document, `{"erasure": {…}, "ledger": {"entry", "index"}}`; the ledger's `erasure` entry holds the
SHA-256 of the first member, the zone's key signs the whole. Format: docs/spec/erasure.md.
"""

import json
from dataclasses import dataclass
from typing import Any

from gateway.record import rfc3339
from vault.catalog.key_request_rows import KeyRequestRow

CACHES_MS = 60_000  # an opened key lives 30 s in a broker and 30 s more in a worker
OUTSIDE = (
    "backups that the key provider or its operator makes of its own keys",
    "plaintext that sessions read before, and what was made from it: see lineage",
    "memory, swap and core dumps of processes that had a key open",
)


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """`state` destroyed | pending; `views`: how many renderings went with the versions; `at` in ms."""

    row: KeyRequestRow
    state: str
    views: int
    at: int
    zone: str


@dataclass(frozen=True, slots=True)
class Certificate:
    document: dict[str, Any]

    @property
    def canonical(self) -> bytes:
        return _canonical(self.document)

    def with_ledger(self, entry_id: str, index: int) -> str:
        return _canonical({"erasure": self.document, "ledger": {"entry": entry_id, "index": index}}).decode()


def certificate_of(facts: CertificateFacts) -> Certificate:
    row, epochs = facts.row, dict(facts.row.result.get("epochs", {}))
    pending = [said["until"] for said in epochs.values() if said["state"] == "pending"]
    return Certificate({
        "v": 1, "zone": facts.zone, "tenant": row.tenant, "dataset": row.document["dataset"],
        "dataset_id": row.dataset_id, "versions": list(row.document["versions"]), "views": facts.views,
        "reason": row.document["reason"], "request": row.request_id, "request_sha256": row.request_sha256,
        "requested_by": row.requested_by, "approval": row.approval, "approved_by": row.approved_by,
        "state": facts.state, "pending_until": rfc3339(max(pending)) if pending else None,
        "keys": {
            "epochs": [
                {"epoch_id": name, "state": said["state"], "until": rfc3339(said["until"]) if said["until"] else None}
                for name, said in sorted(epochs.items())
            ],
            "groups": list(row.result.get("groups", [])),
        },
        "at": rfc3339(facts.at), "nothing_opens_after": rfc3339(facts.at + CACHES_MS), "outside": list(OUTSIDE),
    })  # fmt: skip


def _canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
