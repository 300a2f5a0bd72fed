"""A job as it speaks on the wire, without the SDK: its own key, sample evidence, requests from a chosen address."""

import http.client
import json
import secrets
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as SigningKeys
from joserfc import jwe
from joserfc.jwk import ECKey

from tests.e2e.world import PURPOSE, World
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.sample import sample_evidence

Reply = tuple[int, dict[str, str], bytes]


@dataclass
class AttestedJob:
    """`source`: the loopback address its connections come from."""

    world: World
    scope: list[str]
    bind: str = "source"
    source: str = "127.0.0.1"
    measurement: str = field(default_factory=lambda: f"image-{secrets.token_hex(6)}")
    session: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = ECKey.generate_key("P-256")
        public = self.key.as_dict(private=False)
        self.jwk = {name: public[name] for name in ("kty", "crv", "x", "y")}
        self.attested_at = time.monotonic()
        self.session = self.opened()
        plain = jwe.decrypt_compact(self.session["credentials"], self.key, algorithms=["ECDH-ES+A256KW", "A256GCM"])
        self.keys = json.loads(plain.plaintext or b"")

    @property
    def session_id(self) -> str:
        return str(self.session["session_id"])

    def proof(self) -> dict[str, Any]:
        status, _, body = self.api("POST", "/v1/challenges", {"purpose": PURPOSE, "scope": self.scope})
        assert status == 201, body
        given = json.loads(body)
        bound = ExpectedBinding(
            given["nonce"], given["gateway"], key_thumbprint(self.jwk), PURPOSE, tuple(sorted(self.scope))
        )
        evidence = sample_evidence(bound, self.measurement)
        return {"nonce": given["nonce"], "kind": "sample", "evidence": evidence, "key": self.jwk}

    def opened(self) -> dict[str, Any]:
        body = self.proof() | {"purpose": PURPOSE, "scope": self.scope, "bind": self.bind}
        status, _, answer = self.api("POST", "/v1/sessions", body)
        assert status == 201, answer
        found: dict[str, Any] = json.loads(answer)
        return found

    def reattest(self) -> Reply:
        return self.api("POST", f"/v1/sessions/{self.session_id}/attest", self.proof())

    def api(self, method: str, path: str, document: Any = None) -> Reply:
        """As the job's principal, with its static keys."""
        keys = self.world.job()
        body = b"" if document is None else json.dumps(document).encode()
        address = self.world.zone().api_endpoint
        signing = SigningKeys(keys.access_key_id, keys.secret_access_key, keys.session_token)
        with self.connection(address) as connection:
            return asked(connection, SigV4Auth(signing, "demesne", "de"), address, method, path, body)

    def get(self, bucket: str, key: str, *, source: str | None = None, client_cert: Path | None = None) -> Reply:
        """A raw read with the session's credentials, over a connection of its own."""
        address = self.world.zone().s3_endpoint
        with self.connection(address, source=source, client_cert=client_cert) as connection:
            return asked(connection, S3SigV4Auth(self.signing, "s3", "de"), address, "GET", f"/{bucket}/{key}", b"")

    @property
    def signing(self) -> SigningKeys:
        return SigningKeys(self.keys["access_key_id"], self.keys["secret_access_key"], self.keys["session_token"])

    @contextmanager
    def connection(
        self, address: str, *, source: str | None = None, client_cert: Path | None = None
    ) -> Iterator[http.client.HTTPConnection]:
        place = urlsplit(address)
        options: dict[str, Any] = {"timeout": 20, "source_address": (source or self.source, 0)}
        host, port = place.hostname or "", place.port
        if place.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.world.ca))
            if client_cert is not None:
                context.load_cert_chain(client_cert)
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, context=context, **options)
        else:
            connection = http.client.HTTPConnection(host, port, **options)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def standing_still(self, bucket: str, key: str) -> Iterator[socket.socket]:
        """A raw read whose client took the first KiB and nothing more; its own buffers are small."""
        address = self.world.zone().s3_endpoint
        place = urlsplit(address)
        made: socket.socket = socket.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        made.settimeout(20)
        made.bind((self.source, 0))
        made.connect((place.hostname, place.port))
        if place.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.world.ca))
            made = context.wrap_socket(made, server_hostname=place.hostname)
        request = signed(S3SigV4Auth(self.signing, "s3", "de"), address, "GET", f"/{bucket}/{key}", b"")
        head = "".join(f"{name}: {value}\r\n" for name, value in request.items())
        made.sendall(f"GET /{bucket}/{key} HTTP/1.1\r\nHost: {place.netloc}\r\n{head}\r\n".encode())
        try:
            assert made.recv(1024).startswith(b"HTTP/1.1 200")
            yield made
        finally:
            made.close()


def signed(auth: Any, address: str, method: str, path: str, body: bytes) -> dict[str, str]:
    request = AWSRequest(method, address + path, data=body, headers={"content-type": "application/json"})
    auth.add_auth(request)
    if "X-Amz-Content-SHA256" not in request.headers:
        request.headers["X-Amz-Content-SHA256"] = auth.payload(request)
        del request.headers["Authorization"]
        auth.add_auth(request)
    return dict(request.headers.items())


def asked(
    connection: http.client.HTTPConnection, auth: Any, address: str, method: str, path: str, body: bytes
) -> Reply:
    connection.request(method, path, body=body or None, headers=signed(auth, address, method, path, body))
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


def seconds_until_cut(connection: socket.socket, most: float) -> float:
    """How long until the other side ends the connection, while nothing is read from it."""
    began = time.monotonic()
    look = select.poll()
    look.register(connection.fileno(), select.POLLRDHUP)
    while time.monotonic() - began < most:
        for _, event in look.poll(200):
            if event & (select.POLLHUP | select.POLLERR | select.POLLRDHUP):
                return time.monotonic() - began
    raise AssertionError(f"still open after {most} s")
