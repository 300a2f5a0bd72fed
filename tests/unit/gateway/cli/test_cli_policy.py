"""`demesne policy`: the shipped doctrine passes, a broken one is named with file and row, explanations explain."""

import json
import re
from pathlib import Path

import pytest

from demesne.cli import app
from gateway.cli.policy import shipped_doctrine


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "broken.rego").write_text("# METADATA\n# title: broken\npackage demesne.broken\n\nnope(\n")
    return tmp_path


def test_the_shipped_doctrine_may_be_activated(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["policy", "check", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["passed"] is True
    assert "regorus" in said["engines"]


def test_the_example_of_the_documents_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[4] / "docs" / "spec" / "decision-input.json"
    assert app.run(["policy", "explain", str(example)]) == 0
    assert capsys.readouterr().out.startswith("Allowed: view masked")


def test_a_broken_doctrine_is_named_with_file_and_row(broken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["policy", "check", "--dir", str(broken)]) == 1
    assert re.search(r"broken\.rego:[56]: ", capsys.readouterr().out)  # the engines count the end differently


def test_the_shipped_doctrine_passes_its_own_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["policy", "test", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["failed"] == []
    assert said["passed"] > 100


def test_a_doctrine_without_tests_does_not_pass_them(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text("package demesne.a\n\nallow := false\n")
    assert app.run(["policy", "test", "--dir", str(tmp_path)]) != 0


def test_a_doctrine_that_does_not_compile_cannot_be_tested(broken: Path) -> None:
    assert app.run(["policy", "test", "--dir", str(broken)]) == 2


def test_an_empty_request_is_refused_with_rule_and_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    request = tmp_path / "request.json"
    request.write_text("{}")
    assert app.run(["policy", "explain", str(request), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["allow"] is False
    assert {"rule", "code", "message", "remedy", "title"} <= set(said["reasons"][0])
    assert app.run(["policy", "explain", str(request)]) == 1
    assert "what to do:" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_what_is_no_request_is_unusable(tmp_path: Path, content: str) -> None:
    request = tmp_path / "request.json"
    request.write_text(content)
    assert app.run(["policy", "explain", str(request)]) == 2
    assert app.run(["policy", "explain", str(tmp_path / "absent")]) == 2


def test_the_shipped_doctrine_is_where_the_commands_look() -> None:
    assert (shipped_doctrine() / "main" / "main.rego").is_file()
