"""An HTTP server in front of a real one that may answer in its place: status, headers and body of a test's choosing."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests


@dataclass(frozen=True)
class Asked:
    """A request as it came. `operation`: what a test tells requests apart by, the path or the KMS target."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        return self.headers.get("X-Amz-Target", self.path)


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


Lie = Callable[[Asked, Answer], Answer]
"""(request, what the real server answered) -> what is sent back."""


@dataclass
class LyingProvider:
    """`lie` acts on requests whose operation contains `about`; `asked` is every request since it was emptied."""

    url: str
    lie: Lie | None = None
    about: str = ""
    asked: list[Asked] = field(default_factory=list)

    def count(self, about: str) -> int:
        return sum(about in each.operation for each in self.asked)


@contextmanager
def lying(upstream: str, ca: Path | None = None) -> Iterator[LyingProvider]:
    provider = LyingProvider("")
    session = requests.Session()
    session.trust_env = False

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            asked = Asked(self.command, self.path, dict(self.headers), self.rfile.read(length))
            provider.asked.append(asked)
            found = session.request(
                asked.method, upstream + asked.path, data=asked.body, timeout=10, allow_redirects=False,
                verify=str(ca) if ca else True, headers={**asked.headers, "Accept-Encoding": "identity"},
            )  # fmt: skip
            answer = Answer(found.status_code, found.content, {"Content-Type": found.headers.get("Content-Type", "")})
            if provider.lie is not None and provider.about in asked.operation:
                answer = provider.lie(asked, answer)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if answer.status != 204:
                self.wfile.write(answer.body)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - as the library calls them

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
        session.close()
