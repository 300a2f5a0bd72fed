"""Documents that can fail: links lead somewhere, commands exist, decisions have costs."""

import re
from pathlib import Path

import pytest
import typer.main

from demesne.cli.app import build

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "deploy/README.md",
]
ADRS = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))


def commands() -> set[str]:
    """Every command there is: {"dev", "ledger verify", …}."""
    found = set()
    application = typer.main.get_command(build())
    for name, command in application.commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {f"{name} {sub}" for sub in below} if below else {name}
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def mentioned(text: str) -> set[str]:
    """`demesne ledger verify` and, after a first of a group, `ledger receipt`."""
    names = {line.strip() for line in re.findall(r"`(?:demesne )?([a-z][a-z-]*(?: [a-z-]+)?)`", text)}
    names |= {" ".join(line.split()[1:3]) for line in re.findall(r"^\s*demesne [^\n]*", text, re.MULTILINE)}
    return names


@pytest.mark.parametrize("page", ["README.md", "docs/cli.md"])
def test_commands_in_the_documents_exist(page: str) -> None:
    known = commands()
    groups = {name.split()[0] for name in known}
    named = {name for name in mentioned((ROOT / page).read_text()) if name.split()[0] in groups}
    odd = {name for name in named if name not in known | groups and name.split()[0] not in known}
    assert named
    assert odd == set()


def test_every_command_is_in_the_command_page() -> None:
    text = (ROOT / "docs" / "cli.md").read_text()
    assert {name for name in commands() if f"{name}`" not in text} == set()


def test_every_command_has_help_and_json() -> None:
    application = typer.main.get_command(build())
    silent = []

    def look(command: object, path: str) -> None:
        below = getattr(command, "commands", None)
        if below:
            for name, sub in below.items():
                look(sub, f"{path} {name}")
            return
        options = {option for parameter in command.params for option in parameter.opts}  # type: ignore[attr-defined]
        if not (command.help or "").strip() or "--json" not in options:  # type: ignore[attr-defined]
            silent.append(path)

    look(application, "demesne")
    assert silent == []


def test_decisions_are_numbered_without_gaps_and_state_their_cost() -> None:
    numbers = [int(path.name[:4]) for path in ADRS]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > 5
    for path in ADRS:
        text = path.read_text()
        for heading in ("## Context", "## Decision", "## Costs"):
            assert heading in text, f"{path.name}: {heading}"


def test_the_readme_begins_with_the_two_commands() -> None:
    first = re.search(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == ["make demo", "make test"]
