"""The house about itself: names, lengths, siblings, locks, and what must never be written down."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("gateway", "vault", "lineage", "ingest", "sdk/src/demesne")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "common", "core", "base", "misc", "manager", "managers"}
MAX_MODULE_LINES = 400
# Where somebody's copy happens to lie is no part of the project.
FORBIDDEN_TEXT = re.compile(r"(?<![\w.-])/(?:work|farm)/|(?<![\w./-])/roo[t]/")


def tracked() -> list[Path]:
    """Files of the repository: those git tracks; without git, those of the packages."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        return [path for folder in (*PACKAGES, "tests", "docs", "policies") for path in (ROOT / folder).rglob("*.*")]
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


FILES = tracked()
TEXTS = [path for path in FILES if path.suffix in {".py", ".md", ".toml", ".yml", ".rego", ".json", ".lock", ""}]
MODULES = [path for path in FILES if path.suffix == ".py" and path.relative_to(ROOT).parts[0] != "tests"]


def test_no_folder_and_no_module_has_a_name_that_says_nothing() -> None:
    names = {part.removesuffix(".py") for path in MODULES for part in path.relative_to(ROOT).parts}
    assert names & FORBIDDEN_NAMES == set()


def test_no_module_is_longer_than_a_reader_can_hold() -> None:
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in MODULES}
    lengths = {path: count for path, count in lengths.items() if "versions" not in path.parts}
    assert {str(path): count for path, count in lengths.items() if count > MAX_MODULE_LINES} == {}


def test_nothing_names_somebodys_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match[0]!r}"
        for path in TEXTS
        if (match := FORBIDDEN_TEXT.search(path.read_text(errors="replace")))
    ]
    assert found == []


def test_locks_pin_hashes_and_name_no_host() -> None:
    locks = sorted(ROOT.glob("requirements*.lock"))
    assert len(locks) == 3
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, lock
        assert not re.search(r"^\s*(?:-i|--index-url|--extra-index-url|--find-links|-f)\b", text, re.MULTILINE), lock
        for requirement in re.findall(r"^[a-z0-9].*?(?=^[a-z0-9]|\Z)", text, re.MULTILINE | re.DOTALL):
            assert "==" in requirement.splitlines()[0], f"{lock.name}: {requirement[:60]}"
            assert "--hash=sha256:" in requirement, f"{lock.name}: {requirement[:60]}"


def test_every_rule_has_a_test_beside_it() -> None:
    rules = [path for path in FILES if path.suffix == ".rego" and not path.stem.endswith("_test")]
    assert len(rules) > 10
    missing = [str(path.relative_to(ROOT)) for path in rules if not path.with_name(f"{path.stem}_test.rego").exists()]
    assert missing == []


@pytest.mark.parametrize(
    "page",
    [
        "sealed-object", "keys", "decision", "ledger", "views", "lineage", "contract", "attested-session", "s3-subset",
        "residency",
    ],
)
def test_every_format_has_its_page(page: str) -> None:
    text = (ROOT / "docs" / "spec" / f"{page}.md").read_text()
    assert text.startswith("# ")
    assert len(text) > 500


def test_a_page_that_code_or_docs_name_exists() -> None:
    named = {match for path in TEXTS for match in re.findall(r"docs/[a-z0-9/-]+\.md", path.read_text(errors="replace"))}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_module_says_what_it_is() -> None:
    silent = []
    for path in MODULES:
        tree = ast.parse(path.read_text())
        if tree.body and not ast.get_docstring(tree):
            silent.append(str(path.relative_to(ROOT)))
    assert silent == []


def test_settings_are_the_only_reader_of_the_environment() -> None:
    """`os.environ` stands where a program begins: settings, the command line's own needs, and nowhere else."""
    allowed = {"gateway/cli", "sdk/src/demesne", "gateway/enforce"}
    found = []
    for path in MODULES:
        name = str(path.relative_to(ROOT))
        if path.relative_to(ROOT).parts[0] not in {"gateway", "vault", "lineage", "ingest"}:
            continue
        if re.search(r"\bos\.(?:environ|getenv)\b", path.read_text()) and not any(name.startswith(a) for a in allowed):
            found.append(name)
    assert found == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/threat-model.md", "CONTRIBUTING.md", "docs/cli.md"])
def test_places_that_a_page_names_exist(page: str) -> None:
    """`gateway/reads.py` in a text that nobody updates sends the next reader astray."""
    named = re.findall(
        r"`((?:gateway|vault|lineage|ingest|sdk|policies|tests|docs|scripts)/[\w./-]*)`", (ROOT / page).read_text()
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by name: of two it runs one, and the run ends."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
