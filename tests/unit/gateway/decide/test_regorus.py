"""The engine child: deadlines, deaths and bad bundles, on real processes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from gateway.decide.bundle import Bundle, bundle_of
from gateway.decide.engine import (
    UNDEFINED,
    BundleRefused,
    EngineFailed,
    EngineTimeout,
    EngineUnavailable,
)
from gateway.decide.regorus import Regorus

MAIN = """package demesne.main

decision := {"allow": false, "asked": input}

plans := []

missing := 1 if input.never

slow := count([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a == b + input.n])

failing := count(input.n)
"""
EVIDENCE = """package demesne.evidence

appraisal := {"tier": "contraindicated", "submods": {}, "reasons": []}
"""


def bundle(text: str = MAIN, evidence: str = EVIDENCE) -> Bundle:
    return bundle_of([("evidence/evidence.rego", evidence), ("main/main.rego", text)], {"table": {"a": 1}}, ())


def run(scenario: Callable[[Regorus], Awaitable[None]], engine: Regorus | None = None) -> None:
    async def whole() -> None:
        started = engine or Regorus(deadline=0.2)
        try:
            await started.load(bundle())
            await scenario(started)
        finally:
            await started.close()

    asyncio.run(whole())


def test_values_and_undefined() -> None:
    async def scenario(engine: Regorus) -> None:
        document = {"text": "ä\u2028", "null": None, "list": [1, 2]}
        assert await engine.evaluate("demesne/main/decision", document) == {"allow": False, "asked": document}
        assert await engine.evaluate("demesne/main/missing", {}) is UNDEFINED

    run(scenario)


def test_a_failing_builtin_is_a_failure_and_not_undefined() -> None:
    async def scenario(engine: Regorus) -> None:
        with pytest.raises(EngineFailed):
            await engine.evaluate("demesne/main/failing", {"n": 5})
        with pytest.raises(EngineFailed):
            await engine.evaluate("demesne/main/no_such_rule", {})
        assert await engine.evaluate("demesne/main/plans", {}) == []

    run(scenario)


def test_a_slow_rule_is_killed_and_the_next_question_answered() -> None:
    async def scenario(engine: Regorus) -> None:
        child = engine._child
        assert child is not None
        started = time.monotonic()
        with pytest.raises(EngineTimeout):
            await engine.evaluate("demesne/main/slow", {"n": 1})
        assert time.monotonic() - started < 5
        assert child.process.returncode == -signal.SIGKILL
        assert await engine.evaluate("demesne/main/plans", {}) == []
        assert engine.restarts == 1

    run(scenario)


def test_a_child_that_dies_is_replaced() -> None:
    async def scenario(engine: Regorus) -> None:
        assert engine._child is not None
        os.kill(engine._child.process.pid, signal.SIGKILL)
        with pytest.raises(EngineUnavailable):
            await engine.evaluate("demesne/main/plans", {})
        assert await engine.evaluate("demesne/main/plans", {}) == []

    run(scenario)


def test_a_caller_that_goes_away_leaves_no_half_answer() -> None:
    async def scenario(engine: Regorus) -> None:
        for number in range(30):
            large = {"n": number, "fill": "x" * 50_000}
            asking = asyncio.ensure_future(engine.evaluate("demesne/main/decision", large))
            await asyncio.sleep(0.0002 * (number % 5))
            asking.cancel()
            answer = await engine.evaluate("demesne/main/decision", {"n": -number})
            assert answer == {"allow": False, "asked": {"n": -number}}
        assert engine.restarts == 0

    run(scenario, Regorus(deadline=5.0))


def test_many_callers_get_their_own_answers() -> None:
    async def scenario(engine: Regorus) -> None:
        asked = [engine.evaluate("demesne/main/decision", {"n": n}) for n in range(50)]
        answers: list[Any] = await asyncio.gather(*asked)
        assert [answer["asked"]["n"] for answer in answers] == list(range(50))

    run(scenario, Regorus(deadline=5.0))


def test_only_the_slow_question_is_refused_and_those_behind_it_are_asked_again() -> None:
    async def scenario(engine: Regorus) -> None:
        slow = asyncio.ensure_future(engine.evaluate("demesne/main/slow", {"n": 1}))
        await asyncio.sleep(0)
        behind = [asyncio.ensure_future(engine.evaluate("demesne/main/decision", {"n": n})) for n in range(5)]
        with pytest.raises(EngineTimeout):
            await slow
        assert [cast("Any", answer)["asked"]["n"] for answer in await asyncio.gather(*behind)] == list(range(5))
        assert engine.restarts == 1

    run(scenario)


def test_a_new_bundle_refuses_nobody_who_was_asking() -> None:
    async def scenario(engine: Regorus) -> None:
        asked = [asyncio.ensure_future(engine.evaluate("demesne/main/decision", {"n": n})) for n in range(50)]
        await engine.load(bundle(MAIN + "\nmore := 1\n"))
        asked += [asyncio.ensure_future(engine.evaluate("demesne/main/decision", {"n": 50}))]
        assert [cast("Any", answer)["asked"]["n"] for answer in await asyncio.gather(*asked)] == list(range(51))
        assert engine.restarts == 0

    run(scenario, Regorus(deadline=5.0))


BAD = {
    "does not parse": "package demesne.main\n\ndecision := {",
    "allows the empty request": MAIN.replace('"allow": false', '"allow": true'),
    "has no decision": "package demesne.other\n\nx := 1\n",
    "shows an unlabelled column": MAIN.replace(
        "plans := []",
        'plans := [{"purpose_class": "a", "columns": [{"name": "probe", "action": "keep", "params": {}}]}]',
    ),
    "trusts empty evidence": EVIDENCE.replace('"tier": "contraindicated"', '"tier": "affirming"'),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_bundle_leaves_the_good_one_serving(name: str) -> None:
    async def scenario(engine: Regorus) -> None:
        child = engine._child
        text = BAD[name]
        bad = bundle(evidence=text) if text.startswith("package demesne.evidence") else bundle(text)
        with pytest.raises(BundleRefused):
            await engine.load(bad)
        assert engine._child is child
        assert await engine.evaluate("demesne/main/plans", {}) == []

    run(scenario)


def test_a_child_that_talks_nonsense_is_not_listened_to() -> None:
    async def scenario() -> None:
        nonsense = "import socket; s = socket.socket(fileno=0); s.send(b'\\xff' * 64); s.recv(1)"
        engine = Regorus(command=(sys.executable, "-c", nonsense))
        with pytest.raises((EngineUnavailable, BundleRefused)):
            await engine.load(bundle())
        with pytest.raises(EngineUnavailable):
            await engine.evaluate("demesne/main/plans", {})
        await engine.close()

    asyncio.run(scenario())


def test_nothing_answers_after_close() -> None:
    async def scenario() -> None:
        engine = Regorus(deadline=5.0)
        await engine.load(bundle())
        child = engine._child
        await engine.close()
        assert child is not None
        assert child.process.returncode is not None
        with pytest.raises(EngineUnavailable):
            await engine.evaluate("demesne/main/plans", {})

    asyncio.run(scenario())


def test_the_child_has_no_environment_and_few_files() -> None:
    async def scenario(engine: Regorus) -> None:
        assert engine._child is not None
        pid = engine._child.process.pid
        with open(f"/proc/{pid}/environ", "rb") as file:
            names = {item.split(b"=")[0] for item in file.read().split(b"\0") if item}
        assert names <= {b"PATH", b"LC_CTYPE"}
        with open(f"/proc/{pid}/limits") as file:
            limits = file.read()
        assert "Max core file size        0" in limits
        assert "Max open files            16" in limits

    run(scenario)
