"""Writing through the gateway's S3 port with the SDK alone: HEAD and a streaming PUT, signed by content.

For reading use any S3 client with a session. This exists so that a pipeline needs no S3 library: one
request a file, constant memory, the payload's SHA-256 in the signature and its MD5 beside it, so what
was read from disk is what the gateway commits or nothing is.
"""

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from xml.sax.saxutils import unescape

from demesne import sigv4
from demesne._connection import Connection
from demesne.credentials import Credentials
from demesne.errors import DemesneError, Malformed, split_sentence, typed_error
from demesne.settings import Settings


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What HEAD says: size in bytes, ETag without quotes (a writer sees those of its own versions)."""

    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes to write, and their digests (hex). `chunks` starts from the beginning at each call."""

    size: int
    sha256: str
    md5: str
    chunks: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Written:
    """What the gateway committed."""

    etag: str
    decision_id: str | None


class ObjectWriter:
    """HEAD and PUT at one zone's S3 endpoint. Thread-safe; raises `demesne.errors`."""

    def __init__(
        self,
        endpoint: str,
        credentials: Credentials | Callable[[], Credentials],
        *,
        region: str,
        ca: Path | None = None,
    ) -> None:
        source = credentials if callable(credentials) else lambda: credentials
        self._connection = Connection(endpoint, source, region=region, service="s3", ca=ca)

    @classmethod
    def from_settings(cls, settings: Settings, *, zone: str | None = None, role: str = "steward") -> Self:
        """A writer at `zone` (default: the first) as `role` of the ready file."""
        chosen = settings.zone(zone)
        return cls(chosen.s3_endpoint, settings.caller(role), region=chosen.signing_region(), ca=settings.ca)

    def head(self, dataset: str, key: str) -> ObjectFacts | None:
        """Facts of the object as this principal may see it, None when there is none. Raises Refused."""
        response = self._connection.send("HEAD", _path(dataset, key), payload_sha256=sigv4.EMPTY_SHA256)
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise s3_error(response.status_code, response.headers, b"")
        try:
            return ObjectFacts(int(response.headers["content-length"]), response.headers["etag"].strip('"'))
        except (KeyError, ValueError) as error:
            raise Malformed("s3.head", "a HEAD answer without length and ETag") from error

    def put(
        self,
        dataset: str,
        key: str,
        payload: Payload,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
    ) -> Written:
        """Write the object; when this returns it is durable and visible. Never repeated by itself.

        Raises Malformed when the ETag is not the MD5 sent: then something on the way changed the bytes.
        """
        headers = {
            "content-length": str(payload.size),
            "content-md5": base64.b64encode(bytes.fromhex(payload.md5)).decode("ascii"),
            "content-type": content_type,
        } | {f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()}
        response = self._connection.send(
            "PUT", _path(dataset, key), headers=headers, content=payload.chunks, payload_sha256=payload.sha256
        )
        if response.status_code != 200:
            raise s3_error(response.status_code, response.headers, response.content)
        etag = response.headers.get("etag", "").strip('"')
        if etag != payload.md5:
            raise Malformed("s3.etag", f"wrote {key!r} with MD5 {payload.md5} and the gateway answered ETag {etag!r}")
        return Written(etag, response.headers.get("x-demesne-decision"))

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def s3_error(status: int, headers: Mapping[str, str], body: bytes) -> DemesneError:
    """S3's XML error -> typed error; rule, remedy and decision stand in the message's sentence.

    Two fields are picked out by pattern: an XML parser would bring entities for no gain.
    """
    text = body[:65536].decode("utf-8", "replace")
    code = _element(text, "Code") or f"http.{status}"
    message = _element(text, "Message") or f"the gateway answered {status}"
    said, facts = split_sentence(message)
    return typed_error(
        status,
        code,
        said,
        rule=facts.get("Rule"),
        remedy=facts.get("What to do"),
        decision_id=facts.get("Decision") or headers.get("x-demesne-decision"),
    )


def _element(text: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", text)
    return unescape(found.group(1), {"&quot;": '"', "&apos;": "'"}) if found else ""


def _path(dataset: str, key: str) -> str:
    return f"/{sigv4.encode(dataset)}/" + "/".join(sigv4.encode(part) for part in key.split("/"))
