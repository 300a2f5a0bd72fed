"""Intel's PCS, AMD's KDS and NVIDIA's services on one TLS port of this machine; each answer can be a lie."""

import base64
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import trustme
from cryptography.x509 import ocsp

from tests.fakes.attest_intel import FMSPC, FakeIntel
from tests.fakes.attest_manifest import DRIVER, FakeManifests
from tests.fakes.attest_nvidia import FakeNvidia, ocsp_answer
from tests.fakes.attest_pki import Issued, revocations
from tests.fakes.attest_snp import FakeAmd
from vault.attest.tdx.collateral import Collateral

Answer = Callable[[BaseHTTPRequestHandler], None]


def answer(body: bytes, *, status: int = 200, **headers: str) -> Answer:
    """A whole answer; `_` in header names is `-`."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def endless(handler: BaseHTTPRequestHandler) -> None:
    """500 MB that nobody announced."""
    handler.send_response(200)
    handler.end_headers()
    piece = b"x" * (1 << 20)
    for _ in range(500):
        handler.wfile.write(piece)


def announced(handler: BaseHTTPRequestHandler) -> None:
    """500 MB that are announced, of which none comes."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(500 << 20))
    handler.end_headers()
    handler.wfile.flush()
    time.sleep(5)


def dripping(handler: BaseHTTPRequestHandler) -> None:
    """A byte every 50 ms: no silence is long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def dripping_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(1000):
        handler.wfile.write(b"x")
        handler.wfile.flush()
        time.sleep(0.05)


def many_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n")


@dataclass
class CollateralServices:
    """`routes`: target → answer, `*` for any other. `seen`: what was asked, in order."""

    intel: FakeIntel = field(default_factory=FakeIntel)
    amd: FakeAmd = field(default_factory=FakeAmd)
    manifests: FakeManifests = field(default_factory=FakeManifests)
    device: FakeNvidia = field(default_factory=FakeNvidia)
    name: str = "localhost"

    def __post_init__(self) -> None:
        self.routes: dict[str, Answer] = {}
        self.seen: list[str] = []
        self.statuses: dict[int, Any] = {}
        self._authority = trustme.CA()
        self._folder = tempfile.TemporaryDirectory()
        self.ca = Path(self._folder.name) / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(self.name).configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self.honest()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def sources(self) -> str:
        roles = ("intel-pcs", "intel-crl", "amd-kds", "nvidia-rim", "nvidia-ocsp")
        return ",".join(f"{role}=https://localhost:{self.port}" for role in roles)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

    def honest(self) -> None:
        """Every service answers as it should."""
        self.serve_intel(self.intel.collateral())
        for product in ("Milan", "Genoa", "Turin"):
            self.routes[f"/vcek/v1/{product}/crl"] = answer(revocations(self.amd.root))
        self.serve_manifest(DRIVER, self.manifests.driver())

    def serve_intel(self, collateral: Collateral, fmspc: str = FMSPC.hex()) -> None:
        def signed(member: str, text: str, signature: bytes) -> bytes:
            return f'{{"{member}":{text},"signature":"{signature.hex()}"}}'.encode()

        chain = quote(collateral.tcb_info_issuer_chain.decode())
        tcb = signed("tcbInfo", collateral.tcb_info, collateral.tcb_info_signature)
        identity = signed("enclaveIdentity", collateral.qe_identity, collateral.qe_identity_signature)
        authority = quote((self.intel.ca.pem + self.intel.root.pem).decode())
        self.routes |= {
            f"/tdx/certification/v4/tcb?fmspc={fmspc}": answer(tcb, TCB_Info_Issuer_Chain=chain),
            "/tdx/certification/v4/qe/identity": answer(identity, SGX_Enclave_Identity_Issuer_Chain=chain),
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der":
                answer(collateral.pck_crl, SGX_PCK_CRL_Issuer_Chain=authority),
            "/IntelSGXRootCA.der": answer(collateral.root_ca_crl),
        }  # fmt: skip

    def serve_manifest(self, identifier: str, content: bytes, **changes: Any) -> None:
        document = {"id": identifier, "rim": base64.b64encode(content).decode(), "sha256": ""} | changes
        self.routes[f"/v1/rim/{identifier}"] = answer(json.dumps(document).encode())

    def _pairs(self) -> list[tuple[Issued, Issued]]:
        one, device = self.manifests, self.device
        paths = ([one.signer, one.issuer, one.middle, one.root],
                 [device.leaf, device.device, device.provisioner, device.model, device.root])  # fmt: skip
        return [(path[at], path[at + 1]) for path in paths for at in range(len(path) - 1)]

    def _ocsp(self, request: bytes) -> bytes:
        serial = ocsp.load_der_ocsp_request(request).serial_number
        for subject, issuer in self._pairs():
            if subject.certificate.serial_number == serial:
                return ocsp_answer(subject, issuer, status=self.statuses.get(serial, ocsp.OCSPCertStatus.GOOD))
        return b"\x30\x03\x0a\x01\x06"  # unauthorized: a certificate of nobody we know

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        services = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                services.seen.append(self.path)
                send = services.routes.get(self.path) or services.routes.get("*") or answer(b"", status=404)
                with suppress(OSError):
                    send(self)

            def do_POST(self) -> None:
                services.seen.append(self.path)
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with suppress(OSError):
                    (services.routes.get("POST") or answer(services._ocsp(body)))(self)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
