"""A port over real sockets: whose certificate a connection showed, and connections that are cut with all in them."""

import asyncio
import base64
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.processes.certificate import Certificate
from gateway.processes.server import FrontServer
from vault.attest.binding import thumbprint_of
from vault.broker.client_certificates import SessionAuthority, certificate_thumbprint

AUTHORITY = trustme.CA()
SESSIONS = SessionAuthority(b"s" * 32, tenant="main", zone="de")
HEAD = b"GET %s HTTP/1.1\r\nhost: here\r\n\r\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = scope["extensions"]["demesne.client_key"].encode()
    if scope["path"] != "/much":
        await send({"type": "http.response.start", "status": 200,
                    "headers": [(b"content-length", b"%d" % len(body))]})  # fmt: skip
        await send({"type": "http.response.body", "body": body})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % (1 << 30))]})
    asyncio.get_running_loop().call_later(0.5, scope["extensions"]["demesne.cut"])
    piece = bytes(1 << 20)
    for _ in range(1 << 10):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await asyncio.sleep(0)


@contextmanager
def serving(certificate: Certificate | None) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0))
    made: list[FrontServer] = []
    ready = threading.Event()

    async def serve() -> None:
        server = FrontServer(
            app, None, certificate.context if certificate else None, connections=20, stall_seconds=60, drain_seconds=1,
            key_of=certificate_thumbprint if certificate else None,
        )  # fmt: skip
        made.append(server)
        asyncio.get_running_loop().call_later(0.1, ready.set)
        await server.serve(sockets=[listener])

    thread = threading.Thread(
        target=lambda: asyncio.Runner(loop_factory=uvloop.new_event_loop).run(serve()), daemon=True
    )
    thread.start()
    assert ready.wait(5)
    try:
        yield int(listener.getsockname()[1])
    finally:
        made[0].should_exit = True
        thread.join(10)
        listener.close()


def issue(directory: Path, name: str = "first") -> None:
    leaf = AUTHORITY.issue_cert("localhost", common_name=name)
    leaf.cert_chain_pems[0].write_to_path(str(directory / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(directory / "key.pem"))


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    issue(tmp_path)
    return Certificate(tmp_path / "cert.pem", tmp_path / "key.pem", SESSIONS.certificate)


def job(
    directory: Path, authority: SessionAuthority = SESSIONS, begins: float = 0.0, lasts: float = 3600.0
) -> tuple[Path, str]:
    """Certificate and key of a new job in one file, and the thumbprint of the key."""
    key = ec.generate_private_key(ec.SECP256R1())
    numbers = key.public_key().public_numbers()
    x, y = (base64.urlsafe_b64encode(n.to_bytes(32, "big")).rstrip(b"=").decode() for n in (numbers.x, numbers.y))
    now = time.time() + begins
    pem = authority.issue(
        {"kty": "EC", "crv": "P-256", "x": x, "y": y}, "ab" * 16, int(now * 1000), int((now + lasts) * 1000)
    )
    path = directory / f"{thumbprint_of(key.public_key())}.pem"
    path.write_bytes(pem.encode() + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path, thumbprint_of(key.public_key())


def context_with(path: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    if path is not None:
        context.load_cert_chain(path)
    return context


def ask(port: int, context: ssl.SSLContext | None, session: ssl.SSLSession | None = None) -> tuple[str, Any]:
    """What key the port saw, and the TLS session, to be resumed."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        if context is None:
            return answered(plain), None
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as connection:
            return answered(connection), connection.session


def answered(connection: socket.socket) -> str:
    """The body of one answer."""
    connection.sendall(HEAD % b"/")
    said = b""
    while b"\r\n\r\n" not in said or len(said.partition(b"\r\n\r\n")[2]) < int(
        said.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
    ):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError
        said += piece
    return said.partition(b"\r\n\r\n")[2].decode()


def test_the_key_of_the_certificate_that_was_shown(certificate: Certificate, tmp_path: Path) -> None:
    (mine, thumbprint), (other, theirs) = job(tmp_path), job(tmp_path)
    with serving(certificate) as port:
        assert ask(port, context_with(mine))[0] == thumbprint
        assert ask(port, context_with(other))[0] == theirs
        assert ask(port, context_with(None))[0] == ""


def test_a_renewed_server_certificate_asks_the_same(certificate: Certificate, tmp_path: Path) -> None:
    """The context that takes over in the handshake checks clients too."""
    mine, thumbprint = job(tmp_path)
    stranger = SessionAuthority(b"t" * 32, tenant="main", zone="de")
    with serving(certificate) as port:
        issue(tmp_path, "second")
        certificate.reload()
        assert ask(port, context_with(mine))[0] == thumbprint
        with pytest.raises((OSError, AssertionError)):
            ask(port, context_with(job(tmp_path, stranger)[0]))


@pytest.mark.parametrize(
    "made",
    [
        {"authority": SessionAuthority(b"t" * 32, tenant="main", zone="de")},  # another zone's secret
        {"authority": SessionAuthority(b"s" * 32, tenant="main", zone="fr")},
        {"lasts": -10.0},
        {"begins": 3600.0},
    ],
    ids=["another authority", "another zone", "ended", "not begun"],
)
def test_a_certificate_that_does_not_hold_ends_the_handshake(
    certificate: Certificate, tmp_path: Path, made: dict[str, Any]
) -> None:
    with serving(certificate) as port, pytest.raises((OSError, AssertionError)):
        ask(port, context_with(job(tmp_path, **made)[0]))


def test_a_self_signed_certificate_is_nobodys(certificate: Certificate, tmp_path: Path) -> None:
    leaf = trustme.CA().issue_cert("job.example")
    leaf.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "own.pem"))
    with serving(certificate) as port, pytest.raises((OSError, AssertionError)):
        ask(port, context_with(tmp_path / "own.pem"))


def test_a_resumed_connection_is_of_the_key_it_began_with(certificate: Certificate, tmp_path: Path) -> None:
    """A ticket carries the certificate; offered with another one, or none, it must not become that one's."""
    (mine, thumbprint), (other, _) = job(tmp_path), job(tmp_path)
    with serving(certificate) as port:
        context = context_with(mine)
        first, session = ask(port, context)
        assert first == thumbprint
        assert ask(port, context, session)[0] == thumbprint
        for path in (other, None):
            with pytest.raises(ValueError):  # a session is of its context
                ask(port, context_with(path), session)


def test_without_tls_there_is_no_key() -> None:
    with serving(None) as port:
        assert ask(port, None)[0] == ""


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_cut_connection_ends_with_what_is_in_it(certificate: Certificate, tls: bool) -> None:
    with serving(certificate if tls else None) as port:
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        plain.settimeout(10)
        plain.connect(("127.0.0.1", port))
        client: Any = context_with(None).wrap_socket(plain, server_hostname="localhost") if tls else plain
        client.sendall(HEAD % b"/much")
        assert client.recv(1024).startswith(b"HTTP/1.1 200")
        time.sleep(1.5)  # it stands still, and is cut meanwhile
        taken = 0
        with suppress(ConnectionResetError, ssl.SSLError):
            while piece := client.recv(65536):
                taken += len(piece)
        # What the client's own kernel had: nothing of the megabytes that waited in ours.
        assert taken < 256 << 10
        client.close()
