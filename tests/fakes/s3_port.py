"""The S3 port of a `GatewayWorld` in this process: botocore's signatures in, what would go over the wire out."""

import time
from collections.abc import Sequence
from typing import Any

from gateway.identity.errors import Unauthenticated
from gateway.identity.lookup import SecretKey
from gateway.identity.principal import Principal
from gateway.identity.sigv4 import Verifier
from gateway.s3.router import S3App
from tests.fakes.gateway_world import ZONE, GatewayWorld
from tests.fakes.s3_client import Response, WireRequest, call, quoted, signed

SECRET = "port/secret+key"


class S3Port:
    """`port.ask(who, "GET", "/claims/a.csv")`. Every principal has the same secret, under its own access key id."""

    def __init__(self, world: GatewayWorld) -> None:
        self._world = world
        self._known: dict[str, Principal] = {}
        verifier = Verifier(self, region=ZONE, clock=time.time)
        front: Any = world.front
        self.app = S3App(
            front, verifier.authenticate, zone=ZONE, region=ZONE, host_aliases=("s3.localhost",)
        )  # fmt: skip

    async def lookup(self, access_key_id: str, security_token: str | None) -> SecretKey:
        if access_key_id not in self._known:
            raise Unauthenticated("InvalidAccessKeyId", "not known here")
        return SecretKey(SECRET, self._known[access_key_id])

    def signed(
        self, who: Principal, method: str, target: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = (),
        host: str = "127.0.0.1:9000",
    ) -> WireRequest:  # fmt: skip
        self._known[who.access_key_id] = who
        return signed(
            method, target, body=body, headers=headers, key=who.access_key_id, secret=SECRET, region=ZONE, host=host
        )

    def send(self, request: WireRequest) -> Response:
        return self._world.run(call(self.app, request))

    def ask(
        self, who: Principal, method: str, target: str, body: bytes = b"", headers: Sequence[tuple[str, str]] = ()
    ) -> Response:
        return self.send(self.signed(who, method, target, body, headers))

    def get(self, who: Principal, key: str, span: tuple[int, int] | None = None) -> Response:
        """`span` is [start, stop)."""
        headers = [("Range", f"bytes={span[0]}-{span[1] - 1}")] if span else []
        return self.ask(who, "GET", f"/claims/{quoted(key)}", headers=headers)

    def put(self, who: Principal, key: str, body: bytes) -> Response:
        return self.ask(who, "PUT", f"/claims/{quoted(key)}", body)
