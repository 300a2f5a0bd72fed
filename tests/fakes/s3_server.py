"""The S3 face over a fake guard, served by uvicorn on loopback in a thread, for stock clients and raw sockets."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from gateway.identity.errors import Unauthenticated
from gateway.identity.lookup import SecretKey
from gateway.identity.principal import Principal
from gateway.identity.sigv4 import Verifier
from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard

ACCESS_KEY = "DKEYANALYST"
SECRET = "analyst/secret+key"
REGION = "de-1"
PRINCIPAL = Principal(
    tenant="acme",
    principal_id="a" * 32,
    name="analyst",
    kind="human",
    roles=frozenset(("analyst",)),
    jurisdiction="DE",
    purposes=frozenset(("analytics",)),
    purpose="analytics",
    session=None,
    access_key_id=ACCESS_KEY,
)


class OneKey:
    """A lookup that knows one static key, and one session of it."""

    async def lookup(self, access_key_id: str, security_token: str | None) -> SecretKey:
        if access_key_id != ACCESS_KEY:
            raise Unauthenticated("InvalidAccessKeyId", "the access key id is not known here")
        if security_token not in (None, "good-token"):
            raise Unauthenticated("InvalidToken", "the session token is not one of this gateway")
        return SecretKey(SECRET, PRINCIPAL)


@dataclass
class Served:
    guard: FakeGuard
    endpoint: str
    port: int
    unauthenticated: list[tuple[str, str]]


@contextmanager
def serve(*, certificate: Path | None = None, key: Path | None = None) -> Iterator[Served]:
    guard = FakeGuard(REGION)
    unauthenticated: list[tuple[str, str]] = []
    verifier = Verifier(OneKey(), region=REGION, clock=time.time)
    app = S3App(
        guard,
        verifier.authenticate,
        zone="de",
        region=REGION,
        host_aliases=("s3.localhost", "localhost"),
        authenticate_form=verifier.authenticate_form,
        on_unauthenticated=lambda code, source: unauthenticated.append((code, source)),
    )
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        loop="asyncio" if certificate else "uvloop",
        http="httptools",
        lifespan="off",
        log_level="critical",
        ssl_certfile=str(certificate) if certificate else None,
        ssl_keyfile=str(key) if key else None,
    )
    server = uvicorn.Server(config)

    def run() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(server.serve(sockets=[listener]))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    scheme = "https" if certificate else "http"
    host = "localhost" if certificate else "127.0.0.1"
    try:
        yield Served(guard, f"{scheme}://{host}:{port}", port, unauthenticated)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
