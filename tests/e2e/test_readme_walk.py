"""The README's five minutes, run as written, against zones of the test's own."""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WALK = re.findall(
    r"<!-- walk -->\n```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL
)
TRIES = 20  # a masked view that is being built answers 503; s3fs gives up before a slow machine is done

pytestmark = [pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory as the reader's: `.venv` in it, zones running, and their ready file where the README says."""
    with tempfile.TemporaryDirectory(prefix="demesne-walk-") as name:
        where = Path(name)
        (where / ".venv").symlink_to(Path(sys.prefix))
        state = where / ".demesne-dev"
        command = [
            str(Path(sys.executable).with_name("demesne")), "dev", "--state-dir", str(state), "--s3-port", "0",
            "--api-port", "0",
        ]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment(where)) as process:
            try:
                end = time.monotonic() + 90
                while not (state / "ready.json").exists():
                    assert process.poll() is None
                    assert time.monotonic() < end
                    time.sleep(0.1)
                yield where
            finally:
                process.terminate()


def environment(where: Path) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": str(where), "DEMESNE_READY_FILE": str(where / ".demesne-dev" / "ready.json")}


def run(step: tuple[str, str], where: Path) -> str:
    """Run one block; returns what it printed. A sh block stops at its first failure."""
    kind, block = step
    command = ["bash", "-euc", block] if kind == "sh" else [sys.executable, "-c", block]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, cwd=where, env=environment(where) | {"PATH": path}, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_walk_shows_what_the_readme_says(place: Path) -> None:
    ingest, masked, raw, proof = WALK
    assert "people.csv" in run(ingest, place)
    shown = wait_for_the_view(masked, place)
    assert "Anna" not in shown
    assert "@example.org" not in shown
    assert "DE89370400440532013000" not in shown
    assert "p_" in shown  # pseudonyms
    opened = run(raw, place)
    assert "Anna Schmidt" in opened
    assert "SAMPLE ATTESTATION" in opened
    said = run(proof, place)
    assert "Verified:" in said
    assert "first-run" in said


def wait_for_the_view(block: tuple[str, str], place: Path) -> str:
    for _ in range(TRIES):
        try:
            return run(block, place)
        except AssertionError as error:
            if "SlowDown" not in str(error) and "being built" not in str(error):
                raise
            time.sleep(1)
    return run(block, place)
