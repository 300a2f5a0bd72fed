"""Any S3 store behind the port: streams as multipart uploads, constant memory, one request at a time.

Nothing is trusted but durability: what comes back is sealed, its length is compared with the manifest, and where
the store says it lies is an observation of strength "self-reported".
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Self

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from vault.errors import Malformed, NotFound, Unavailable, VaultError
from vault.store.s3_bucket import make_bucket, observed_location
from vault.store.store import Location, Readable, StoredObject, check_key

PART = 8 << 20
"""Bytes of one part: the memory of one writer. S3 allows 10 000 parts."""
MAX_PARTS = 10_000
WINDOW = 16 << 20
"""Most bytes one ranged request asks for ahead of a reader that goes on from where it was."""
_MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchBucket"}


def _raise(error: Exception, key: str) -> NoReturn:
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _MISSING:
            raise NotFound("store.missing", key) from error
        if code == "InvalidRange":
            raise Malformed("store.short", key) from error
        if status == 507 or code in {"QuotaExceeded", "EntityTooLarge"}:
            raise Unavailable("store.full", code) from error
        raise Unavailable("store.io", f"{key}: {code}") from error
    raise Unavailable("store.unreachable", f"{key}: {type(error).__name__}") from error


class S3Writer:
    """Small objects are one PUT at commit; from the second part on it is a multipart upload."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = check_key(key)
        self._buffer = bytearray()
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
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
        where = {"Bucket": self._bucket, "Key": self._key}
        try:
            if self._upload_id is None:
                self._client.put_object(**where, Body=bytes(self._buffer))
            else:
                if self._buffer:
                    self._send()
                self._client.complete_multipart_upload(
                    **where, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
                )
        except (ClientError, BotoCoreError) as error:
            self.abort()
            _raise(error, self._key)
        self._ended = True
        self._buffer = bytearray()
        return StoredObject(self._key, self._size)

    def abort(self) -> None:
        if self._ended:
            return
        self._ended = True
        self._buffer = bytearray()
        if self._upload_id is not None:
            with contextlib.suppress(ClientError, BotoCoreError):  # what stays behind, `clean` finds
                self._client.abort_multipart_upload(Bucket=self._bucket, Key=self._key, UploadId=self._upload_id)

    def _send(self) -> None:
        if len(self._parts) == MAX_PARTS:
            self.abort()
            raise Unavailable("store.full", f"more than {MAX_PARTS} parts of {PART} bytes")
        where = {"Bucket": self._bucket, "Key": self._key}
        try:
            if self._upload_id is None:
                self._upload_id = self._client.create_multipart_upload(**where)["UploadId"]
            number = len(self._parts) + 1
            answer = self._client.upload_part(
                **where, UploadId=self._upload_id, PartNumber=number, Body=bytes(self._buffer)
            )
        except (ClientError, BotoCoreError) as error:
            self.abort()
            _raise(error, self._key)
        self._parts.append({"PartNumber": number, "ETag": answer["ETag"]})
        self._buffer = bytearray()


class S3Reader:
    """Ranged GETs. One that goes on where the last ended is served from a request that asks ahead, twice as far each
    time; a jump asks for exactly its bytes. Every request carries If-Match: a swapped object is not read half."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self._client = client
        self._bucket = bucket
        self._key = check_key(key)
        self._body: Any = None
        self._at = 0
        self._until = 0
        self._window = 0
        try:
            head = client.head_object(Bucket=bucket, Key=key)
        except (ClientError, BotoCoreError) as error:
            _raise(error, key)
        self.size = int(head["ContentLength"])
        self._etag: str | None = head.get("ETag")

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
            if self._body is None or self._at != offset + done or self._at >= self._until:
                self._request(offset + done, len(target) - done)
            done += self._take(target[done : done + self._until - self._at])
        return done

    def close(self) -> None:
        if self._body is not None:
            body, self._body = self._body, None
            body.close()

    def _request(self, start: int, length: int) -> None:
        going_on = self._at == start and self._until > 0
        self._window = min(WINDOW, max(length, self._window * 2)) if going_on else length
        stop = min(self.size, start + max(length, self._window))
        self.close()
        condition = {} if self._etag is None else {"IfMatch": self._etag}
        try:
            answer = self._client.get_object(
                Bucket=self._bucket, Key=self._key, Range=f"bytes={start}-{stop - 1}", **condition
            )
        except (ClientError, BotoCoreError) as error:
            _raise(error, self._key)
        self._body = answer["Body"]
        # A store that answers another range than the one asked for is caught here, before a tag would say it.
        expected = f"bytes {start}-{stop - 1}/{self.size}"
        if answer.get("ContentRange") != expected or answer.get("ContentLength") != stop - start:
            self.close()
            raise Malformed("store.short", f"{self._key}: {answer.get('ContentRange')!r}, not {expected!r}")
        self._at, self._until = start, stop

    def _take(self, target: memoryview) -> int:
        done = 0
        try:
            while done < len(target):
                piece = self._body.read(len(target) - done)
                if not piece:
                    raise Malformed("store.short", f"{self._key}: ended at {self._at + done}")
                target[done : done + len(piece)] = piece
                done += len(piece)
        except BotoCoreError as error:
            self.close()
            _raise(error, self._key)
        except VaultError:
            self.close()
            raise
        self._at += done
        if self._at == self._until:
            self.close()
        return done


class S3Store:
    """One bucket. `region`: what the store is expected to be signed for; where it *is* it is asked each time."""

    def __init__(self, client: Any, bucket: str, endpoint: str | None = None, region: str = "") -> None:
        self._client = client
        self._bucket = bucket
        self._endpoint = endpoint
        self._region = region

    @classmethod
    def connect(
        cls, *, bucket: str, endpoint: str | None, region: str, access_key: str, secret_key: str,
        ca: Path | None = None, timeout: float = 10.0,
    ) -> Self:  # fmt: skip
        """Makes no request. `ca`: PEM authorities an https endpoint is checked against; None: those the client ships.

        Redirects to another region are not followed by hand-written endpoints; checksums are ours (every chunk
        carries a tag), so the client adds none that an older store would not know.
        """
        config = Config(
            signature_version="s3v4", connect_timeout=timeout, read_timeout=timeout * 3,
            retries={"mode": "standard", "total_max_attempts": 3}, max_pool_connections=64,
            s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )  # fmt: skip
        client = boto3.session.Session().client(
            "s3", endpoint_url=endpoint, region_name=region or "us-east-1", aws_access_key_id=access_key,
            aws_secret_access_key=secret_key, config=config, verify=str(ca) if ca else None,
        )  # fmt: skip
        return cls(client, bucket, endpoint, region)

    def initialise(self, vouched: str, *, wait: float = 60.0) -> None:
        """Make the bucket if it is not there; `vouched`: where it lies, for a store that gives no location itself."""
        try:
            make_bucket(self._client, self._bucket, self._region, vouched, self._endpoint, wait)
        except (ClientError, BotoCoreError) as error:
            _raise(error, self._bucket)

    def open_write(self, key: str) -> S3Writer:
        return S3Writer(self._client, self._bucket, key)

    def put_bytes(self, key: str, data: Readable) -> None:
        writer = self.open_write(key)
        writer.write(data)
        writer.commit()

    def open_read(self, key: str) -> S3Reader:
        return S3Reader(self._client, self._bucket, key)

    def read_at(self, key: str, offset: int, length: int) -> bytes:
        reader = self.open_read(key)
        try:
            return reader.read_at(offset, length)
        finally:
            reader.close()

    def size(self, key: str) -> int:
        try:
            return int(self._client.head_object(Bucket=self._bucket, Key=check_key(key))["ContentLength"])
        except (ClientError, BotoCoreError) as error:
            _raise(error, key)

    def delete(self, key: str) -> None:
        try:
            self._client.delete_object(Bucket=self._bucket, Key=check_key(key))
        except (ClientError, BotoCoreError) as error:
            with contextlib.suppress(NotFound):
                _raise(error, key)

    def list(self, prefix: str = "") -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
        try:
            for page in pages:
                yield from (each["Key"] for each in page.get("Contents", ()))
        except (ClientError, BotoCoreError) as error:
            _raise(error, prefix)

    def location(self) -> Location:
        """The bucket's own word (s3_bucket.py), asked anew each time; strength "none" where it gives none."""
        try:
            observed = observed_location(self._client, self._bucket, self._endpoint)
        except (ClientError, BotoCoreError) as error:
            _raise(error, self._bucket)
        target = f"{self._endpoint or 's3'}/{self._bucket}"
        return Location(observed, "self-reported" if observed else "none", target)

    def clean(self, before_ms: int) -> int:
        removed = 0
        try:
            pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket)
            for page in pages:
                for each in page.get("Uploads", ()):
                    if each["Initiated"].timestamp() * 1000 < before_ms:
                        self._client.abort_multipart_upload(
                            Bucket=self._bucket, Key=each["Key"], UploadId=each["UploadId"]
                        )
                        removed += 1
        except (ClientError, BotoCoreError) as error:
            _raise(error, self._bucket)
        return removed
