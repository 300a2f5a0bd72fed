"""What docs/clients.md tells people to write: every snippet run as it stands, in an attested session."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.conftest import ROOT
from tests.e2e.conftest import DATASET
from tests.e2e.people import Input
from tests.e2e.test_clients import QUIET, installed
from tests.e2e.world import World

BIN = Path(sys.executable).parent
SNIPPET = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
# All in one process: their imports are most of the time. Ray is told to be small.
RUN_ALL = """
import json, sys, warnings
warnings.simplefilter("ignore")
def ray_small():
    import ray, tempfile
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False,
             logging_level="ERROR", _temp_dir=tempfile.mkdtemp(prefix="dms-ray-", dir="/tmp"))
found = {}
for name, code in json.load(sys.stdin):
    space = {"__name__": "snippet"}
    try:
        if "import ray" in code:
            ray_small()
        exec(compile(code, name, "exec"), space)
        found[name] = list(space["emails"])
    except Exception as error:
        found[name] = f"{type(error).__name__}: {error}"
print(json.dumps(found))
"""
pytestmark = pytest.mark.timeout(180)


def snippets(language: str) -> list[tuple[str, str]]:
    """(heading and number, code) of every block below a client's heading."""
    text = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    parts = HEADING.split(text)[1:]
    found = []
    for title, body in zip(parts[::2], parts[1::2], strict=True):
        blocks = [code for kind, code in SNIPPET.findall(body) if kind == language]
        found += [(f"{title} {number}", code) for number, code in enumerate(blocks, 1)]
    return found


PYTHON = [(name, code) for name, code in snippets("python") if "torch" not in code or "torch" in installed()]


@pytest.fixture(scope="module")
def environment(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    session: Any = world.attest(DATASET, run="clients-page")
    home = tmp_path_factory.mktemp("page")
    base = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(home), "LANG": "C.UTF-8"}
    yield base | QUIET | session.env()
    session.close()


@pytest.fixture(scope="module")
def seen(environment: dict[str, str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL], input=json.dumps(PYTHON), env=environment, cwd=environment["HOME"],
        capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("name", [name for name, _ in PYTHON])
def test_a_snippet_reads_the_raw_rows(name: str, seen: dict[str, Any], made: Input) -> None:
    assert seen[name] == list(made.emails)


@pytest.mark.parametrize(("name", "command"), snippets("sh"), ids=[name for name, _ in snippets("sh")])
def test_a_command_fetches_the_raw_object(
    name: str, command: str, environment: dict[str, str], tmp_path: Path, made: Input
) -> None:
    subprocess.run(["sh", "-euc", command], env=environment, cwd=tmp_path, check=True, timeout=60)
    assert pq.read_table(tmp_path / "part-0.parquet")["email"].to_pylist() == list(made.emails)


def test_the_doctor_finds_a_sessions_environment_well(environment: dict[str, str]) -> None:
    """All but what nothing in the environment can heal: pyarrow's constructor reads no endpoint."""
    done = subprocess.run(
        [str(BIN / "demesne"), "doctor", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    document = json.loads(done.stdout)
    assert (done.returncode, document["ok"]) == (0, True), document
    found = {check["what"]: check["state"] for check in document["checks"]}
    assert found.pop("AWS_ENDPOINT_URL") == "warn"
    assert found["credentials endpoint"] == "ok"
    assert found[f"clock of zone {environment['AWS_ENDPOINT_URL'].partition('://')[2]}"] == "ok"
    assert set(found.values()) <= {"ok", "skip"}


def test_the_page_has_a_snippet_for_every_client() -> None:
    named = " ".join(code for language in ("python", "sh") for _, code in snippets(language))
    wanted = (
        "boto3", "aws ", "pandas", "S3FileSystem", "ds.dataset", "polars", "credential_provider=None", "obstore",
        "minio", "rclone", "PyArrowFileIO", "FsspecFileIO", "duckdb", "datasets", "ray", "sklearn", "DataLoader",
    )  # fmt: skip
    assert [client for client in wanted if client not in named] == []
