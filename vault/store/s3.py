"""Any S3 store behind the port, through boto3."""

import contextlib
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from vault.endpoint.address import Endpoint, Network, parse_endpoint
from vault.endpoint.botocore_session import DIRECT, send_through
from vault.endpoint.dialer import Dialer, Resolve, system_resolve
from vault.errors import Malformed, NotFound, Refused, Unavailable, VaultError
from vault.store.bucket import Body, Head, Ranged, Unfinished
from vault.store.exposure import Exposure
from vault.store.remote import PART, RemoteStore
from vault.store.s3_bucket import AnonymousRead, bucket_exposure, make_bucket, observed_location
from vault.store.store import Location

__all__ = ["PART", "S3Store"]
_MISSING = {"404", "NoSuchKey", "NotFound", "NoSuchBucket", "NoSuchUpload"}
_FULL = {"QuotaExceeded", "EntityTooLarge", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
CONNECT_SECONDS, SILENCE_SECONDS = 3.0, 10.0


def failure_of(error: Exception, key: str) -> VaultError:
    """What an error of boto3 is to the port."""
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return named_failure(code, status, key)
    return Unavailable("store.unreachable", f"{key}: {type(error).__name__}")


def named_failure(code: str, status: int, key: str) -> VaultError:
    """What an S3 error code is to the port."""
    if code in _MISSING:
        return NotFound("store.missing", key)
    if code in {"InvalidRange", "416"}:
        return Malformed("store.short", key)
    if status == 507 or code in _FULL:
        return Unavailable("store.full", code)
    return Unavailable("store.io", f"{key}: {code}")


@contextlib.contextmanager
def _translated(key: str) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise failure_of(error, key) from error
    except (KeyError, ValueError, TypeError, AttributeError) as error:  # an answer without what every answer has
        raise Unavailable("store.io", f"{key}: {type(error).__name__} in the answer") from error


class _StreamedBody:
    def __init__(self, stream: Any, key: str) -> None:
        self._stream = stream
        self._key = key

    def read(self, amount: int) -> bytes:
        with _translated(self._key):
            return bytes(self._stream.read(amount))

    def close(self) -> None:
        self._stream.close()


class S3Bucket:
    """`vault.store.bucket.Bucket` over a boto3 client."""

    def __init__(self, client: Any, name: str, dialer: Dialer, endpoint: Endpoint, anonymous: AnonymousRead) -> None:
        self._client = client
        self._name = name
        self._dialer = dialer
        self._endpoint = endpoint
        self._anonymous = anonymous

    def head(self, key: str) -> Head:
        with _translated(key):
            found = self._client.head_object(Bucket=self._name, Key=key)
            return Head(int(found["ContentLength"]), found.get("ETag"))

    def get(self, key: str, start: int, stop: int, etag: str | None) -> Ranged:
        condition = {} if etag is None else {"IfMatch": etag}
        with _translated(key):
            found = self._client.get_object(
                Bucket=self._name, Key=key, Range=f"bytes={start}-{stop - 1}", **condition
            )
        body: Body = _StreamedBody(found["Body"], key)
        return Ranged(body, found.get("ContentRange"), found.get("ContentLength"), found.get("ETag"))

    def put(self, key: str, data: bytes) -> None:
        with _translated(key):
            self._client.put_object(Bucket=self._name, Key=key, Body=data)

    def begin(self, key: str) -> str:
        with _translated(key):
            return str(self._client.create_multipart_upload(Bucket=self._name, Key=key)["UploadId"])

    def part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        with _translated(key):
            answer = self._client.upload_part(
                Bucket=self._name, Key=key, UploadId=upload_id, PartNumber=number, Body=data
            )
            return str(answer["ETag"])

    def complete(self, key: str, upload_id: str, parts: list[tuple[int, str]]) -> None:
        named = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        with _translated(key):
            self._client.complete_multipart_upload(
                Bucket=self._name, Key=key, UploadId=upload_id, MultipartUpload={"Parts": named}
            )

    def abandon(self, key: str, upload_id: str) -> None:
        with _translated(key):
            self._client.abort_multipart_upload(Bucket=self._name, Key=key, UploadId=upload_id)

    def delete(self, key: str) -> None:
        with _translated(key):
            self._client.delete_object(Bucket=self._name, Key=key)

    def keys(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
        with _translated(prefix):
            for page in pages:
                yield from (each["Key"] for each in page.get("Contents", ()))
                if page.get("IsTruncated") and not page.get("NextContinuationToken"):
                    raise Unavailable("store.io", "a listing broke off: there is more, and no way to ask for it")

    def uploads(self) -> Iterator[Unfinished]:
        pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._name)
        with _translated(self._name):
            for page in pages:
                for each in page.get("Uploads", ()):
                    yield Unfinished(each["Key"], each["UploadId"], int(each["Initiated"].timestamp() * 1000))

    def location(self) -> Location:
        with _translated(self._name):
            observed = observed_location(self._client, self._name, self._endpoint)
        target = f"{self._endpoint.url}/{self._name} at {self._dialer.address}"
        return Location(observed, self._dialer.strength if observed else "none", target)

    def exposure(self) -> Exposure:
        with _translated(self._name):
            return bucket_exposure(self._client, self._name, self._endpoint, self._anonymous)

    def make(self, region: str, vouched: str, wait: float) -> None:
        with _translated(self._name):
            make_bucket(self._client, self._name, region, vouched, self._endpoint, wait)


class S3Store(RemoteStore):
    """One bucket. `region`: what the store is expected to be signed for; where it *is* it is asked each time."""

    def __init__(self, bucket: S3Bucket, region: str) -> None:
        super().__init__(bucket)
        self._made = bucket
        self._region = region

    @classmethod
    def connect(
        cls, *, bucket: str, endpoint: str | None, region: str, access_key: str, secret_key: str,
        ca: Path | None = None, networks: tuple[Network, ...] = (), pins: tuple[str, ...] = (),
        timeout: float = SILENCE_SECONDS, attempts: int = 2, resolve: Resolve = system_resolve,
    ) -> Self:  # fmt: skip
        """Makes no request. `ca`: PEM authorities an https endpoint is checked against; None: those the client ships.
        `networks`, `pins`: as `vault.endpoint.dialer.Dialer`. `timeout`: seconds of silence of a connection.

        Checksums are ours (every chunk carries a tag), so the client adds none that an older store would not know.
        Raises Refused("endpoint.url"), Refused("store.ca").
        """
        region = region or "us-east-1"
        where = parse_endpoint(endpoint or f"https://s3.{region}.amazonaws.com")
        dialer = Dialer("store", [where], networks=networks, pins=pins, resolve=resolve)
        verify = readable_authorities(ca) or True
        config = DIRECT.merge(Config(
            signature_version="s3v4", connect_timeout=CONNECT_SECONDS, read_timeout=timeout,
            retries={"mode": "standard", "total_max_attempts": attempts}, max_pool_connections=64,
            s3={"addressing_style": "path"}, request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ))  # fmt: skip

        session = boto3.session.Session()

        def client(config: Config, **credentials: Any) -> Any:
            made = session.client(
                "s3", endpoint_url=where.url, region_name=region, config=config, verify=verify, **credentials
            )
            send_through(made, dialer, verify=verify, timeout=(CONNECT_SECONDS, timeout), connections=64)
            return made

        signed = client(config, aws_access_key_id=access_key, aws_secret_access_key=secret_key)
        nobody = client(config.merge(Config(signature_version=UNSIGNED)))
        return cls(S3Bucket(signed, bucket, dialer, where, _anonymous_read(nobody, bucket)), region)

    def initialise(self, vouched: str, *, wait: float = 60.0) -> None:
        """Make the bucket if it is not there; `vouched`: where it lies, for a store that gives no location itself."""
        self._made.make(self._region, vouched, wait)


def readable_authorities(ca: Path | None) -> str | None:
    """Checked early: a file of authorities that is not one would be found at the first connection, and named badly.
    Raises Refused("store.ca")."""
    if ca is None:
        return None
    try:
        ssl.create_default_context(cafile=str(ca))
    except (OSError, ssl.SSLError) as error:
        raise Refused("store.ca", f"{ca}: {type(error).__name__}") from error
    return str(ca)


def _anonymous_read(nobody: Any, bucket: str) -> Callable[[str | None], bool]:
    def read(key: str | None) -> bool:
        """Whether somebody without any credential may list the bucket, or read the object `key` of it."""
        try:
            nobody.list_objects_v2(Bucket=bucket, MaxKeys=1)
        except ClientError:
            pass
        else:
            return True
        if key is None:
            return False
        try:
            nobody.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
        except ClientError:
            return False
        else:
            return True

    return read
