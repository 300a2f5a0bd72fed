"""A live gateway in one process: the API and a small S3, on loopback, for tests of the SDK and of ingest.

It keeps datasets, contracts, objects, challenges and sessions in memory, verifies every signature with
botocore (another implementation than the SDK's signer), checks sample evidence with rfc8785, and polices
what must never happen: a nonce used twice, a session whose key changed. Fault hooks act before or after
the effect: a hook returns None, or (status, code) to answer with.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import rfc8785
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from joserfc import jwe
from joserfc.jwk import ECKey

Hook = Callable[[str, str], tuple[int, str] | None]
REGION = "de"
GATEWAY = "gateway.de.test"
PRINCIPALS = {"AKSTEWARD": "steward-secret", "AKTRAIN": "train-secret"}


@dataclass
class StoredObject:
    body: bytes
    etag: str
    content_type: str
    metadata: dict[str, str]
    modified: datetime


@dataclass
class FakeSession:
    session_id: str
    thumbprint: str
    purpose: str
    scope: list[str]
    secret: str
    token: str
    attested: int = 1  # times
    revoked: bool = False


@dataclass
class FakeGateway:
    """Start with `with FakeGateway() as gateway:`; both endpoints are loopback URLs."""

    fresh_seconds: int = 900
    credential_seconds: int = 3600
    hook_before: Hook = field(default=lambda _method, _path: None)
    hook_after: Hook = field(default=lambda _method, _path: None)
    answered_etag: str | None = None  # what PUT answers in place of the MD5
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    contracts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    objects: dict[tuple[str, str], StoredObject] = field(default_factory=dict)
    challenges: dict[str, dict[str, Any]] = field(default_factory=dict)
    sessions: dict[str, FakeSession] = field(default_factory=dict)
    principals: dict[str, str] = field(default_factory=lambda: dict(PRINCIPALS))
    requests: list[tuple[str, str, str]] = field(default_factory=list)  # (port, method, path), effectful order
    identities: list[str] = field(default_factory=list)  # access key of each S3 request
    statements: list[tuple[str, dict[str, Any]]] = field(default_factory=list)  # run id, what the job said
    proofs: list[dict[str, Any]] = field(default_factory=list)  # bodies of sessions and re-attestations
    retry_after: str | None = None  # the header of refusals
    forget_sessions: bool = False  # a re-attestation finds no session of its id
    refusal: tuple[int, str, dict[str, str]] | None = None  # what every S3 read is answered: status, code, elements

    def __enter__(self) -> "FakeGateway":
        self.lock = threading.RLock()
        self._servers = [_server(self, _ApiHandler), _server(self, _S3Handler)]
        self.api_endpoint, self.s3_endpoint = (f"http://127.0.0.1:{s.server_port}" for s in self._servers)
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def ready_document(self) -> dict[str, Any]:
        zone = {
            "name": "de", "jurisdiction": "de", "s3_endpoint": self.s3_endpoint, "api_endpoint": self.api_endpoint,
        }  # fmt: skip
        keys = {"access_key_id": "AKSTEWARD", "secret_access_key": "steward-secret"}
        return {
            "s3_endpoint": self.s3_endpoint, "api_endpoint": self.api_endpoint, "region": REGION, "pid": 1,
            "zones": [zone], "credentials": {"steward": keys, "analyst": keys},
        }  # fmt: skip

    def state(self) -> Any:
        """Everything a refused request must not have changed, comparable."""
        objects = {key: (value.etag, value.metadata) for key, value in self.objects.items()}
        return json.loads(json.dumps([self.datasets, self.contracts, sorted(map(str, objects.items()))]))

    def writes(self) -> list[tuple[str, str, str]]:
        """Requests that could have changed something."""
        return [entry for entry in self.requests if entry[1] in {"PUT", "POST", "DELETE"}]

    def secret_of(self, access_key: str, token: str | None) -> str | None:
        if token is None:
            return self.principals.get(access_key)
        for session in self.sessions.values():
            if session.token == token and access_key == f"AS{session.session_id[:16]}" and not session.revoked:
                return session.secret
        return None


class Refusal(Exception):
    def __init__(self, status: int, code: str, detail: str = "", **facts: str) -> None:
        super().__init__(code)
        self.status, self.code, self.detail, self.facts = status, code, detail or code, facts


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    gateway: FakeGateway

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients of tests may go away."""


def _server(gateway: FakeGateway, handler: type[BaseHTTPRequestHandler]) -> _Server:
    server = _Server(("127.0.0.1", 0), handler)
    server.gateway = gateway
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    service = ""
    port_name = ""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def handle_method(self) -> None:
        gateway = self.server.gateway
        self.body = self._read_body()
        parts = urlsplit(self.path)
        self.raw_path, self.query = parts.path, dict(parse_qsl(parts.query, keep_blank_values=True))
        with gateway.lock:
            gateway.requests.append((self.port_name, self.command, parts.path))
            try:
                self._fault(gateway.hook_before)
                self.access_key = self._authenticate()
                answer = self.route()
                self._fault(gateway.hook_after)
            except Refusal as refusal:
                self.refuse(refusal)
            else:
                self.reply(*answer)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_method  # noqa: N815

    def _fault(self, hook: Hook) -> None:
        fault = hook(self.command, self.raw_path)
        if fault:
            raise Refusal(*fault)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _authenticate(self) -> str:
        """Recompute the signature with botocore over exactly the signed headers."""
        given = self.headers.get("Authorization", "")
        if not given.startswith("AWS4-HMAC-SHA256 "):
            raise Refusal(403, "AccessDenied", "unsigned")
        fields = dict(part.strip().split("=", 1) for part in given.removeprefix("AWS4-HMAC-SHA256 ").split(","))
        access_key, _date, region, service, _ = fields["Credential"].split("/")
        if (region, service) != (REGION, self.service):
            raise Refusal(400, "AuthorizationHeaderMalformed", f"expected {REGION}/{self.service}")
        secret = self.server.gateway.secret_of(access_key, self.headers.get("x-amz-security-token"))
        if secret is None:
            raise Refusal(403, "InvalidAccessKeyId")
        claimed_hash = self.headers.get("x-amz-content-sha256", "")
        if len(claimed_hash) == 64 and hashlib.sha256(self.body).hexdigest() != claimed_hash:
            raise Refusal(400, "XAmzContentSHA256Mismatch")
        signer = SigV4Auth(BotoCredentials(access_key, secret), service, region)
        request = AWSRequest(self.command, f"http://{self.headers['Host']}{self.path}")
        request.context["timestamp"] = self.headers["x-amz-date"]
        names = fields["SignedHeaders"].split(";")
        names_text = ";".join(names)
        lines = [f"{name}:{' '.join(self.headers[name].split())}" for name in names]
        canonical = "\n".join(
            [self.command, self.raw_path, signer.canonical_query_string(request), *lines, "", names_text, claimed_hash]
        )
        stamp = self.headers["x-amz-date"]
        scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        expected = signer.signature(f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}", request)
        if not secrets.compare_digest(expected, fields["Signature"]):
            raise Refusal(403, "SignatureDoesNotMatch")
        return access_key

    def route(self) -> tuple[int, dict[str, str], bytes]:
        raise NotImplementedError

    def refuse(self, refusal: Refusal) -> None:
        raise NotImplementedError

    def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class _ApiHandler(_Handler):
    service = "demesne"
    port_name = "api"

    def refuse(self, refusal: Refusal) -> None:
        problem = {
            "type": "about:blank", "title": refusal.code, "status": refusal.status, "code": refusal.code,
            "detail": refusal.detail, **refusal.facts,
        }  # fmt: skip
        headers = {"Content-Type": "application/problem+json"}
        if self.server.gateway.retry_after is not None:
            headers["Retry-After"] = self.server.gateway.retry_after
        self.reply(refusal.status, headers, json.dumps(problem).encode())

    def route(self) -> tuple[int, dict[str, str], bytes]:
        segments = self.raw_path.strip("/").split("/")[1:]
        document: Any = json.loads(self.body) if self.body else None
        match (self.command, *segments):
            case ("GET", "zones"):
                answer: Any = self.server.gateway.ready_document()["zones"]
            case ("GET", "datasets"):
                answer = list(self.server.gateway.datasets.values())
            case ("POST", "datasets"):
                return _json(201, self._create_dataset(document))
            case ("GET", "datasets", name):
                answer = self._dataset(name)
            case ("PUT", "datasets", name, "contract"):
                answer = self._put_contract(name, document)
            case ("POST", "challenges"):
                answer = self._challenge(document)
            case ("POST", "sessions"):
                return _json(201, self._open(document))
            case ("POST", "sessions", session_id, "attest"):
                answer = self._reattest(session_id, document)
            case ("DELETE", "sessions", session_id):
                self.server.gateway.sessions[session_id].revoked = True
                return 204, {}, b""
            case ("POST", "runs", run_id, "statements"):
                self.server.gateway.statements.append((run_id, document))
                return _json(201, {"statement_id": secrets.token_hex(16), "run_id": run_id})
            case ("GET", "receipts", decision_id):
                return 200, {"Content-Type": "text/plain"}, f"c2sp.org/tlog-proof@v1\n{decision_id}\n".encode()
            case ("GET", "lineage", "events"):
                answer = [{"eventType": "COMPLETE", "run": {"runId": "r1"}}]
            case ("GET", "lineage"):
                answer = {
                    "nodes": [
                        {"id": "o:1", "kind": "object", "dataset": "claims", "key": "part-0", "label": "personal"},
                        {"id": "d:claims", "kind": "dataset", "name": "claims"},
                        {"id": "r:1", "kind": "run", "name": "train"},
                    ],
                    "edges": [
                        {"source": "o:1", "target": "d:claims", "kind": "in"},
                        {"source": "o:1", "target": "r:1", "kind": "read", "view": "raw", "columns": ["email"]},
                    ],
                }  # fmt: skip
            case _:
                raise Refusal(404, "NotFound")
        return _json(200, answer)

    def _create_dataset(self, document: dict[str, Any]) -> dict[str, Any]:
        gateway, name = self.server.gateway, document["name"]
        if document.get("zone") not in {None, "de"}:
            raise Refusal(400, "zone.unknown", f"no zone {document['zone']!r}", remedy="use one of: de")
        if name in gateway.datasets:
            raise Refusal(409, "dataset.exists", f"dataset {name!r} exists")
        gateway.datasets[name] = {**document, "zone": "de", "dataset_id": secrets.token_hex(16)}
        return gateway.datasets[name]

    def _dataset(self, name: str) -> dict[str, Any]:
        gateway = self.server.gateway
        if name not in gateway.datasets:
            raise Refusal(404, "dataset.absent", f"no dataset {name!r}")
        contracts = gateway.contracts.get(name, [])
        latest = contracts[-1] if contracts else None
        known = {**gateway.datasets[name], "contract_version": len(contracts), "contract": latest}
        return known | {"plans": [], "views": []}

    def _put_contract(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        self._dataset(name)
        versions = self.server.gateway.contracts.setdefault(name, [])
        versions.append(document["document"])
        return self._dataset(name)

    def _challenge(self, document: dict[str, Any]) -> dict[str, Any]:
        nonce = secrets.token_hex(32)
        self.server.gateway.challenges[nonce] = {**document, "by": self.access_key, "used": False}
        end = datetime.now(UTC) + timedelta(seconds=120)
        return {"nonce": nonce, "gateway": GATEWAY, "expires_at": end.isoformat().replace("+00:00", "Z")}

    def _appraise(self, document: dict[str, Any]) -> tuple[dict[str, Any], ECKey]:
        row = self.server.gateway.challenges.get(document["nonce"])
        if row is None or row["used"] or row["by"] != self.access_key:
            raise Refusal(403, "attestation.nonce", rule="attestation.nonce", remedy="ask for a new challenge")
        row["used"] = True
        self.server.gateway.proofs.append(document)
        key = ECKey.import_key(document["key"])
        binding = {
            "v": 1, "nonce": document["nonce"], "gateway": GATEWAY, "key": key.thumbprint(),
            "purpose": row["purpose"], "scope": row["scope"], "additional": _digest(document.get("additional", [])),
        }  # fmt: skip
        if document["evidence"]["report_data"] != hashlib.sha512(rfc8785.dumps(binding)).hexdigest():
            raise Refusal(403, "attestation.binding", rule="attestation.binding", decision_id="d" * 32)
        return row, key

    def _open(self, document: dict[str, Any]) -> dict[str, Any]:
        row, key = self._appraise(document)
        gateway = self.server.gateway
        if row["purpose"] == "forbidden":
            raise Refusal(
                403, "purpose.not-granted", "purpose 'forbidden' is not yours", rule="access.purpose",
                decision_id="e" * 32, remedy="ask the steward",
            )  # fmt: skip
        session = FakeSession(
            secrets.token_hex(16), key.thumbprint(), row["purpose"], row["scope"],
            secrets.token_hex(20), secrets.token_urlsafe(24),
        )  # fmt: skip
        gateway.sessions[session.session_id] = session
        return {
            "session_id": session.session_id, "run_id": hashlib.md5((document.get("run") or "").encode()).hexdigest(),
            "purpose": session.purpose, "fresh_seconds": gateway.fresh_seconds, "expires_at": "2099-01-01T00:00:00Z",
            "notice": document["evidence"]["notice"], "credentials": self._seal(session, key),
        } | ({"certificate": "-----BEGIN CERTIFICATE-----\n"} if document.get("bind") else {})  # fmt: skip

    def _seal(self, session: FakeSession, key: ECKey) -> str:
        end = datetime.now(UTC) + timedelta(seconds=self.server.gateway.credential_seconds)
        plain = {
            "access_key_id": f"AS{session.session_id[:16]}", "secret_access_key": session.secret,
            "session_token": session.token, "expiration": end.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        }  # fmt: skip
        header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}
        algorithms = ["ECDH-ES+A256KW", "A256GCM"]
        return jwe.encrypt_compact(header, json.dumps(plain).encode(), key, algorithms=algorithms)

    def _reattest(self, session_id: str, document: dict[str, Any]) -> dict[str, Any]:
        session = self.server.gateway.sessions.get(session_id)
        if self.server.gateway.forget_sessions:
            raise Refusal(404, "NoSuchSession", "no session of that id is yours")
        if session is None or session.revoked:
            raise Refusal(403, "session.revoked", rule="session.revoked", remedy="open a new session")
        _, key = self._appraise(document)
        if key.thumbprint() != session.thumbprint:
            raise Refusal(403, "attestation.key", "a re-attestation proves the same key")
        session.attested += 1
        return {"attested_at": datetime.now(UTC).isoformat(), "fresh_seconds": self.server.gateway.fresh_seconds}


class _S3Handler(_Handler):
    service = "s3"
    port_name = "s3"

    def refuse(self, refusal: Refusal) -> None:
        ours = "".join(f"<{name}>{value}</{name}>" for name, value in refusal.facts.items())
        body = f"<Error><Code>{refusal.code}</Code><Message>{refusal.detail}</Message>{ours}</Error>"
        headers = {"Content-Type": "application/xml"}
        if "DecisionId" in refusal.facts:
            headers |= {"x-demesne-decision": refusal.facts["DecisionId"], "x-demesne-rule": refusal.facts["Rule"]}
        self.reply(refusal.status, headers, body.encode())

    def route(self) -> tuple[int, dict[str, str], bytes]:
        gateway = self.server.gateway
        gateway.identities.append(self.access_key)
        bucket, _, key = unquote(self.raw_path.lstrip("/")).partition("/")
        if gateway.refusal is not None:
            status, code, facts = gateway.refusal
            raise Refusal(status, code, facts["Message"], **{n: v for n, v in facts.items() if n != "Message"})
        if bucket not in gateway.datasets:
            raise Refusal(404, "NoSuchBucket")
        if not key:
            return (200, {}, b"") if self.command == "HEAD" else self._list(bucket)
        if self.command == "PUT":
            return self._put(bucket, key)
        found = gateway.objects.get((bucket, key))
        if found is None:
            raise Refusal(404, "NoSuchKey")
        return self._get(found)

    def _put(self, bucket: str, key: str) -> tuple[int, dict[str, str], bytes]:
        md5 = self.headers.get("Content-MD5")
        if md5 and base64.b64decode(md5) != hashlib.md5(self.body).digest():
            raise Refusal(400, "BadDigest")
        headers = {name.lower(): value for name, value in self.headers.items()}
        metadata = {name[11:]: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
        etag = f'"{hashlib.md5(self.body).hexdigest()}"'
        kind = self.headers.get("Content-Type", "binary/octet-stream")
        self.server.gateway.objects[bucket, key] = StoredObject(self.body, etag, kind, metadata, datetime.now(UTC))
        return 200, {"ETag": self.server.gateway.answered_etag or etag, "x-demesne-decision": "a" * 32}, b""

    def _get(self, found: StoredObject) -> tuple[int, dict[str, str], bytes]:
        stamp = found.modified.strftime("%a, %d %b %Y %H:%M:%S GMT")
        headers = {
            "ETag": found.etag, "Content-Type": found.content_type, "Last-Modified": stamp, "Accept-Ranges": "bytes",
        } | {f"x-amz-meta-{name}": value for name, value in found.metadata.items()}  # fmt: skip
        body, status = found.body, 200
        if self.command == "HEAD":
            headers["Content-Length"] = str(len(body))
        elif wanted := self.headers.get("Range"):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            size = len(body)
            start = int(first) if first else max(0, size - int(last))
            stop = min(int(last) + 1, size) if first and last else size
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
            body, status = body[start:stop], 206
        return status, headers, body

    def _list(self, bucket: str) -> tuple[int, dict[str, str], bytes]:
        prefix = self.query.get("prefix", "")
        rows = [
            f"<Contents><Key>{key}</Key><LastModified>2026-11-21T21:00:00.000Z</LastModified>"
            f"<ETag>{entry.etag}</ETag><Size>{len(entry.body)}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for (name, key), entry in sorted(self.server.gateway.objects.items())
            if name == bucket and key.startswith(prefix)
        ]
        xml = (
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{prefix}</Prefix><KeyCount>{len(rows)}</KeyCount>"
            f"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{''.join(rows)}</ListBucketResult>"
        )
        return 200, {"Content-Type": "application/xml"}, xml.encode()


def _digest(additional: list[Any]) -> str:
    return hashlib.sha256(rfc8785.dumps(additional)).hexdigest() if additional else ""


def _json(status: int, document: Any) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    """Poll until true; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "condition did not come true in time"
        time.sleep(0.01)
