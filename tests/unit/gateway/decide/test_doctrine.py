"""Doctrine: closed by default, and a bundle that is refused changes nothing but the status."""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.decide.decision import Allow, Deny
from gateway.decide.doctrine import APPRAISAL, PLANS, Doctrine, DoctrineUnavailable
from gateway.decide.engine import UNDEFINED, EngineFailed, EngineTimeout, EngineUnavailable
from gateway.decide.regorus import Regorus
from tests.fakes import decision_inputs as given
from tests.fakes.doctrine import POLICIES, FunctionEngine, allowing, doctrine_of


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def test_without_a_bundle_everything_is_refused() -> None:
    async def scenario() -> None:
        engine = FunctionEngine({})
        doctrine = Doctrine(engine, Path("/nonexistent"), lambda: 7)
        assert not await doctrine.reload()
        decision = await doctrine.decide(given.analyst_reads())
        assert isinstance(decision, Deny)
        assert decision.codes == ("doctrine.unavailable",)
        assert decision.retry
        assert engine.asked == []
        assert doctrine.status.refused is not None
        assert doctrine.status.refused.at == 7
        with pytest.raises(DoctrineUnavailable):
            await doctrine.plans({})

    run(scenario)


@pytest.mark.parametrize(
    ("failure", "code"),
    [(EngineTimeout("50 ms"), "doctrine.timeout"), (EngineUnavailable("gone"), "doctrine.unavailable"),
     (EngineFailed("count: null"), "doctrine.unavailable")],
)  # fmt: skip
def test_an_engine_that_fails_refuses(failure: EngineFailed, code: str) -> None:
    async def scenario() -> None:
        doctrine, engine = await doctrine_of(lambda _: allowing("raw"))
        engine.before = failure
        decision = await doctrine.decide(given.trainer_reads())
        assert isinstance(decision, Deny)
        assert decision.codes == (code,)
        assert decision.retry
        assert "count" not in decision.reason.message  # what the engine said may quote values
        with pytest.raises(DoctrineUnavailable, match=code):
            await doctrine.plans({})
        with pytest.raises(DoctrineUnavailable, match=code):
            await doctrine.appraise({})
        engine.before = None
        assert isinstance(await doctrine.decide(given.trainer_reads()), Allow)

    run(scenario)


def test_undefined_and_malformed_are_refused() -> None:
    async def scenario() -> None:
        doctrine, engine = await doctrine_of(lambda _: UNDEFINED)
        decision = await doctrine.decide(given.analyst_reads())
        assert isinstance(decision, Deny)
        assert decision.codes == ("doctrine.undefined",)
        for path in (PLANS, APPRAISAL):
            engine.rules[path] = lambda _: UNDEFINED
        with pytest.raises(DoctrineUnavailable, match=r"doctrine\.undefined"):
            await doctrine.plans({})
        engine.rules[PLANS] = lambda _: [{"columns": []}]
        with pytest.raises(DoctrineUnavailable, match=r"doctrine\.malformed"):
            await doctrine.plans({})

    run(scenario)


def test_decision_ids_are_fresh() -> None:
    async def scenario() -> None:
        doctrine, _ = await doctrine_of(lambda _: allowing("raw"))
        ids = {(await doctrine.decide(given.trainer_reads())).decision_id for _ in range(20)}
        assert len(ids) == 20
        assert all(len(one) == 32 for one in ids)

    run(scenario)


def _add_rule(root: Path, rule: str) -> None:
    (root / "access" / "new.rego").write_text(f"package demesne.access.new\n\n{rule}\n")


BROKEN: dict[str, Callable[[Path], object]] = {
    "does not compile": lambda root: _add_rule(root, "x := {"),
    "unknown built-in": lambda root: _add_rule(root, "x := f.g(1)"),
    "a built-in not agreed on": lambda root: _add_rule(root, 'x := sprintf("%d", [1])'),
    "the network": lambda root: _add_rule(root, 'x := http.send({"method": "get", "url": "http://127.0.0.1"})'),
    "data that is not JSON": lambda root: (root / "data" / "masking" / "data.json").write_text("{"),
    "a float in data": lambda root: (root / "data" / "masking" / "data.json").write_text('{"formats": [0.5]}'),
    "a mask table that shows everything": lambda root: (root / "data" / "masking" / "data.json").write_text(
        '{"formats": ["csv"], "classes": {"analytics": {"unknown": {"action": "keep", "params": {}}}}}'
    ),
    "a rule that is gone": lambda root: (root / "main" / "main.rego").unlink(),
    "the folder is gone": shutil.rmtree,
}


@pytest.mark.parametrize("name", BROKEN)
def test_the_last_good_bundle_keeps_serving(name: str, tmp_path: Path) -> None:
    root = tmp_path / "doctrine"
    shutil.copytree(POLICIES, root)

    async def scenario() -> None:
        now = 1000
        doctrine = Doctrine(Regorus(deadline=5.0, patience=20.0), root, lambda: now)
        try:
            assert await doctrine.reload(), doctrine.status
            good = doctrine.revision
            before = await doctrine.decide(given.analyst_reads())
            assert isinstance(before, Allow)
            BROKEN[name](root)
            now = 2000
            assert not await doctrine.reload()
            after = await doctrine.decide(given.analyst_reads())
            assert isinstance(after, Allow)
            assert (after.revision, after.plan_id) == (good, before.plan_id)
            status = doctrine.status.as_document()
            assert status["revision"] == good
            assert status["loaded_at"] == 1000
            assert status["refused"]["at"] == 2000
            assert status["refused"]["reason"]
            if root.is_dir():
                shutil.rmtree(root)
            shutil.copytree(POLICIES, root)
            assert await doctrine.reload()
            assert doctrine.status.refused is None
        finally:
            await doctrine.close()

    run(scenario)


def test_an_edited_table_takes_effect_and_changes_the_revision(tmp_path: Path) -> None:
    root = tmp_path / "doctrine"
    shutil.copytree(POLICIES, root)

    async def scenario() -> None:
        doctrine = Doctrine(Regorus(deadline=5.0, patience=20.0), root, lambda: 0)
        try:
            assert await doctrine.reload()
            first = doctrine.revision
            assert isinstance(await doctrine.decide(given.analyst_reads({"principal.jurisdiction": "at"})), Deny)
            table = root / "data" / "residency" / "data.json"
            table.write_text(table.read_text().replace('"trusted": {}', '"trusted": {"de": ["at"]}'))
            assert await doctrine.reload()
            assert doctrine.revision != first
            assert isinstance(await doctrine.decide(given.analyst_reads({"principal.jurisdiction": "at"})), Allow)
        finally:
            await doctrine.close()

    run(scenario)


def test_a_refused_bundle_is_not_compiled_again_and_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        doctrine, engine = await doctrine_of(lambda _: allowing("raw"), _copy(tmp_path))
        _add_rule(tmp_path / "doctrine", "x := 1")
        engine.refuse_next_load = "a.rego:1: no"
        assert not await doctrine.reload()
        first = doctrine.status.refused
        assert not await doctrine.reload()
        assert doctrine.status.refused == first
        assert len(engine.loaded) == 1
        _add_rule(tmp_path / "doctrine", "x := 2")
        assert await doctrine.reload()
        assert doctrine.status.refused is None

    run(scenario)


def test_an_engine_that_lost_its_bundle_gets_it_again() -> None:
    async def scenario() -> None:
        doctrine, engine = await doctrine_of(lambda _: allowing("raw"))
        engine.loaded.clear()
        assert await doctrine.reload()
        assert len(engine.loaded) == 1

    run(scenario)


def test_an_engine_that_lost_its_bundle_gets_the_last_good_one_while_the_folder_holds_a_refused_one(
    tmp_path: Path,
) -> None:
    async def scenario() -> None:
        doctrine, engine = await doctrine_of(lambda _: allowing("raw"), _copy(tmp_path))
        good = doctrine.revision
        _add_rule(tmp_path / "doctrine", "x := 1")
        engine.refuse_next_load = "a.rego:1: no"
        assert not await doctrine.reload()
        engine.loaded.clear()  # an OPA server that was restarted has nothing
        assert not await doctrine.reload()
        assert [bundle.revision for bundle in engine.loaded] == [good]
        assert doctrine.answering

    run(scenario)


def _copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(POLICIES, tmp_path / "doctrine"))


def test_an_unchanged_folder_is_not_loaded_again() -> None:
    async def scenario() -> None:
        doctrine, engine = await doctrine_of(lambda _: allowing("raw"))
        assert await doctrine.reload()
        assert len(engine.loaded) == 1

    run(scenario)
