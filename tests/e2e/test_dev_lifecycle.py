"""`demesne dev` as a person runs it: real processes, the ready file, a clean end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

COMMAND = [sys.executable, "-c", "from demesne.cli import main; main()", "dev"]
START_SECONDS = 60.0

pytestmark = pytest.mark.timeout(180)


@contextmanager
def dev(state: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DEMESNE_", "AWS_"))}
    arguments = [*COMMAND, "--state-dir", str(state), "--s3-port", "0", "--api-port", "0", *options]
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + START_SECONDS
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, f"{path} was not written"
        time.sleep(0.05)


def descendants(pid: int) -> set[int]:
    """Every living process below `pid`."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
    found, wave = set[int](), {pid}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave} - found
        found |= wave
    return found


def gone(pids: set[int]) -> bool:
    end = time.monotonic() + 15
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_ready_file_readiness_and_a_clean_end(tmp_path: Path) -> None:
    state, ready = tmp_path / "state", tmp_path / "ready.json"
    with dev(state, "--ready-file", str(ready)) as process:
        wait_for(ready, process)
        document = json.loads(ready.read_text())
        assert ready.stat().st_mode & 0o777 == 0o600  # it holds credentials
        assert set(document) == {"s3_endpoint", "api_endpoint", "region", "pid", "zones", "credentials"}
        assert set(document["credentials"]) == {"steward", "analyst", "custodian"}
        assert [zone["name"] for zone in document["zones"]] == ["de", "fr"]
        assert document["pid"] == process.pid
        assert document["s3_endpoint"] == document["zones"][0]["s3_endpoint"]
        for zone in document["zones"]:
            assert httpx2.get(f"{zone['api_endpoint']}/readyz", trust_env=False).status_code == 200
        started = descendants(process.pid)
        assert len(started) >= 8  # four roles of two zones
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (0, "")
        assert "DEMESNE_READY_FILE" in out
    assert not ready.exists()
    assert gone(started)
    for zone in document["zones"]:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", urlsplit(zone["s3_endpoint"]).port)) != 0


def test_the_same_state_serves_again_with_the_same_credentials(tmp_path: Path) -> None:
    seen = []
    for _ in range(2):
        with dev(tmp_path / "state", "--zones", "de", "--json") as process:
            wait_for(tmp_path / "state" / "ready.json", process)
            seen.append(json.loads((tmp_path / "state" / "ready.json").read_text())["credentials"])
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=30)
            assert process.returncode == 0
            assert json.loads(out)["credentials"] == seen[-1]  # --json: one document and nothing else
    assert seen[0] == seen[1]


def test_a_signal_while_starting_leaves_nothing_running(tmp_path: Path) -> None:
    with dev(tmp_path / "state") as process:
        wait_for(tmp_path / "state" / "zones" / "de", process)
        started = descendants(process.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 0
    assert gone(started)
    assert not (tmp_path / "state" / "ready.json").exists()
