"""MinIO behind the port, through its own client library.

The library offers streams only as files that it reads from; a vault writes as bytes arrive. So single requests of the
protocol are sent by the library's own request function, which signs and parses; nothing of its retries or redirects.
"""

import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from minio import Minio
from minio.commonconfig import Tags
from minio.datatypes import Part
from minio.error import MinioException, S3Error
from urllib3.exceptions import HTTPError

from vault.endpoint.address import Endpoint, Network, parse_endpoint
from vault.endpoint.dialer import Dialer, Resolve, system_resolve
from vault.errors import NotFound, Unavailable
from vault.store.bucket import Body, Head, Ranged, Unfinished
from vault.store.exposure import Answered, Exposure, Replica, Versions, policy_is_public
from vault.store.minio_http import Direct, PacedBody, translated
from vault.store.remote import RemoteStore
from vault.store.s3 import SILENCE_SECONDS, readable_authorities
from vault.store.s3_bucket import LOCATION_TAG
from vault.store.store import Location

_NOT_OFFERED = {"NotImplemented", "MethodNotAllowed"}
_LOOK_SECONDS = 0.5


class MinioBucket:
    """`vault.store.bucket.Bucket` over the MinIO library."""

    def __init__(self, client: Minio, nobody: Minio, name: str, dialer: Dialer, endpoint: Endpoint) -> None:
        self._client = client
        self._nobody = nobody
        self._name = name
        self._dialer = dialer
        self._endpoint = endpoint

    def _send(self, method: str, key: str | None, query: dict[str, str] | None = None, **more: Any) -> Any:
        with translated(key or self._name):
            return self._client._execute(method, self._name, key, query_params=query, **more)  # noqa: SLF001

    def head(self, key: str) -> Head:
        answer = self._send("HEAD", key)
        with translated(key):
            return Head(int(answer.headers["content-length"]), answer.headers.get("etag"))

    def get(self, key: str, start: int, stop: int, etag: str | None) -> Ranged:
        headers = {"Range": f"bytes={start}-{stop - 1}"} | ({} if etag is None else {"If-Match": etag})
        answer = self._send("GET", key, headers=headers, preload_content=False)
        length = answer.headers.get("content-length", "")
        body: Body = PacedBody(answer, key)
        return Ranged(
            body, answer.headers.get("content-range"), int(length) if length.isdigit() else None,
            answer.headers.get("etag"),
        )  # fmt: skip

    def put(self, key: str, data: bytes) -> None:
        self._send("PUT", key, body=data)

    def begin(self, key: str) -> str:
        with translated(key):
            return str(self._client._create_multipart_upload(self._name, key, {}))  # noqa: SLF001

    def part(self, key: str, upload_id: str, number: int, data: bytes) -> str:
        with translated(key):
            return str(self._client._upload_part(self._name, key, data, None, upload_id, number))  # noqa: SLF001

    def complete(self, key: str, upload_id: str, parts: list[tuple[int, str]]) -> None:
        named = [Part(number, etag.strip('"')) for number, etag in parts]
        with translated(key):
            answer = self._client._complete_multipart_upload(self._name, key, upload_id, named)  # noqa: SLF001
        if not answer.etag:  # an <Error> that came with 200
            raise Unavailable("store.io", f"{key}: the parts were not put together")

    def abandon(self, key: str, upload_id: str) -> None:
        self._send("DELETE", key, {"uploadId": upload_id})

    def delete(self, key: str) -> None:
        self._send("DELETE", key)

    def keys(self, prefix: str) -> Iterator[str]:
        # The library's own listing asks for the same page for ever where "there is more" comes without a token.
        token = ""
        while True:
            query = {"list-type": "2", "prefix": prefix} | ({"continuation-token": token} if token else {})
            answer = self._send("GET", None, query)
            with translated(prefix):
                page = ET.fromstring(answer.data)  # noqa: S314
            yield from (found.text or "" for found in page.iterfind("{*}Contents/{*}Key"))
            if page.findtext("{*}IsTruncated") != "true":
                return
            if (following := page.findtext("{*}NextContinuationToken") or "") in {"", token}:
                raise Unavailable("store.io", "a listing broke off: there is more, and no way to ask for it")
            token = following

    def uploads(self) -> Iterator[Unfinished]:
        # MinIO lists the uploads of one key only, and ends unfinished ones itself after 24 hours.
        return iter(())

    def location(self) -> Location:
        text = ET.fromstring(self._send("GET", None, {"location": ""}).data).text or ""  # noqa: S314
        observed = text or self._tags().get(LOCATION_TAG, "")
        target = f"{self._endpoint.url}/{self._name} at {self._dialer.address}"
        return Location(observed, self._dialer.strength if observed else "none", target)

    def exposure(self) -> Exposure:
        unasked: list[str] = []
        replication, replicas = self._replication(unasked)
        return Exposure(replication, self._public(unasked), self._versions(unasked), replicas, tuple(unasked))

    def make(self, region: str, vouched: str, wait: float) -> None:
        """As `vault.store.s3_bucket.make_bucket`."""
        end = time.monotonic() + wait
        while True:
            try:
                self._make(region)
                if not self.location().observed:
                    with translated(self._name):
                        tags = Tags.new_bucket_tags()
                        tags.update(self._tags() | {LOCATION_TAG: vouched})
                        self._client.set_bucket_tags(self._name, tags)
            except Unavailable as error:
                if error.reason != "store.unreachable" or time.monotonic() > end:
                    raise
                time.sleep(_LOOK_SECONDS)
            else:
                return

    def _make(self, region: str) -> None:
        with translated(self._name):
            if not self._client.bucket_exists(self._name):
                self._client.make_bucket(self._name, location=region or None)

    def _tags(self) -> dict[str, str]:
        with translated(self._name):
            return dict(self._client.get_bucket_tags(self._name) or {})

    def _replication(self, unasked: list[str]) -> tuple[Answered, tuple[Replica, ...]]:
        try:
            found = self._client.get_bucket_replication(self._name)
        except S3Error as error:
            if error.code in _NOT_OFFERED:
                unasked.append("replication")
                return "no", ()
            return "unknown", ()
        except (MinioException, HTTPError, ET.ParseError, ValueError):
            return "unknown", ()
        rules = found.rules if found is not None else []
        # The destination is named by an id of this server: only the zone's directory can say where that lies.
        targets = sorted({str(rule.destination.bucket_arn) for rule in rules})
        return ("yes" if targets else "no"), tuple(Replica(target, target) for target in targets)

    def _public(self, unasked: list[str]) -> Answered:
        first = next(iter(self.keys("")), None)
        ways: list[tuple[str | None, dict[str, str]]] = [(None, {"list-type": "2", "max-keys": "1"})]
        ways += [(first, {})] if first is not None else []
        for key, query in ways:
            try:
                with translated(self._name):
                    self._nobody._execute("GET", self._name, key, query_params=query)  # noqa: SLF001
            except (NotFound, Unavailable) as error:
                if error.reason not in {"store.io", "store.missing"}:
                    raise
            else:
                return "yes"
        unasked += ["public-access-block", "acl"]
        try:
            return "yes" if policy_is_public(self._client.get_bucket_policy(self._name)) else "no"
        except S3Error as error:
            if error.code != "NoSuchBucketPolicy":
                unasked.append("policy")
            return "no"

    def _versions(self, unasked: list[str]) -> Versions:
        try:
            status = self._client.get_bucket_versioning(self._name).status
        except S3Error as error:
            if error.code in _NOT_OFFERED:
                unasked.append("versioning")
                return "not-offered"
            return "unknown"
        known: dict[str, Versions] = {"Enabled": "kept", "Suspended": "suspended", "Off": "off", "": "off"}
        return known.get(str(status or ""), "unknown")


class MinioStore(RemoteStore):
    """One bucket of a MinIO server."""

    def __init__(self, bucket: MinioBucket, region: str) -> None:
        super().__init__(bucket)
        self._made = bucket
        self._region = region

    @classmethod
    def connect(
        cls, *, bucket: str, endpoint: str | None, region: str, access_key: str, secret_key: str,
        ca: Path | None = None, networks: tuple[Network, ...] = (), pins: tuple[str, ...] = (),
        timeout: float = SILENCE_SECONDS, attempts: int = 2, resolve: Resolve = system_resolve,
    ) -> Self:  # fmt: skip
        """As `S3Store.connect`; an endpoint is needed."""
        where = parse_endpoint(endpoint or "")
        dialer = Dialer("store", [where], networks=networks, pins=pins, resolve=resolve)
        direct = Direct(dialer, readable_authorities(ca), timeout, attempts)
        host = where.url.partition("://")[2]

        def client(**credentials: str) -> Minio:
            return Minio(
                host, secure=where.scheme == "https", region=region or "us-east-1", http_client=direct, **credentials
            )

        signed = client(access_key=access_key, secret_key=secret_key)
        return cls(MinioBucket(signed, client(), bucket, dialer, where), region)

    def initialise(self, vouched: str, *, wait: float = 60.0) -> None:
        """As `S3Store.initialise`."""
        self._made.make(self._region, vouched, wait)
