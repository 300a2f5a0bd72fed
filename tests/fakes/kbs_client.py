"""The endpoint of Trustee's protocol in one process over a `GatewayWorld`, and a guest that speaks to it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gateway.api.kbs import KbsApp
from gateway.identity.principal import Principal
from gateway.identity.tokens import decode_claims
from gateway.kbs.service import KeyBrokerService
from gateway.limits import Arrivals, Shares
from tests.fakes.attest_kbs import CREDENTIALS, TeeKeyPair, attestation, digest_of, request, sample_evidence
from tests.fakes.gateway_world import GATEWAY, TENANT, GatewayWorld
from vault.keys.secrets import open_token

PURPOSE = "claims-risk-model"
SOURCE = "192.0.2.9"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        return self.headers["set-cookie"].partition(";")[0]


class KbsEndpoint:
    """`counted` is what the ledger would sum up of strangers."""

    def __init__(
        self, world: GatewayWorld, *, each: int = 30, together: int = 300, shares: Shares | None = None
    ) -> None:
        self.world = world
        self.counted: list[str] = []
        self.seconds = 0.0
        self.service = KeyBrokerService(
            world.guard, world.catalog, world.broker, world.sessions, gateway_id=GATEWAY,
            token_key=world.hello.token_key, tenant=TENANT, counted=self.counted.append,
            arrivals=Arrivals(each, together, lambda: self.seconds), shares=shares,
        )  # fmt: skip
        self.app = KbsApp(self.service)

    def ticket(
        self,
        who: Principal | None = None,
        purpose: str = PURPOSE,
        scope: tuple[str, ...] = ("claims",),
        ttl: int = 3600,
    ) -> dict[str, Any]:
        granted: dict[str, Any] = self.world.run(
            self.service.tickets.grant(who or self.world.trainer, purpose, list(scope), ttl, "r")
        )
        return granted

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        return self.world.run(self.asked(method, path, body, **options))

    async def asked(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None,
        headers: Mapping[str, str] | None = None, source: str = SOURCE, scheme: str = "https", query: bytes = b"",
    ) -> Reply:  # fmt: skip
        sent: list[Any] = []
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        named = {"content-length": str(len(data)), **(headers or {})}
        scope = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": query,
            "headers": [(name.encode(), value.encode()) for name, value in named.items()], "scheme": scheme,
            "client": (source, 40000),
        }  # fmt: skip
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive() -> Any:
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        answered = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], answered, b"".join(message.get("body", b"") for message in sent[1:]))


class Guest:
    """One client of the endpoint, with a key pair of its own. `ticket` None: it has none."""

    def __init__(
        self, endpoint: KbsEndpoint, ticket: str | None = None, *, kind: str = "P-256", source: str = SOURCE
    ) -> None:
        self.endpoint = endpoint
        self.base = f"/v1/kbs/{ticket}/kbs/v0" if ticket else "/kbs/v0"
        self.key = TeeKeyPair(kind)
        self.source = source
        self.cookie = ""

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Reply:
        headers = {"cookie": self.cookie} if self.cookie and "headers" not in options else {}
        given: dict[str, Any] = {"headers": headers, "source": self.source} | options
        return self.endpoint.call(method, f"{self.base}/{path}", body, **given)

    def auth(self, tee: str = "sample", **changes: Any) -> str:
        """The nonce, as text; the cookie is kept."""
        reply = self.call("POST", "auth", request(tee, **changes), headers={})
        assert reply.status == 200, reply.body
        assert set(reply.json) == {"nonce", "extra-params"}
        self.cookie = reply.cookie
        return str(reply.json["nonce"])

    def evidence(self, nonce: str, additional: str = "") -> dict[str, Any]:
        primary = sample_evidence(digest_of(nonce, self.key.jwk, additional))
        return attestation(nonce, self.key.jwk, primary, additional)

    def attested(self) -> str:
        """The token of an honest handshake."""
        reply = self.call("POST", "attest", self.evidence(self.auth()))
        assert reply.status == 200, reply.body
        return str(reply.json["token"])

    def resource(self, way: str = CREDENTIALS, **options: Any) -> Reply:
        return self.call("GET", f"resource/{way}", **options)

    def credentials(self) -> dict[str, str]:
        reply = self.resource()
        assert reply.status == 200, reply.body
        found: dict[str, str] = json.loads(self.key.opened(reply.json))
        return found

    def principal(self, credentials: Mapping[str, str], who: Principal | None = None) -> Principal:
        """As the authenticator of the S3 endpoint makes it from the credentials."""
        world = self.endpoint.world
        claims = decode_claims(open_token(world.hello.token_key, credentials["session_token"]))
        return replace(
            who or world.trainer, session=claims, access_key_id=credentials["access_key_id"], purpose=claims.purpose,
            source=self.source,
        )  # fmt: skip
