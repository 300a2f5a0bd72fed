"""What the engine of decisions is loaded with: all that a decision can read, and nothing of what it cannot."""

import json
from typing import Any

import pytest

from gateway.decide import frames
from gateway.decide.bundle import read_bundle
from gateway.decide.reachable import reachable
from gateway.decide.regorus_child import Evaluator
from tests.fakes import decision_inputs as given
from tests.fakes.doctrine import POLICIES

MAIN = "package demesne.main\n\nimport data.demesne.one\n\ndecision := one.a\n"
ONE = "package demesne.one\n\na := 1\n"
TWO = "package demesne.two\n\nb := 2\n"


def paths(*texts: str) -> set[int]:
    modules = [(str(index), text) for index, text in enumerate(texts)]
    return {int(path) for path, _ in reachable(modules, "demesne.main.decision")}


def test_what_is_imported_is_there_and_nothing_else() -> None:
    assert paths(MAIN, ONE, TWO) == {0, 1}


@pytest.mark.parametrize(
    "line",
    [
        "a := data.demesne.two.b", "a := data.demesne[input.name].b", "a := data[input.name]",
        "import data.demesne.two as t",
        "import data.demesne as everything", 'a := $"{data.demesne.two.b}"',
    ],
)  # fmt: skip
def test_what_may_be_reached_is_there(line: str) -> None:
    assert 2 in paths(MAIN, f"package demesne.one\n\n{line}\n", TWO)


@pytest.mark.parametrize("line", ["# data.demesne.two", 'a := "data.demesne.two"', "a := input.data.demesne.two"])
def test_words_are_no_references(line: str) -> None:
    assert 2 not in paths(MAIN, f"package demesne.one\n\n{line}\n", TWO)


def test_no_decision_reads_the_rules_about_evidence() -> None:
    """They are asked once a session, and would be paid for in every read."""
    taken = {path for path, _ in reachable(read_bundle(POLICIES).modules, "demesne.main.decision")}
    assert not {path for path in taken if path.startswith(("attestation/appraisal/", "evidence/"))}
    assert "guardrails/raw_floor/raw_floor.rego" in taken


def test_both_engines_of_a_child_decide_alike() -> None:
    bundle = read_bundle(POLICIES)
    child = Evaluator()
    content = {"modules": [list(module) for module in bundle.modules], "data": bundle.data}
    assert child.answer(frames.LOAD, json.dumps(content).encode())[0] == frames.READY
    for document in (given.analyst_reads(), given.trainer_reads(), given.trainer_writes(), given.steward("write")):
        question = b"demesne/main/decision\0" + json.dumps(document).encode()
        few = child.answer(frames.EVALUATE, question)
        decisions, child._decisions = child._decisions, None
        whole: Any = child.answer(frames.EVALUATE, question)
        child._decisions = decisions
        assert few == whole
        assert few[0] == frames.VALUE
