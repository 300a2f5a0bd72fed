"""A gateway's whole S3 face with STS over it: real identities, sessions, signatures, doctrine, catalog and broker.

world = StsWorld(tmp_path); world.trusts(provider.issuer())
answer = world.assume(provider.token(provider.claims(world.now)))
answer.credentials, answer.code, answer.status
world.get(answer.credentials, "claims/a.csv")      # signed by botocore with those credentials
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import botocore.session
from botocore.parsers import create_parser

from gateway.identity.holders import CatalogHolders
from gateway.identity.issuer_keys import IssuerKeys
from gateway.identity.issuers_file import NAME, IssuersFile
from gateway.identity.lookup import DerivedKeyLookup
from gateway.identity.sigv4 import Verifier
from gateway.identity.web_identity import WebIdentities
from gateway.identity_sessions import IdentitySessions
from gateway.limits import RefusalLimit
from gateway.s3.router import S3App
from gateway.s3.sts import Sts
from tests.fakes.gateway_world import WINDOW_MS, ZONE, GatewayWorld
from tests.fakes.identity_provider import issuers_file
from tests.fakes.s3_client import Response, WireRequest, call, signed
from vault.errors import Refused
from vault.keys.secrets import open_token

HOST = "s3.de.example"
ROLE = "arn:demesne:iam::main:purpose/analytics"
_STS: Any = botocore.session.get_session().get_service_model("sts").operation_model("AssumeRoleWithWebIdentity")


@dataclass
class Asked:
    """An answer of STS, as botocore parses it."""

    status: int
    parsed: dict[str, Any]
    response: Response

    @property
    def code(self) -> str:
        return str(self.parsed.get("Error", {}).get("Code", ""))

    @property
    def message(self) -> str:
        return str(self.parsed.get("Error", {}).get("Message", ""))

    @property
    def credentials(self) -> dict[str, Any]:
        assert self.status == 200, self.parsed
        found: dict[str, Any] = self.parsed["Credentials"]
        return found


class StsWorld(GatewayWorld):
    def __init__(self, directory: Path, *, refusals: int = 600, **options: Any) -> None:
        super().__init__(directory, **options)
        self.trust = directory / "trust"
        self.trust.mkdir()
        self.unauthenticated: list[str] = []
        self.limit = RefusalLimit(refusals, lambda: self.clock() / 1000)
        self.issuers = IssuersFile(self.trust, self.clock)
        self.keys = IssuerKeys(self.catalog, self.guard.blocking, self.clock)
        self.identities = WebIdentities(self.issuers, self.keys, self.clock)
        self.roles = IdentitySessions(
            self.guard, self.catalog, self.identities, token_key=self.hello.token_key, run_window_ms=WINDOW_MS,
            refusals=self.limit,
        )  # fmt: skip
        lookup = DerivedKeyLookup(
            self.hello.token_key, CatalogHolders(self.catalog, self.guard.blocking, self.clock),
            lambda token: open_token(self.hello.token_key, token), (Refused,), self.clock, static_key=b"s" * 32,
        )  # fmt: skip
        # Requests are signed by botocore, which asks the real clock; sessions end by the world's.
        self.verifier = Verifier(lookup, region=ZONE, service="s3", clock=time.time)
        self.app = S3App(
            self.front, self.verifier.authenticate, zone=ZONE, region=ZONE, host_aliases=(HOST,),
            on_unauthenticated=self._count, sts=Sts(self.roles, self._count),
        )  # fmt: skip

    def _count(self, code: str, _source: str) -> None:
        self.unauthenticated.append(code)

    @property
    def now(self) -> int:
        """Seconds, as tokens count."""
        return self.clock() // 1000

    def trusts(self, *issuers: dict[str, Any], **dates: str) -> None:
        """Write identity-issuers.json, and let it be seen."""
        new = self.trust / (NAME + ".new")
        new.write_bytes(issuers_file(*issuers, **dates))
        new.rename(self.trust / NAME)
        self.clock.advance(2_000)

    def assume(self, token: str, *, method: str = "POST", **parameters: Any) -> Asked:
        """AssumeRoleWithWebIdentity as SDKs send it. A parameter given as None is left out."""
        usual = {
            "Action": "AssumeRoleWithWebIdentity", "Version": "2011-06-15", "RoleArn": ROLE,
            "RoleSessionName": "job-1", "WebIdentityToken": token,
        }  # fmt: skip
        given = {name: value for name, value in (usual | parameters).items() if value is not None}
        return self.send(method, list(given.items()))

    def send(self, method: str, parameters: Sequence[tuple[str, Any]], *, client: str = "127.0.0.1") -> Asked:
        encoded = urlencode(parameters).encode()
        headers = [(b"host", HOST.encode())]
        if method == "POST":
            headers += [
                (b"content-type", b"application/x-www-form-urlencoded; charset=utf-8"),
                (b"content-length", b"%d" % len(encoded)),
            ]
            request = WireRequest("POST", b"/", b"", headers, encoded)
        else:
            request = WireRequest(method, b"/", encoded, headers)
        return self.asked(request, client)

    def asked(self, request: WireRequest, client: str = "127.0.0.1") -> Asked:
        response = self.run(call(self.app, request, client=client))
        assert response.error is None, response.error
        parsed = create_parser("query").parse(
            {"status_code": response.status, "headers": response.headers, "body": response.body}, _STS.output_shape
        )
        return Asked(response.status, parsed, response)

    def request(self, credentials: dict[str, Any], method: str, path: str, **more: Any) -> Response:
        request = signed(
            method, path, key=credentials["AccessKeyId"], secret=credentials["SecretAccessKey"],
            token=credentials["SessionToken"], region=ZONE, host=HOST, **more,
        )  # fmt: skip
        return self.run(call(self.app, request))

    def get(self, credentials: dict[str, Any], path: str) -> Response:
        return self.request(credentials, "GET", f"/{path}")
