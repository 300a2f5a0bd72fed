"""What the zone must hold after the operations that were answered: the executable model of the crash tests.

An operation is a JSON object {"do", …}; `apply` says what it makes of the model once it is answered. An operation that
was under way when the process died may have happened or not, whole; nothing between.
"""

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Op = dict[str, Any]
ANY = ""  # the id of a version nobody was told


def content(number: int, size: int) -> bytes:
    """`size` bytes that no other number gives; CSV that a masking plan of the claims contract understands."""
    head = b"name,iban,amount\nnumber %d,DE02120300000000202051,12\n" % number
    stretch = hashlib.sha256(b"%d" % number).hexdigest().encode()
    return (head + stretch * (size // 64 + 1))[: max(size, len(head))]


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True)
class Version:
    """`pieces`: what `content` gives, one after the other; none for a delete marker."""

    version_id: str
    null: bool
    etag: str
    pieces: tuple[tuple[int, int], ...] = ()
    marker: bool = False
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def body(self) -> bytes:
        return b"".join(content(*piece) for piece in self.pieces)


@dataclass
class Dataset:
    versioning: str
    keys: dict[str, list[Version]] = field(default_factory=dict)

    def add(self, key: str, version: Version) -> None:
        """Newest last; a null version takes the place of the null version that was."""
        line = self.keys.setdefault(key, [])
        if version.null:
            line[:] = [old for old in line if not old.null]
        line.append(version)

    def latest(self, key: str) -> Version | None:
        line = self.keys.get(key)
        return line[-1] if line else None


@dataclass
class Upload:
    dataset: str
    key: str
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass
class Model:
    datasets: dict[str, Dataset] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def after(self, op: Op, answer: Mapping[str, Any]) -> "Model":
        made = copy.deepcopy(self)
        made.apply(op, answer)
        return made

    def apply(self, op: Op, answer: Mapping[str, Any]) -> None:
        getattr(self, f"_{op['do']}", lambda *_: None)(op, answer)

    def _version(self, op: Op, answer: Mapping[str, Any], pieces: Any, etag: str) -> Version:
        versioning = self.datasets[op["dataset"]].versioning
        tags = tuple(sorted(op.get("tags", {}).items()))
        return Version(
            answer.get("version_id", ANY), versioning != "enabled", etag, tuple(map(tuple, pieces)), tags=tags
        )

    def _put(self, op: Op, answer: Mapping[str, Any]) -> None:
        piece = (op["number"], op["size"])
        self.datasets[op["dataset"]].add(op["key"], self._version(op, answer, [piece], md5(content(*piece))))

    def _copy(self, op: Op, answer: Mapping[str, Any]) -> None:
        source = self.datasets[op["dataset"]].latest(op["source"])
        assert source is not None
        made = self._version(op, answer, source.pieces, source.etag)
        self.datasets[op["dataset"]].add(op["key"], Version(**{**vars_of(made), "tags": source.tags}))

    def _tag(self, op: Op, answer: Mapping[str, Any]) -> None:
        line = self.datasets[op["dataset"]].keys[op["key"]]
        line[-1] = Version(**{**vars_of(line[-1]), "tags": tuple(sorted(op["tags"].items()))})

    def _delete(self, op: Op, answer: Mapping[str, Any]) -> None:
        held = self.datasets[op["dataset"]]
        if held.versioning == "off":
            held.keys.pop(op["key"], None)
            return
        held.add(op["key"], Version(answer.get("version_id", ANY), held.versioning != "enabled", "", marker=True))

    def _delete_version(self, op: Op, answer: Mapping[str, Any]) -> None:
        line = self.datasets[op["dataset"]].keys[op["key"]]
        line[:] = [version for version in line if version.version_id != op["version_id"]]
        if not line:
            del self.datasets[op["dataset"]].keys[op["key"]]

    def _versioning(self, op: Op, answer: Mapping[str, Any]) -> None:
        self.datasets[op["dataset"]].versioning = op["state"]

    def _create_dataset(self, op: Op, answer: Mapping[str, Any]) -> None:
        self.datasets[op["dataset"]] = Dataset("off")

    def _upload(self, op: Op, answer: Mapping[str, Any]) -> None:
        self.uploads[answer.get("upload_id", ANY)] = Upload(op["dataset"], op["key"])

    def _part(self, op: Op, answer: Mapping[str, Any]) -> None:
        self.uploads[op["upload_id"]].parts[op["part"]] = (op["number"], op["size"])

    def _complete(self, op: Op, answer: Mapping[str, Any]) -> None:
        upload = self.uploads.pop(op["upload_id"])
        pieces = [piece for _, piece in sorted(upload.parts.items())]
        etag = etag_of_parts([content(*piece) for piece in pieces])
        made = self._version(op | {"dataset": upload.dataset}, answer, pieces, etag)
        self.datasets[upload.dataset].add(upload.key, made)

    def _abort(self, op: Op, answer: Mapping[str, Any]) -> None:
        self.uploads.pop(op["upload_id"])


def vars_of(version: Version) -> dict[str, Any]:
    return {name: getattr(version, name) for name in Version.__dataclass_fields__}


def etag_of_parts(bodies: list[bytes]) -> str:
    joined = b"".join(hashlib.md5(body, usedforsecurity=False).digest() for body in bodies)
    return f"{md5(joined)}-{len(bodies)}"
