"""`policy check|test|explain`: each kind of mistake is found with its file, and nothing that serves is touched."""

import asyncio
import shutil
from pathlib import Path

import pytest

from gateway.decide import authoring
from gateway.decide.bundle import read_bundle
from gateway.decide.doctrine import Doctrine
from gateway.decide.regorus import Regorus
from tests.fakes import decision_inputs as given
from tests.fakes.doctrine import POLICIES


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path))  # no OPA: both engines are compared in tests/conformance
    root = tmp_path / "doctrine"
    shutil.copytree(POLICIES, root)
    return root


def test_the_shipped_doctrine_passes(folder: Path) -> None:
    report = asyncio.run(authoring.check(folder))
    assert report.findings == ()
    assert report.passed
    assert report.revision == read_bundle(folder).revision


def test_its_tests_pass_in_regorus_too(folder: Path) -> None:
    report = asyncio.run(authoring.run_tests(folder))
    assert report.failed == ()
    assert report.engine == "regorus"
    assert report.passed > 100


def test_a_rule_that_no_longer_refuses_is_found_by_its_test(folder: Path) -> None:
    rule = folder / "attestation" / "stale" / "stale.rego"
    rule.write_text(rule.read_text().replace("input.session.fresh == true", "true"))
    report = asyncio.run(authoring.run_tests(folder))
    assert any(name.startswith("attestation/stale/stale_test.rego: ") for name in report.failed)


MISTAKES = {
    "syntax": ("access/tenant/tenant.rego", "deny contains reason if {", "deny contains reason if {{"),
    "a built-in": ("access/tenant/tenant.rego", "not same_tenant", "not time.now_ns()"),
    "no metadata": ("access/tenant/tenant.rego", "# METADATA\n", "# \n"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_with_its_file(name: str, folder: Path) -> None:
    file, old, new = MISTAKES[name]
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1))
    report = asyncio.run(authoring.check(folder))
    assert [finding.file for finding in report.findings] == [file]


def test_a_missing_folder_is_a_finding(tmp_path: Path) -> None:
    report = asyncio.run(authoring.check(tmp_path / "nothing"))
    assert not report.passed
    assert "no such folder" in report.findings[0].message


def test_explain_tells_the_rule_in_its_own_words() -> None:
    async def scenario() -> None:
        doctrine = Doctrine(Regorus(deadline=5.0, patience=20.0), POLICIES, lambda: 0)
        try:
            assert await doctrine.reload()
            told = await authoring.explain(doctrine, given.trainer_reads(session=None), read_bundle(POLICIES))
            assert told["reasons"][0]["code"] == "attestation.required"
            assert told["reasons"][0]["title"] == "Raw data only for attested sessions"
            assert "attest first" in told["reasons"][0]["description"]
            assert "what to do: attest first" in authoring.explanation(told)
            allowed = await authoring.explain(doctrine, given.analyst_reads())
            assert "view masked under plan" in authoring.explanation(allowed)
        finally:
            await doctrine.close()

    asyncio.run(scenario())


def test_every_rule_is_described() -> None:
    for rule in authoring.rules(read_bundle(POLICIES)).values():
        assert rule.title, rule
        assert len(rule.description) > 20, rule
