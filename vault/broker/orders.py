"""An order about keys: what exactly is asked, in one canonical form whose hash requester and approver both name.

    {"v": 1, "action", "tenant", "zone", "dataset_id", "dataset", "key_class", "epochs", "versions", "reason", "nonce",
     "expires_at"}

All members, always: a default that two programs read differently would be an order that nobody gave.
Format: docs/spec/keys.md §8.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from vault.errors import Malformed

ROTATE, REWRAP, DISABLE, ENABLE, DESTROY, SHRED = "rotate", "rewrap", "disable", "enable", "destroy", "shred"
ACTIONS = frozenset({ROTATE, REWRAP, DISABLE, ENABLE, DESTROY, SHRED})
TWO_PERSONS = frozenset({DESTROY, SHRED})
MAX_VERSIONS = 1000  # an order travels in one 64 KiB message
MAX_EPOCHS = 64
MAX_LIFE_MS = 7 * 86_400_000
_HEX32 = re.compile(r"[0-9a-f]{32}")
_EPOCH = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_MEMBERS = frozenset(
    {
        "v", "action", "tenant", "zone", "dataset_id", "dataset", "key_class", "epochs", "versions", "reason", "nonce",
        "expires_at",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Order:
    """A well-formed order. `key_class` is None for a shredding (both may be touched)."""

    action: str
    tenant: str
    zone: str
    dataset_id: str
    dataset: str
    key_class: str | None
    epochs: tuple[str, ...]
    versions: tuple[str, ...]
    reason: str
    nonce: str
    expires_at: int
    document: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        return order_sha256(self.document)


def order_sha256(document: Mapping[str, Any]) -> str:
    """SHA-256("demesne/key-request/1" NUL JCS(document)) in hex: what an approval is bound to."""
    try:
        message = rfc8785.dumps(dict(document))
    except rfc8785.CanonicalizationError as error:
        raise Malformed("key.order", "not canonical JSON") from error
    return hashlib.sha256(b"demesne/key-request/1\x00" + message).hexdigest()


def parse_order(document: Mapping[str, Any]) -> Order:
    """`Malformed("key.order")` for anything outside the schema, or that its action does not take."""
    _need(set(document) == _MEMBERS and document["v"] == 1 and type(document["v"]) is int, "members")
    for name in ("action", "tenant", "zone", "dataset_id", "dataset", "reason", "nonce"):
        _need(isinstance(document[name], str) and 0 < len(document[name]) <= 500, name)
    _need(document["action"] in ACTIONS, "action")
    _need(_HEX32.fullmatch(document["dataset_id"]) is not None, "dataset_id")
    _need(_HEX32.fullmatch(document["nonce"]) is not None, "nonce")
    _need(type(document["expires_at"]) is int and 0 < document["expires_at"] < 1 << 53, "expires_at")
    epochs = _ids(document["epochs"], _EPOCH, MAX_EPOCHS, "epochs")
    versions = _ids(document["versions"], _HEX32, MAX_VERSIONS, "versions")
    action, key_class = document["action"], document["key_class"]
    _need(key_class in {"raw", "view"} if action != SHRED else key_class is None, "key_class")
    _need(bool(epochs) == (action in {DISABLE, ENABLE, DESTROY}), "epochs")
    _need(bool(versions) == (action == SHRED), "versions")
    return Order(
        action, document["tenant"], document["zone"], document["dataset_id"], document["dataset"], key_class, epochs,
        versions, document["reason"], document["nonce"], document["expires_at"], dict(document),
    )  # fmt: skip


def _ids(value: object, pattern: re.Pattern[str], limit: int, what: str) -> tuple[str, ...]:
    _need(isinstance(value, list) and len(value) <= limit, what)
    found: list[str] = value  # type: ignore[assignment]
    _need(all(isinstance(each, str) and pattern.fullmatch(each) for each in found), what)
    _need(found == sorted(set(found)), f"{what}: sorted, none twice")
    return tuple(found)


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise Malformed("key.order", what)
