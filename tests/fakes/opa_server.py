"""A real OPA server on loopback for tests: found on PATH, by OPA_BINARY, or not at all."""

import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager


def opa_binary() -> str | None:
    """Path of an OPA binary, None when this machine has none."""
    return os.environ.get("OPA_BINARY") or shutil.which("opa")


@contextmanager
def opa_server() -> Iterator[str]:
    """Run `opa run --server` on a free loopback port; yields its URL."""
    binary = opa_binary()
    assert binary is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [binary, "run", "--server", "--addr", f"127.0.0.1:{port}", "--log-level", "error", "--skip-version-check"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                try:
                    with urllib.request.urlopen(f"{url}/health", timeout=1):
                        break
                except (urllib.error.URLError, OSError):
                    time.sleep(0.05)
            yield url
        finally:
            process.kill()
