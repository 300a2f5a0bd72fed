"""A slice of `make fuzz`: other targets each day, a few seconds each. And: the fuzzer finds what is planted."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from tests.fuzz.__main__ import run
from tests.fuzz.targets import targets

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("DEMESNE_CI"))
PLANTED = """
import sys
from pathlib import Path
import tests.fuzz.targets as targets
from tests.fuzz.__main__ import one
from vault.attest.snp.policy import SnpPolicy
targets.SnpPolicy = lambda: SnpPolicy(vmpls=range(1 << 32))  # the check of the privilege level, gone
one("snp-signed", 30, Path(sys.argv[1]))
"""


def _today() -> list[str]:
    names, day = sorted(targets()), date.today().toordinal()
    return [names[(day * 4 + n) % len(names)] for n in range(4 if LONG else 1)]


@pytest.mark.parametrize("name", _today())
def test_a_slice_of_the_fuzzing_finds_nothing(name: str) -> None:
    row = run(name, 4 if LONG else 1)
    assert not row["found"], row
    assert row["executions"]


def test_the_fuzzer_finds_a_check_that_is_gone(tmp_path: Path) -> None:
    child = subprocess.run(
        ["/bin/sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", PLANTED, str(tmp_path)],  # as in `run`
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert child.returncode != 0
    assert "a measurement that was not signed" in child.stderr + child.stdout
