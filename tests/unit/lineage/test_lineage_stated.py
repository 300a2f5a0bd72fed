"""What a job says of its run: beside what was observed, never mixed with it, and not when it was changed since."""

import hashlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from demesne.cli.lineage import tree_of
from lineage.questions import Lineage
from lineage.tree import run_tree
from tests.fakes.ledger import entry_id
from tests.unit.lineage.test_lineage import STORY, TRAIN, CatalogNames, project

SAID = {
    "name": "risk-v7", "status": "completed", "parents": ["d0" * 16], "outputs": ["s3://models/risk/model.joblib"],
    "models": {"s3://models/risk/model.joblib": "ab" * 32},
}  # fmt: skip
TEXT = json.dumps(SAID, sort_keys=True, separators=(",", ":"))


class Talkative(CatalogNames):
    def __init__(self, text: str | None) -> None:
        self._text = text

    def statement(self, statement_id: str) -> str | None:
        return self._text if statement_id == entry_id(70) else None


def stated(number: int = 70, run: str = TRAIN, text: str = TEXT) -> dict[str, Any]:
    at = f"2026-11-21T10:00:{number % 60:02d}.000Z"
    return {
        "v": 1, "type": "run-statement", "id": entry_id(number + 100), "at": at, "zone": "de", "tenant": "main",
        "principal": "ab" * 16, "purpose": "p", "session": None, "run": run, "statement": entry_id(number),
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
    }  # fmt: skip


def run_node(path: Path, run: str = TRAIN) -> dict[str, Any]:
    nodes = Lineage(path).neighbourhood(run=run)["nodes"]
    found: dict[str, Any] = next(node for node in nodes if node["id"] == run)
    return found


def test_words_stand_beside_what_was_observed(tmp_path: Path) -> None:
    path = project(tmp_path, [*STORY, stated()], Talkative(TEXT))
    node = run_node(path)
    assert node["name"] == "train-risk"  # the session's, as the gateway knows it; the job's own is below
    (said,) = node["stated"]
    assert {name: said[name] for name in SAID} == SAID
    assert said["statement_id"] == entry_id(70)
    observed = Lineage(path).neighbourhood(run=TRAIN)
    assert (
        observed["edges"] == Lineage(project(_made(tmp_path), STORY, Talkative(None))).neighbourhood(run=TRAIN)["edges"]
    )
    assert run_tree(path, TRAIN).facts["stated by the job"] == [said]


def test_events_carry_them_in_a_facet_of_their_own(tmp_path: Path) -> None:
    events = Lineage(project(tmp_path, [*STORY, stated()], Talkative(TEXT))).events()
    told = [event for event in events if event["run"]["facets"]]
    assert told
    facet = told[-1]["run"]["facets"]["demesne_stated"]
    assert facet["_schemaURL"].startswith("urn:demesne:spec:lineage:1#")
    assert facet["statements"][0]["models"] == SAID["models"]
    assert {event["job"]["name"] for event in told} == {"train-risk"}


def test_a_statement_alone_is_an_event(tmp_path: Path) -> None:
    events = Lineage(project(tmp_path, [stated()], Talkative(TEXT))).events()
    assert [event["eventType"] for event in events] == ["START", "RUNNING"]


def test_words_that_were_changed_since_are_left_out_and_it_is_said(tmp_path: Path) -> None:
    for position, text in enumerate((TEXT.replace("risk-v7", "risk-v8"), None)):
        (said,) = run_node(project(_made(tmp_path, f"w{position}"), [*STORY, stated()], Talkative(text)))["stated"]
        assert said["status"] == "unreadable"
        assert "name" not in said


def test_a_statement_recorded_twice_counts_once(tmp_path: Path) -> None:
    entry = stated()
    assert len(run_node(project(tmp_path, [*STORY, entry, entry], Talkative(TEXT)))["stated"]) == 1


def test_the_command_line_marks_them_as_the_jobs_words(tmp_path: Path) -> None:
    path = project(tmp_path, [*STORY, stated()], Talkative(TEXT))
    console = Console(width=300, record=True, file=open("/dev/null", "w"))  # noqa: SIM115 - a terminal nobody sees
    console.print(tree_of(Lineage(path).neighbourhood(run=TRAIN), "train"))
    shown = console.export_text()
    console.file.close()
    assert "job says: name risk-v7; status completed" in shown
    assert "abababababababab" in shown


def _made(parent: Path, name: str = "other") -> Path:
    made = parent / name
    made.mkdir()
    return made
