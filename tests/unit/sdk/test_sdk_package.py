"""The SDK stands alone: it imports with its three dependencies only, and its list of public names is kept."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import demesne

ROOT = Path(__file__).parents[3]
SDK = ROOT / "sdk"
_ALONE = """
import sys
class Refuse:
    refused = {refused!r}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.refused:
            raise ImportError(f"the SDK's core may not need {{name}}")
sys.meta_path.insert(0, Refuse())
import demesne, demesne.s3, demesne.settings
"""
SERVER = {"gateway", "vault", "lineage", "ingest"}
EXTRAS = {"boto3", "botocore", "s3fs", "aiobotocore", "fsspec", "pyarrow", "typer", "rich", "pandas", "pydantic"}


def test_the_core_imports_without_server_and_extras() -> None:
    code = _ALONE.format(refused=SERVER | EXTRAS)
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, cwd="/", env={"PYTHONPATH": str(SDK / "src")})


def test_no_module_names_the_server() -> None:
    imports = re.compile(rf"^\s*(?:from|import) ({'|'.join(SERVER)})\b", re.MULTILINE)
    for path in (SDK / "src").rglob("*.py"):
        assert not imports.search(path.read_text()), path


def test_core_dependencies_are_three() -> None:
    project = tomllib.loads((SDK / "pyproject.toml").read_text())["project"]
    names = {re.split(r"[<>=\[ ]", entry)[0] for entry in project["dependencies"]}
    assert names == {"httpx2", "cryptography"}
    assert project["version"] == demesne.__version__


def test_every_public_name_is_there() -> None:
    assert sorted(demesne.__all__) == demesne.__all__
    for name in demesne.__all__:
        assert getattr(demesne, name) is not None
