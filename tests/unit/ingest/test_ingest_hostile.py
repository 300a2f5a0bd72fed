"""Hostile Parquet files of the fuzzers: each is read or refused by name; none ends, fills or hangs the process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

VECTORS = Path(os.environ.get("DEMESNE_VECTORS", Path(__file__).parents[4] / "shared" / "vectors"))
HOSTILE = VECTORS / "hostile" / "parquet"
_CHECK_ALL = """
import resource, sys
from pathlib import Path
from ingest.errors import BadFile
from ingest.formats import parquet
from ingest.sources.files import SourceFile
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
for path in map(Path, sys.stdin.read().splitlines()):
    try:
        parquet.check(SourceFile(path, path.name, "parquet", path.stat().st_size))
        print("read", path.name)
    except BadFile as refused:
        assert refused.remedy
        print("refused", path.name)
"""


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="no vectors here: DEMESNE_VECTORS names none")
def test_every_hostile_file_is_read_or_refused() -> None:
    paths = sorted(path for path in HOSTILE.rglob("*") if path.is_file())
    done = subprocess.run(
        [sys.executable, "-c", _CHECK_ALL],
        input="\n".join(map(str, paths)), text=True, capture_output=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == len(paths)
