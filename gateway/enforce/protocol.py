"""Frames between builder and decoder child (docs/spec/views.md §5): length u32, type byte, payload.

Both sides read with the same limits; the builder's side treats every field as hostile.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from gateway.enforce.columns import Extents
from gateway.enforce.errors import REASONS, SandboxFailed
from gateway.enforce.limits import Limits
from gateway.enforce.rendered import Rendered

MAX_PAYLOAD = 8 << 20
MAX_READ = 4 << 20
MAX_EXTENTS = 4 << 20  # bytes of JSON; beyond, extents are given whole
HEAD = 5

HELLO, JOB, READ, SEALED, DATA, PROGRESS, END, FAILED = b"H", b"J", b"R", b"S", b"D", b"P", b"E", b"F"
_SAFE = 2**53


@dataclass(frozen=True, slots=True)
class SealedBody:
    """One body of the object: its own data key and context, and what the manifest pins (commitment as hex)."""

    key: bytes = field(repr=False)
    context: bytes
    sealed_length: int
    plain_length: int
    commitment: str


@dataclass(frozen=True, slots=True)
class SandboxJob:
    """All a child is told. `task` is view | describe; `format` parquet | csv | opaque; `effect` only for a view."""

    task: str
    format: str
    bodies: tuple[SealedBody, ...]
    effect: dict[str, Any] | None = None
    purpose_class: str | None = None
    pseudonym_key: bytes | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)

    @property
    def size(self) -> int:
        return sum(body.plain_length for body in self.bodies)


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """One frame as it goes over the pipe."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError("payload beyond the limit")
    return len(payload).to_bytes(4, "big") + kind + payload


def payload_length(head: bytes) -> tuple[bytes, int]:
    """(type, payload length) of a frame's five bytes. Raises SandboxFailed("sandbox.protocol")."""
    length = int.from_bytes(head[:4], "big")
    if len(head) != HEAD or length > MAX_PAYLOAD:
        refuse()
    return head[4:5], length


def encode_job(job: SandboxJob) -> bytes:
    """The one place where keys become text: they are on their way to the child that needs them."""
    document = {
        "task": job.task, "format": job.format, "effect": job.effect, "purpose_class": job.purpose_class,
        "pseudonym_key": job.pseudonym_key.hex() if job.pseudonym_key is not None else None,
        "limits": asdict(job.limits),
        "bodies": [
            {"key": body.key.hex(), "context": body.context.hex(), "sealed_length": body.sealed_length,
             "plain_length": body.plain_length, "commitment": body.commitment}
            for body in job.bodies
        ],
    }  # fmt: skip
    return json.dumps(document).encode()


def decode_job(payload: bytes) -> SandboxJob:
    """The child's side; the parent is trusted, so this only restores types."""
    document = json.loads(payload)
    bodies = tuple(
        SealedBody(**{**body, "key": bytes.fromhex(body["key"]), "context": bytes.fromhex(body["context"])})
        for body in document.pop("bodies")
    )
    key = document.pop("pseudonym_key")
    limits = Limits(**document.pop("limits"))
    return SandboxJob(**document, bodies=bodies, limits=limits, pseudonym_key=bytes.fromhex(key) if key else None)


def encode_end(rendered: Rendered) -> bytes:
    return json.dumps(asdict(rendered)).encode()


def decode_end(payload: bytes) -> Rendered:
    """Strict: the child may be under the control of the file it read. Raises SandboxFailed("sandbox.protocol")."""
    document = _json(payload)
    if not isinstance(document, dict) or document.keys() != {"rows", "columns", "source_columns"}:
        refuse()
    return Rendered(
        rows=_count(document["rows"]),
        columns=_extents(document["columns"]),
        source_columns=_extents(document["source_columns"]),
    )


def decode_read(payload: bytes, lengths: tuple[int, ...]) -> tuple[int, int, int]:
    """(body, offset, length) inside the bodies whose sealed lengths are `lengths`."""
    document = _json(payload)
    if not isinstance(document, list) or len(document) != 3:
        refuse()
    body, offset, length = (_count(number) for number in document)
    if body >= len(lengths) or not 0 < length <= MAX_READ or offset + length > lengths[body]:
        refuse()
    return body, offset, length


def decode_failed(payload: bytes) -> str:
    """A reason of the closed list, so that no value can be smuggled out as one."""
    reason = _json(payload)
    if not isinstance(reason, str) or reason not in REASONS:
        refuse()
    return reason


def decode_hello(payload: bytes) -> frozenset[str]:
    granted = _json(payload)
    if not isinstance(granted, list) or not all(isinstance(name, str) and len(name) < 32 for name in granted):
        refuse()
    return frozenset(granted)


def refuse() -> NoReturn:
    raise SandboxFailed("sandbox.protocol")


def _json(payload: bytes) -> Any:
    try:
        return json.loads(payload)
    except (ValueError, RecursionError):
        refuse()


def _count(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < _SAFE:
        refuse()
    return number


def _extents(document: object) -> Extents:
    if not isinstance(document, list):
        refuse()
    extents: Extents = []
    for entry in document:
        if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], str):
            refuse()
        if not isinstance(entry[1], list) or not all(isinstance(part, list) and len(part) == 3 for part in entry[1]):
            refuse()
        extents.append([entry[0], [[_count(number) for number in part] for part in entry[1]]])
    return extents
