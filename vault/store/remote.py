"""What drivers of bucket stores share: streams as multipart uploads, constant memory, one request at a time.

Nothing is trusted but durability: what comes back is sealed, its length is compared with the manifest, and every
answer is held to the range, version and length that were asked for.
"""

from collections.abc import Iterator

from vault.errors import Malformed, NotFound, Unavailable, VaultError
from vault.store.bucket import Body, Bucket
from vault.store.exposure import Exposure
from vault.store.store import Location, Readable, StoredObject, check_key

PART = 8 << 20
"""Bytes of one part: the memory of one writer. S3 allows 10 000 parts."""
MAX_PARTS = 10_000
WINDOW = 16 << 20
"""Most bytes one ranged request asks for ahead of a reader that goes on from where it was."""


class RemoteWriter:
    """Small objects are one PUT at commit; from the second part on it is a multipart upload."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = check_key(key)
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[tuple[int, str]] = []
        self._size = 0
        self._ended = False

    def write(self, data: Readable) -> None:
        view = memoryview(data).cast("B")
        self._size += len(view)
        while view:
            room = PART - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]
            if len(self._buffer) == PART:
                self._send()

    def commit(self) -> StoredObject:
        if self._ended:
            raise Unavailable("store.io", "this write was ended before")
        try:
            if self._upload_id is None:
                self._bucket.put(self._key, bytes(self._buffer))
            else:
                if self._buffer:
                    self._send()
                self._bucket.complete(self._key, self._upload_id, self._parts)
                # A store that lost or doubled a part says so here, while the client can still be told.
                if (size := self._bucket.head(self._key).size) != self._size:
                    raise Unavailable("store.io", f"{self._key}: {self._size} bytes were sent, it has {size}")
        except VaultError as error:
            self.abort()
            raise _write_failed(error) from error
        self._ended = True
        self._buffer = bytearray()
        return StoredObject(self._key, self._size)

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._buffer = bytearray()
        if self._upload_id is not None:
            try:
                self._bucket.abandon(self._key, self._upload_id)
            except VaultError:
                return  # what stays behind, `clean` finds

    def _send(self) -> None:
        if len(self._parts) == MAX_PARTS:
            self.abort()
            raise Unavailable("store.full", f"more than {MAX_PARTS} parts of {PART} bytes")
        try:
            if self._upload_id is None:
                self._upload_id = self._bucket.begin(self._key)
            number = len(self._parts) + 1
            etag = self._bucket.part(self._key, self._upload_id, number, bytes(self._buffer))
        except VaultError as error:
            self.abort()
            raise _write_failed(error) from error
        self._parts.append((number, etag))
        self._buffer = bytearray()


def _write_failed(error: VaultError) -> VaultError:
    # "No such upload" after a lost answer is no object that is missing: it is not known whether this one is there.
    return Unavailable("store.io", str(error)) if isinstance(error, NotFound) else error


class RemoteReader:
    """Ranged GETs. One that goes on where the last ended is served from a request that asks ahead, twice as far each
    time; a jump asks for exactly its bytes. Every request carries If-Match: a swapped object is not read half."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = check_key(key)
        self._body: Body | None = None
        self._at = 0
        self._until = 0
        self._window = 0
        head = bucket.head(key)
        self.size = head.size
        self._etag = head.etag

    def read_at(self, offset: int, length: int) -> bytes:
        buffer = bytearray(length)
        self.read_into(offset, memoryview(buffer))
        return bytes(buffer)

    def read_into(self, offset: int, target: memoryview) -> int:
        if not len(target):
            return 0
        if offset + len(target) > self.size:
            raise Malformed("store.short", f"{self._key}: {self.size} bytes, not {offset + len(target)}")
        done = 0
        while done < len(target):
            body = self._body
            if body is None or self._at != offset + done or self._at >= self._until:
                body = self._request(offset + done, len(target) - done)
            done += self._take(body, target[done : done + self._until - self._at])
        return done

    def close(self) -> None:
        if self._body is not None:
            body, self._body = self._body, None
            body.close()

    def _request(self, start: int, length: int) -> Body:
        going_on = self._at == start and self._until > 0
        self._window = min(WINDOW, max(length, self._window * 2)) if going_on else length
        stop = min(self.size, start + max(length, self._window))
        self.close()
        answer = self._bucket.get(self._key, start, stop, self._etag)
        # A store that answers another range or version than was asked for is caught here, before a tag would say it.
        expected = f"bytes {start}-{stop - 1}/{self.size}"
        if answer.content_range != expected or answer.length != stop - start:
            answer.body.close()
            raise Malformed("store.short", f"{self._key}: {answer.content_range!r}, not {expected!r}")
        if answer.etag != self._etag:
            answer.body.close()
            raise Malformed("store.version", f"{self._key}: not the version that was opened")
        self._body = answer.body
        self._at, self._until = start, stop
        return answer.body

    def _take(self, body: Body, target: memoryview) -> int:
        done = 0
        try:
            while done < len(target):
                piece = body.read(len(target) - done)
                if not piece:
                    raise Malformed("store.short", f"{self._key}: ended at {self._at + done}")
                target[done : done + len(piece)] = piece
                done += len(piece)
        except VaultError:
            self.close()
            raise
        self._at += done
        if self._at == self._until:
            self.close()
        return done


class RemoteStore:
    """The port over one bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def open_write(self, key: str) -> RemoteWriter:
        return RemoteWriter(self._bucket, key)

    def put_bytes(self, key: str, data: Readable) -> None:
        writer = self.open_write(key)
        writer.write(data)
        writer.commit()

    def open_read(self, key: str) -> RemoteReader:
        return RemoteReader(self._bucket, check_key(key))

    def read_at(self, key: str, offset: int, length: int) -> bytes:
        reader = self.open_read(key)
        try:
            return reader.read_at(offset, length)
        finally:
            reader.close()

    def size(self, key: str) -> int:
        return self._bucket.head(check_key(key)).size

    def delete(self, key: str) -> None:
        try:
            self._bucket.delete(check_key(key))
        except NotFound:
            return

    def list(self, prefix: str = "") -> Iterator[str]:
        return self._bucket.keys(prefix)

    def location(self) -> Location:
        """The bucket's own word, asked anew each time; strength "none" where it gives none."""
        return self._bucket.location()

    def exposure(self) -> Exposure:
        return self._bucket.exposure()

    def clean(self, before_ms: int) -> int:
        removed = 0
        for each in self._bucket.uploads():
            if each.begun_ms < before_ms:
                self._bucket.abandon(each.key, each.upload_id)
                removed += 1
        return removed
