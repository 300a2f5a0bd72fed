"""What a sealed thing is bound to: one canonical byte string per purpose.

A context is not secret and not stored with the bytes: the reader builds it from what it asked for, so bytes
moved to another tenant, zone, dataset, body or part do not open there. Every field carries its length
(a delimiter could be forged by a name that contains it); labels keep one purpose from posing as another.
Source: `docs/spec/sealed-object.md` §3.
"""

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from vault.envelope.suite import SUITE
from vault.errors import Malformed

KeyClass = Literal["raw", "view"]

_HEX_ID = re.compile(r"[0-9a-f]{32}")
_MAX_FIELD = 255
MAX_PART = 10_000


def check_id(value: str, field: str) -> str:
    """`value` if it is 32 lowercase hex digits, else Malformed "context"."""
    if not _HEX_ID.fullmatch(value):
        raise Malformed("context", f"{field} is not 32 lowercase hex digits")
    return value


def check_name(value: str, field: str) -> str:
    """`value` if it is 1 to 255 bytes of UTF-8, else Malformed "context"."""
    try:
        length = len(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise Malformed("context", f"{field} is not UTF-8") from error
    if not 1 <= length <= _MAX_FIELD:
        raise Malformed("context", f"{field} is {length} bytes, not 1 to {_MAX_FIELD}")
    return value


def check_key_class(value: str) -> KeyClass:
    """`value` if it is one of the two key classes, else Malformed "context"."""
    if value not in get_args(KeyClass):
        raise Malformed("context", "unknown key class")
    return cast("KeyClass", value)


def prefixed(value: str | bytes) -> bytes:
    """u32 big-endian byte length, then the bytes (UTF-8 for text)."""
    raw = value.encode("utf-8") if isinstance(value, str) else value
    return len(raw).to_bytes(4, "big") + raw


def _encode(label: bytes, *fields: str | bytes) -> bytes:
    return label + b"".join(prefixed(field) for field in fields)


@dataclass(frozen=True, slots=True)
class BodyContext:
    """The place of one body. `part` is 0 for an object in one piece, else the S3 part number (1 to 10,000)."""

    tenant: str
    zone: str
    dataset_id: str
    body_id: str
    part: int

    def encode(self) -> bytes:
        """Canonical bytes. Raises Malformed "context" for a field outside its form."""
        if not 0 <= self.part <= MAX_PART:
            raise Malformed("context", f"part {self.part} is not 0 to {MAX_PART}")
        return _encode(
            b"demesne/body/1",
            SUITE,
            check_name(self.tenant, "tenant"),
            check_name(self.zone, "zone"),
            check_id(self.dataset_id, "dataset_id"),
            check_id(self.body_id, "body_id"),
            self.part.to_bytes(4, "big"),
        )


@dataclass(frozen=True, slots=True)
class ManifestContext:
    """The place of one manifest's sealed part: everything its cleartext header line says, by hash."""

    header_sha256: bytes

    def encode(self) -> bytes:
        """Canonical bytes. Raises Malformed "context" for anything but a 32-byte hash."""
        if len(self.header_sha256) != 32:
            raise Malformed("context", "not a SHA-256")
        return _encode(b"demesne/manifest/1", SUITE, self.header_sha256)


@dataclass(frozen=True, slots=True)
class KeyContext:
    """The place of one wrapped object key: `subject` is the version id or view id whose manifest holds it."""

    tenant: str
    zone: str
    dataset_id: str
    key_class: str
    group_id: str
    subject: str

    def encode(self) -> bytes:
        """Canonical bytes. Raises Malformed "context" for a field outside its form."""
        return _encode(
            b"demesne/key/1",
            SUITE,
            check_name(self.tenant, "tenant"),
            check_name(self.zone, "zone"),
            check_id(self.dataset_id, "dataset_id"),
            check_key_class(self.key_class),
            check_id(self.group_id, "group_id"),
            check_name(self.subject, "subject"),
        )


@dataclass(frozen=True, slots=True)
class GroupContext:
    """The place of one wrapped group key under the epoch key that the provider calls `epoch_id`."""

    tenant: str
    zone: str
    dataset_id: str
    key_class: str
    group_id: str
    epoch_id: str

    def encode(self) -> bytes:
        """Canonical bytes. Raises Malformed "context" for a field outside its form."""
        return _encode(
            b"demesne/group/1",
            SUITE,
            check_name(self.tenant, "tenant"),
            check_name(self.zone, "zone"),
            check_id(self.dataset_id, "dataset_id"),
            check_key_class(self.key_class),
            check_id(self.group_id, "group_id"),
            check_name(self.epoch_id, "epoch_id"),
        )
