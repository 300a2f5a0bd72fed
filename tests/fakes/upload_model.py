"""A multipart upload in memory: parts that replace each other, and what completing them makes."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.errors import BadRequest, NotFound
from gateway.identity.checksums import new_checksum, spell_checksum
from gateway.s3.ports import NO_CHECKSUMS, Checksums, CompletedPart, StoredPart, Written
from vault.ref import ObjectRef

MIN_PART = 5 << 20


@dataclass(frozen=True)
class Part:
    body: bytes
    etag: str
    checksums: Mapping[str, str]
    last_modified: int


@dataclass
class Upload:
    ref: ObjectRef
    content_type: str
    user_metadata: dict[str, str]
    initiated: int
    tags: dict[str, str] = field(default_factory=dict)
    checksum_algorithm: str = ""
    checksum_type: str = ""
    parts: dict[int, Part] = field(default_factory=dict)
    answer: tuple[list[tuple[int, str]], Written] | None = None

    def check_part(self, checksums: Checksums) -> None:
        """A part of an upload that names an algorithm brings that checksum, or S3 refuses it."""
        if self.checksum_algorithm and self.checksum_algorithm not in checksums.values:
            raise BadRequest(
                "InvalidRequest", f"checksum type mismatch: the upload was created with {self.checksum_algorithm}"
            )

    def put_part(self, number: int, body: bytes, checksums: Mapping[str, str], now: int) -> str:
        if self.answer is not None:
            raise NotFound("NoSuchUpload", "the specified upload does not exist")
        etag = hashlib.md5(body, usedforsecurity=False).hexdigest()
        self.parts[number] = Part(body, etag, dict(checksums), now)
        return etag

    def repeated(self, parts: Sequence[CompletedPart]) -> Written | None:
        """The answer of an earlier completion with the same parts."""
        if self.answer is None:
            return None
        if self.answer[0] != [(part.number, part.etag) for part in parts]:
            raise NotFound("NoSuchUpload", "the specified upload does not exist")
        return self.answer[1]

    def close(self, parts: Sequence[CompletedPart], written: Written) -> None:
        self.answer = ([(part.number, part.etag) for part in parts], written)
        self.parts.clear()

    def assemble(
        self, parts: Sequence[CompletedPart], stated: Checksums, size: int | None
    ) -> tuple[bytes, str, tuple[StoredPart, ...], Checksums]:
        """Body, ETag, parts and checksums of the whole. Raises BadRequest; changes nothing."""
        chosen = [(part.number, self._part(part)) for part in parts]
        if any(len(part.body) < MIN_PART for _, part in chosen[:-1]):
            raise BadRequest("EntityTooSmall", "your proposed upload is smaller than the minimum allowed size")
        body = b"".join(part.body for _, part in chosen)
        if size is not None and size != len(body):
            raise BadRequest("InvalidRequest", "x-amz-mp-object-size is not the size of the object")
        digests = b"".join(hashlib.md5(part.body, usedforsecurity=False).digest() for _, part in chosen)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(chosen)}"
        found = self._whole(body, [part for _, part in chosen])
        for name, value in stated.values.items():
            if found.values.get(name) != value:
                raise BadRequest("BadDigest", f"the {name.upper()} you specified did not match the object")
        if stated.type and found.type and stated.type != found.type:
            raise BadRequest("InvalidRequest", f"the upload was created with checksum type {found.type}")
        return body, etag, tuple(StoredPart(n, len(p.body), p.checksums) for n, p in chosen), found

    def _part(self, wanted: CompletedPart) -> Part:
        part = self.parts.get(wanted.number)
        if part is None or part.etag != wanted.etag:
            raise BadRequest("InvalidPart", "one or more of the specified parts could not be found")
        for name, value in wanted.checksums.items():
            if part.checksums.get(name, value) != value:
                raise BadRequest("InvalidPart", "the checksum of a part is not the one it was uploaded with")
        return part

    def _whole(self, body: bytes, parts: Sequence[Part]) -> Checksums:
        name = self.checksum_algorithm
        if not name:
            return NO_CHECKSUMS
        running = new_checksum(name)
        if self.checksum_type == "FULL_OBJECT":
            running.update(body)
            return Checksums({name: spell_checksum(running.digest())}, "FULL_OBJECT")
        for part in parts:
            running.update(base64.b64decode(part.checksums[name]))
        return Checksums({name: f"{spell_checksum(running.digest())}-{len(parts)}"}, "COMPOSITE")
