"""An S3 server on loopback that really keeps objects, and lies where told.

    server.bend = lambda asked, answer: …      the answer to give in place of the true one; the effect has happened
    server.refuse = lambda asked: Answer | None   answered before anything happens

It checks no signatures: a request without an Authorization header counts as anonymous, and is refused unless `public`.
"""

import hashlib
import itertools
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

BUCKET = "sealed"


@dataclass(frozen=True)
class Asked:
    method: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def what(self) -> str:
        """GET, PUT, HEAD, DELETE of an object; list; or the operation of a sub-resource: `POST uploads`, `GET acl`."""
        for name in ("uploads", "uploadId", "location", "versioning", "replication", "policyStatus", "policy", "acl",
                     "publicAccessBlock", "tagging", "list-type"):  # fmt: skip
            if name in self.query:
                return f"{self.method} {name}"
        return f"{self.method} {'object' if self.key else 'bucket'}"


@dataclass(frozen=True)
class Answer:
    """`cut`: of the body only so many bytes are sent, then the connection ends. `drop`: it ends without an answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    drop: bool = False

    def but(self, **changes: Any) -> "Answer":
        return replace(self, **changes)


def error(status: int, code: str, more: str = "", **headers: str) -> Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message>{more}</Error>".encode()
    return Answer(status, {"content-type": "application/xml", **headers}, body)


def xml(text: str) -> Answer:
    return Answer(200, {"content-type": "application/xml"}, f"<?xml version='1.0'?>{text}".encode())


class LyingS3:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.bend: Callable[[Asked, Answer], Answer] = lambda _asked, answer: answer
        self.refuse: Callable[[Asked], Answer | None] = lambda _asked: None
        self.settings: dict[str, Answer] = {}
        self.region = "eu-central-1"
        self.public = False
        self.asked: list[Asked] = []
        self.port = 0
        self.scheme = "http"
        self._names = itertools.count()

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def honest(self) -> None:
        self.bend = lambda _asked, answer: answer
        self.refuse = lambda _asked: None

    def answer(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        refused = self.refuse(asked)
        if refused is not None:
            return refused
        if "authorization" not in asked.headers and not self.public:
            return error(403, "AccessDenied")
        return self.bend(asked, self._true(asked))

    def _true(self, asked: Asked) -> Answer:
        what = asked.what
        if what in self.settings:
            return self.settings[what]
        made: dict[str, Callable[[Asked], Answer]] = {
            "GET object": self._get, "HEAD object": self._get, "PUT object": self._put, "DELETE object": self._delete,
            "POST uploads": self._begin, "PUT uploadId": self._part, "POST uploadId": self._complete,
            "DELETE uploadId": self._abandon, "GET list-type": self._list, "GET uploads": self._uploads,
            "GET location": lambda _: xml(f"<LocationConstraint>{self.region}</LocationConstraint>"),
            "GET versioning": lambda _: xml("<VersioningConfiguration/>"),
            "GET replication": lambda _: error(404, "ReplicationConfigurationNotFoundError"),
            "GET policy": lambda _: error(404, "NoSuchBucketPolicy"),
            "GET policyStatus": lambda _: error(404, "NoSuchBucketPolicy"),
            "GET publicAccessBlock": lambda _: error(404, "NoSuchPublicAccessBlockConfiguration"),
            "GET acl": lambda _: xml("<AccessControlPolicy><AccessControlList/></AccessControlPolicy>"),
        }  # fmt: skip
        return made[what](asked) if what in made else error(501, "NotImplemented")

    def _get(self, asked: Asked) -> Answer:
        data = self.objects.get(asked.key)
        if data is None:
            return error(404, "NoSuchKey")
        etag = etag_of(data)
        if asked.headers.get("if-match", etag) != etag:
            return error(412, "PreconditionFailed")
        headers = {"etag": etag, "accept-ranges": "bytes"}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", asked.headers.get("range", ""))
        if wanted is None:
            return Answer(200, headers, data)
        start, stop = int(wanted[1]), min(int(wanted[2]) + 1, len(data))
        if start >= len(data):
            return error(416, "InvalidRange")
        headers["content-range"] = f"bytes {start}-{stop - 1}/{len(data)}"
        return Answer(206, headers, data[start:stop])

    def _put(self, asked: Asked) -> Answer:
        self.objects[asked.key] = asked.body
        return Answer(200, {"etag": etag_of(asked.body)})

    def _delete(self, asked: Asked) -> Answer:
        self.objects.pop(asked.key, None)
        return Answer(204)

    def _begin(self, asked: Asked) -> Answer:
        name = f"upload-{next(self._names)}"
        self.parts[name] = {}
        return xml(f"<InitiateMultipartUploadResult><UploadId>{name}</UploadId></InitiateMultipartUploadResult>")

    def _part(self, asked: Asked) -> Answer:
        parts = self.parts.get(asked.query["uploadId"])
        if parts is None:
            return error(404, "NoSuchUpload")
        parts[int(asked.query["partNumber"])] = asked.body
        return Answer(200, {"etag": etag_of(asked.body)})

    def _complete(self, asked: Asked) -> Answer:
        parts = self.parts.pop(asked.query["uploadId"], None)
        if parts is None:
            return error(404, "NoSuchUpload")
        data = self.objects[asked.key] = b"".join(parts[number] for number in sorted(parts))
        return xml(f"<CompleteMultipartUploadResult><ETag>{etag_of(data)}</ETag></CompleteMultipartUploadResult>")

    def _abandon(self, asked: Asked) -> Answer:
        self.parts.pop(asked.query["uploadId"], None)
        return Answer(204)

    def _list(self, asked: Asked) -> Answer:
        found = sorted(key for key in self.objects if key.startswith(asked.query.get("prefix", "")))
        return xml(listing(found, truncated=False))

    def _uploads(self, asked: Asked) -> Answer:
        return xml("<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>")


def listing(keys: list[str], *, truncated: bool) -> str:
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>e</ETag><Size>1</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for key in keys
    )
    more = str(truncated).lower()
    return f"<ListBucketResult><Name>{BUCKET}</Name><IsTruncated>{more}</IsTruncated>{entries}</ListBucketResult>"


def etag_of(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'


@contextmanager
def lying_s3(tls: ssl.SSLContext | None = None) -> Iterator[LyingS3]:
    """Serving when the block begins; with `tls`, nothing else is spoken."""
    server = LyingS3()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length)
            query = {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
            key = unquote(url.path).removeprefix(f"/{BUCKET}").strip("/")
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(Asked(self.command, key, query, headers, body))
            self._say(answer)

        def _say(self, answer: Answer) -> None:
            if answer.drop:
                self.close_connection = True
                return
            self.send_response_only(answer.status)
            headers = {"content-length": str(len(answer.body))} | answer.headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD" and answer.status != 304:
                self.wfile.write(answer.body if answer.cut is None else answer.body[: answer.cut])
            self.close_connection = self.close_connection or answer.cut is not None

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _serve  # noqa: N815

        def log_message(self, *_: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            return  # a client that goes away is what these tests are about

    listener = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        listener.socket = tls.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
    server.port = listener.server_address[1]
    server.scheme = "http" if tls is None else "https"
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(5)
