"""docs/evidence.md: its Python runs as it stands, and its handle, PCRs and kinds are the code's."""

import re
from pathlib import Path

from demesne.evidence.detect import detect
from demesne.evidence.tpm import DEFAULT_PCRS, KEY_HANDLE

PAGE = (Path(__file__).parents[4] / "docs" / "evidence.md").read_text(encoding="utf-8")


def test_the_pages_python_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "docs/evidence.md", "exec"), {})


def test_the_page_names_what_the_code_has() -> None:
    assert f"0x{KEY_HANDLE:08x}" in PAGE
    assert "0 to 7, 9, 11, 12, 14" in PAGE
    assert DEFAULT_PCRS == (0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 14)
    assert {finding.kind for finding in detect()} <= set(re.findall(r"`([a-z-]+)`", PAGE))
