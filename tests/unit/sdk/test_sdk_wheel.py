"""The SDK's wheel, installed alone in a fresh environment: what it declares is all it needs, and the command starts."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

SDK = Path(__file__).parents[3] / "sdk"
EXTRA = "cli"


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel and, copied from here, the distributions that it asks for; returns bin/."""
    directory = tmp_path_factory.mktemp("alone")
    source = directory / "sdk"
    shutil.copytree(SDK, source, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)], cwd=source, check=True,
        capture_output=True, timeout=60,
    )  # fmt: skip
    venv.create(directory / "venv", with_pip=False)
    python = directory / "venv" / "bin" / "python"
    (wheel,) = directory.glob("demesne-*.whl")
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", "-q", str(wheel)],
        check=True, capture_output=True, timeout=100, env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    site = Path(sysconfig.get_path("purelib", vars={"base": str(directory / "venv")}))
    (installed,) = Distribution.discover(name="demesne", path=[str(site)])
    for name in closure(installed):
        copy(distribution(name), site)
    return python.parent


def closure(of: Distribution) -> set[str]:
    """Names of everything `of` and its cli extra ask for, as this machine resolves it."""
    found: set[str] = set()
    waiting = [(of, {"", EXTRA})]
    while waiting:
        asking, extras = waiting.pop()
        for line in asking.requires or ():
            wanted = Requirement(line)
            if wanted.marker is not None and not any(wanted.marker.evaluate({"extra": extra}) for extra in extras):
                continue
            if wanted.name not in found:
                found.add(wanted.name)
                waiting.append((distribution(wanted.name), {"", *wanted.extras}))
    return found


def copy(dist: Distribution, site: Path) -> None:
    for file in dist.files or ():
        if ".." not in file.parts and "__pycache__" not in file.parts:
            target = site / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


def said(alone: Path, *command: str) -> str:
    environment = {"PATH": str(alone), "HOME": "/nonexistent", "COLUMNS": "200"}
    done = subprocess.run(
        [str(alone / command[0]), *command[1:]], env=environment, cwd="/", capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_imports_with_what_it_declares_and_without_the_server(alone: Path) -> None:
    code = """
import importlib.util, demesne, demesne.aio, demesne.errors, demesne.s3
from demesne.evidence import chosen
chosen("sample")
absent = ("gateway", "vault", "ingest", "lineage", "boto3", "botocore", "s3fs", "aiobotocore", "pyarrow", "fastapi")
for name in absent:
    assert importlib.util.find_spec(name) is None, name
try:
    demesne.session("http://127.0.0.1:1", purpose="p", scope=["a"], region="de", attester="sample",
                    s3_endpoint="http://127.0.0.1:1", credentials={"access_key_id": "A", "secret_access_key": "b"})
except demesne.Unavailable as error:
    print(error.code)
"""
    assert said(alone, "python", "-W", "error", "-c", code).strip() == "endpoint.unreachable"


def test_the_command_starts_and_has_the_clients_part(alone: Path) -> None:
    shown = said(alone, "demesne", "--help")
    assert {"agent", "creds", "lineage", "session"} <= {word.strip("│ ") for word in shown.split()}
    assert "--token-file" in said(alone, "demesne", "agent", "--help")


def test_each_client_that_is_missing_names_its_extra(alone: Path) -> None:
    code = """
from pathlib import Path
from demesne import NotConfigured
from demesne.reach import Reach
reach = Reach("http://127.0.0.1:1/v1/credentials", Path("/t"), "http://127.0.0.1:1", "de")
for name in ("boto3", "filesystem", "storage_options", "duckdb", "pyarrow"):
    try:
        getattr(reach, name)()
    except NotConfigured as error:
        print(error.remedy)
"""
    lines = said(alone, "python", "-c", code).splitlines()
    assert lines == [f"pip install 'demesne[{extra}]'" for extra in ("boto3", "s3fs", "s3fs", "duckdb", "pyarrow")]
