"""Every snippet of docs/sdk.md runs, in the order they stand, in one program."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.sdk.sdk_world import environment_of, gateway_with_claims

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "sdk.md"
_SNIPPET = re.compile(r"<!-- run -->\n```python\n(.*?)```", re.DOTALL)


def test_every_python_snippet_is_run() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(_SNIPPET.findall(text)) == text.count("```python")


@pytest.mark.timeout(180)
def test_the_snippets_run(tmp_path: Path) -> None:
    with gateway_with_claims("people", "people.parquet") as gateway:
        program = tmp_path / "page.py"
        program.write_text("ATTESTER = 'sample'\n" + "\n".join(_SNIPPET.findall(PAGE.read_text(encoding="utf-8"))))
        done = subprocess.run(
            [sys.executable, str(program)], env=environment_of(gateway, ROOT), cwd=tmp_path, capture_output=True,
            text=True, timeout=150, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Ada" in done.stdout
    assert "[2, 2]" in done.stdout
    assert "NotFound NoSuchKey" in done.stdout
    said = [document for _, document in gateway.statements]
    assert [entry["status"] for entry in said] == ["started", "completed"]
    assert len(said[1]["models"]["s3://models/risk.bin"]) == 64
    assert all(session.revoked for session in gateway.sessions.values())
    key = {f"AS{session_id[:16]}" for session_id in gateway.sessions}
    assert set(gateway.identities) <= key  # never the job's own key
