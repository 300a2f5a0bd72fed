"""The command line against the live fake: tables for people, one JSON document for programs, exit codes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from demesne import cli
from demesne.cli import app
from tests.fakes.api import FakeGateway


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        path = tmp_path / "ready.json"
        path.write_text(json.dumps(running.ready_document()))
        monkeypatch.setenv("DEMESNE_READY_FILE", str(path))
        yield running


@pytest.fixture(autouse=True)
def _only_the_clients_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "entry_points", lambda group: [])


def test_dataset_create_list_show(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["dataset", "create", "claims", "--synthetic", "--zone", "de"]) == 0
    assert gateway.datasets["claims"]["synthetic"] is True
    assert app.run(["dataset", "list"]) == 0
    assert "claims" in capsys.readouterr().out
    assert app.run(["dataset", "show", "claims", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "claims"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["dataset", "show", "absent"], 4),
        (["dataset", "create", "claims", "--zone", "it"], 9),
        (["dataset", "create"], 2),
        (["nonsense"], 2),
        (["dataset", "list", "--ready-file", "/absent"], 9),
        (["lineage", "show"], 5),
        (["--help"], 0),
    ],
)
def test_exit_codes(gateway: FakeGateway, arguments: list[str], code: int) -> None:
    assert app.run(arguments) == code
    assert gateway.datasets == {}


def test_taken_name_exits_7(gateway: FakeGateway) -> None:
    assert app.run(["dataset", "create", "claims"]) == 0
    assert app.run(["dataset", "create", "claims"]) == 7


def test_errors_are_one_json_document_with_json(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["dataset", "show", "absent", "--json"]) == 4
    said = capsys.readouterr()
    assert json.loads(said.out)["error"]["code"] == "dataset.absent"
    assert said.err.startswith("demesne: dataset.absent")


def test_zone_list_lineage_and_receipt(
    gateway: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["zone", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["zones"][0]["name"] == "de"
    assert app.run(["lineage", "show", "claims"]) == 0
    said = capsys.readouterr().out
    assert said.index("s3://claims/part-0 [personal]") < said.index("run train (read, raw, columns email)")
    assert app.run(["lineage", "show", "--events", "--json"]) == 0
    assert [event["eventType"] for event in json.loads(capsys.readouterr().out)["events"]] == ["COMPLETE"]
    assert app.run(["lineage", "show", "--events"]) == 0
    assert json.loads(capsys.readouterr().out)["eventType"] == "COMPLETE"
    assert app.run(["ledger", "receipt", "ab" * 16, "--out", str(tmp_path / "receipt")]) == 0
    assert "tlog-proof" in (tmp_path / "receipt").read_text()


def test_a_name_cannot_paint_the_terminal(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.datasets["x"] = {"name": "\x1b[31mred[bold]x", "zone": "de"}
    assert app.run(["dataset", "list"]) == 0
    said = capsys.readouterr().out
    assert "\x1b[31m" not in said
    assert "[bold]x" in said


def test_no_ready_file_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("DEMESNE_READY_FILE", "DEMESNE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert app.run(["dataset", "list"]) == 9
    assert "demesne dev --ready-file" in capsys.readouterr().err


def test_groups_of_one_name_are_merged(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "server"

        def load(self) -> object:
            return register

    def register(into: typer.Typer) -> None:
        group = typer.Typer()
        group.command("verify")(lambda: None)
        group.command("other")(lambda: None)
        into.add_typer(group, name="ledger")

    monkeypatch.setattr(app, "entry_points", lambda group: [Entry()])
    assert app.run(["ledger", "verify"]) == 0
    assert app.run(["ledger", "receipt", "ab" * 16]) == 0


def test_a_broken_extension_is_named_and_not_fatal(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Entry:
        name = "broken"

        def load(self) -> object:
            raise ImportError("no module named x")

    monkeypatch.setattr(app, "entry_points", lambda group: [Entry()])
    assert app.run(["dataset", "list"]) == 0
    assert "'broken' are not available" in capsys.readouterr().err


def test_without_the_extra_main_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 9
    assert "pip install 'demesne[cli]'" in capsys.readouterr().err
