"""Services on a confidential machine: Azure's host service (IMDS) over loopback, Google's launcher over its socket."""

import base64
import json
import socketserver
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self

Answer = tuple[int, bytes]


class _Quiet(socketserver.ThreadingMixIn):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves early is none of ours."""


class _Threaded(_Quiet, socketserver.TCPServer):
    allow_reuse_address = True


class _ThreadedUnix(_Quiet, socketserver.UnixStreamServer):
    pass


class LocalService:
    """An HTTP/1.1 server on loopback or a Unix socket. `requests`: method, path, headers and body of each."""

    def __init__(self, answer: Callable[[str, str, dict[str, str], bytes], Answer], socket: Path | None = None) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.override: list[Answer] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", "0")))
                service.requests.append((self.command, self.path, headers, body))
                status, content = (
                    service.override.pop(0) if service.override else answer(self.command, self.path, headers, body)
                )
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                for start in range(0, len(content), 700):  # arrives in pieces
                    self.wfile.write(content[start : start + 700])
                    self.wfile.flush()

            do_GET = do_POST = _serve  # noqa: N815 - the names that the base class calls

            def log_message(self, *_: Any) -> None:
                pass

            def address_string(self) -> str:
                return "local"

        self._server: socketserver.BaseServer = (
            _Threaded(("127.0.0.1", 0), Handler) if socket is None else _ThreadedUnix(str(socket), Handler)
        )
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.02), daemon=True)

    @property
    def url(self) -> str:
        assert isinstance(self._server, _Threaded)
        return f"http://127.0.0.1:{self._server.socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def azure_host(certificates: list[bytes], quote: Callable[[bytes], bytes] | None = None) -> LocalService:
    """THIM's certificates (VCEK first, PEM), and quotes over TDREPORTs. It wants `metadata`, as the real one."""

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if headers.get("metadata") != "true":
            return 400, b'{"error":"Bad request. Required metadata header not specified"}'
        if (method, path) == ("GET", "/metadata/THIM/amd/certification"):
            document = {
                "vcekCert": certificates[0].decode(), "tcbm": "DB18000000000004",
                "certificateChain": b"".join(certificates[1:]).decode(), "cacheControl": "86400",
            }  # fmt: skip
            return 200, json.dumps(document).encode()
        if (method, path) == ("POST", "/acc/tdquote") and quote is not None:
            text = json.loads(body)["report"]
            report = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            made = base64.urlsafe_b64encode(quote(report)).rstrip(b"=").decode()
            return 200, json.dumps({"quote": made}).encode()
        return 404, b"{}"

    return LocalService(answer)


def space_launcher(socket: Path, token: Callable[[dict[str, Any]], str]) -> LocalService:
    """The launcher's token endpoint: nonces of 8 to 88 characters, at most six."""

    def answer(method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        del headers
        if (method, path) != ("POST", "/v1/token"):
            return 404, b"not found"
        asked = json.loads(body)
        nonces = asked.get("nonces", [])
        if not asked.get("audience") or asked.get("token_type") not in {"OIDC", "PKI"}:
            return 400, b"audience and token type are required"
        if not 1 <= len(nonces) <= 6 or not all(8 <= len(nonce) <= 88 for nonce in nonces):
            return 400, b"nonce length must be between 8 and 88 bytes"
        return 200, token(asked).encode()

    return LocalService(answer, socket)
