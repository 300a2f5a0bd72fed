"""For the people who write the doctrine: check a folder, run its tests, explain a decision.

Behind `demesne policy check|test|explain`. An OPA binary on PATH is used where there is one; without it the
same questions go to a regorus child of their own, never to one that serves.
"""

import asyncio
import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.decide.bundle import Bundle, BundleUnreadable, bundle_of, read_bundle
from gateway.decide.decision import Allow
from gateway.decide.doctrine import Doctrine
from gateway.decide.engine import BundleRefused, EngineError
from gateway.decide.gate import check_builtins
from gateway.decide.regorus import Regorus

_META: Final = re.compile(r"\A# METADATA\n((?:#.*\n)+)package (\S+)", re.MULTILINE)
_TEST: Final = re.compile(r"^(test_\w+)", re.MULTILINE)
_PLACE: Final = re.compile(r"^(?:\d+ errors? occurred: )?(?P<file>[^\s:]+\.rego):(?P<row>\d+): (?P<message>.+)$")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a doctrine; `row` is 0 where only the file is known."""

    file: str
    row: int
    message: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found. `revision` is "" when the folder could not be read."""

    revision: str
    engines: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        return not self.findings


@dataclass(frozen=True, slots=True)
class TestReport:
    """Which engine ran the `test_` rules, how many passed, and the names of those that did not."""

    __test__ = False  # pytest: not one of yours

    engine: str
    passed: int
    failed: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class RuleFacts:
    """What a rule says of itself in its METADATA."""

    rule: str
    title: str
    description: str
    code: str
    severity: str


def rules(bundle: Bundle) -> dict[str, RuleFacts]:
    """The METADATA of every module, by rule id (its folder)."""
    found = {}
    for path, text in bundle.modules:
        if match := _META.match(text):
            lines = [line.removeprefix("#").removeprefix(" ") for line in match[1].splitlines()]
            rule = path.rpartition("/")[0]
            found[rule] = RuleFacts(
                rule, _value(lines, "title"), _block(lines, "description"), _value(lines, "  code"),
                _value(lines, "  severity"),
            )  # fmt: skip
    return found


async def check(directory: Path) -> CheckReport:
    """Would this folder become the serving doctrine, and does each rule state itself? Never raises for a bad folder."""
    try:
        bundle = read_bundle(directory)
    except BundleUnreadable as error:
        return CheckReport("", (), (Finding(directory.name, 0, str(error)),))
    described = rules(bundle)
    findings = [
        Finding(path, 1, "no METADATA block with a title")
        for path, _ in bundle.modules
        if not described.get(path.rpartition("/")[0], RuleFacts("", "", "", "", "")).title
    ]
    try:
        check_builtins(bundle)
        findings += await _compiled(bundle)
    except BundleRefused as error:
        findings.append(_finding(str(error)))
    engines = ["regorus"]
    if binary := shutil.which("opa"):
        engines.append("opa")
        findings += await asyncio.to_thread(_opa_check, binary, directory)
    return CheckReport(bundle.revision, tuple(engines), tuple(findings))


async def run_tests(directory: Path) -> TestReport:
    """Run the `test_` rules. Raises BundleUnreadable, or BundleRefused when they do not compile."""
    started = time.monotonic()
    bundle = read_bundle(directory)
    if binary := shutil.which("opa"):
        passed, failed = await asyncio.to_thread(_opa_test, binary, directory)
        return TestReport("opa", passed, tuple(failed), time.monotonic() - started)
    whole = bundle_of([*bundle.modules, *bundle.tests], bundle.data, bundle.builtins)
    engine = Regorus(deadline=10.0, patience=60.0)
    passed, failed = 0, []
    try:
        await engine.load(whole)
        for path, text in bundle.tests:
            package = re.search(r"^package (\S+)", text, re.MULTILINE)
            for name in dict.fromkeys(_TEST.findall(text)) if package else ():
                if await _holds(engine, f"{package[1].replace('.', '/')}/{name}" if package else name):
                    passed += 1
                else:
                    failed.append(f"{path}: {name}")
    finally:
        await engine.close()
    return TestReport("regorus", passed, tuple(failed), time.monotonic() - started)


async def explain(doctrine: Doctrine, document: Mapping[str, Any], bundle: Bundle | None = None) -> dict[str, Any]:
    """The decision on `document`, each reason with what its rule says of itself. For people and for `--json`."""
    described = rules(bundle) if bundle is not None else {}
    decision = await doctrine.decide(document)
    told: dict[str, Any] = {"revision": decision.revision, "allow": isinstance(decision, Allow)}
    if isinstance(decision, Allow):
        return told | {
            "view": decision.view, "purpose_class": decision.purpose_class, "plan_id": decision.plan_id,
            "plan": decision.plan_effect, "label": decision.label,
            "placement": list(decision.placement) if decision.placement is not None else None,
            "obligations": list(decision.obligations), "allow_by": list(decision.allow_by), "reasons": [],
        }  # fmt: skip
    reasons = []
    for reason in decision.reasons:
        facts = described.get(reason.rule)
        about = {"title": facts.title, "description": facts.description, "severity": facts.severity} if facts else {}
        reasons.append(reason.as_document() | about)
    return told | {"reasons": reasons, "retry": decision.retry}


def explanation(told: Mapping[str, Any]) -> str:
    """`explain`'s answer as text."""
    if told["allow"]:
        plan = f" under plan {told['plan_id']}" if told["plan_id"] else ""
        return f"Allowed: view {told['view']}{plan}, by {', '.join(told['allow_by'])}."
    lines = ["Refused:"]
    for reason in told["reasons"]:
        lines.append(f"  {reason['code']}: {reason['message']}.")
        lines.append(f"    what to do: {reason['remedy']}")
        lines.append(f"    rule: policies/{reason['rule']} {reason.get('title', '')}".rstrip())
    return "\n".join(lines)


async def _compiled(bundle: Bundle) -> list[Finding]:
    engine = Regorus(deadline=10.0, patience=60.0)
    try:
        await engine.load(bundle)
    except EngineError as error:
        return [_finding(str(error))]
    finally:
        await engine.close()
    return []


async def _holds(engine: Regorus, path: str) -> bool:
    try:
        return await engine.evaluate(path, {}) is True
    except EngineError:
        return False


def _opa_check(binary: str, directory: Path) -> list[Finding]:
    done = subprocess.run(
        [binary, "check", "--strict", "--bundle", "."], cwd=directory, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.strip()] if done.returncode else []
    return [_finding(line) for line in lines if _PLACE.match(line)] or [_finding(line) for line in lines[:1]]


def _opa_test(binary: str, directory: Path) -> tuple[int, list[str]]:
    done = subprocess.run(
        [binary, "test", "--bundle", "--format", "json", "."], cwd=directory, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    try:
        results = json.loads(done.stdout)
    except ValueError as error:
        raise BundleRefused((done.stderr or done.stdout).strip()[:1000]) from error
    bad = [item for item in results if item.get("fail") or item.get("error")]
    failed = [f"{item['location']['file']}: {item['name']}" for item in bad]
    return len(results) - len(failed), failed


def _finding(text: str) -> Finding:
    if match := _PLACE.match(text):
        return Finding(match["file"], int(match["row"]), match["message"])
    if match := re.match(r"--> (?P<file>\S+?):(?P<row>\d+):\d+ .*error: (?P<message>.+)$", text):
        return Finding(match["file"], int(match["row"]), match["message"])
    file, separator, message = text.partition(": ")
    return Finding(file, 0, message) if separator and file.endswith((".rego", ".json")) else Finding("", 0, text)


def _value(lines: list[str], name: str) -> str:
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def _block(lines: list[str], name: str) -> str:
    text = _value(lines, name)
    if text != "|":
        return text
    start = lines.index(f"{name}: |") + 1
    taken = []
    for line in lines[start:]:
        if line and not line.startswith("  "):
            break
        taken.append(line.strip())
    return " ".join(taken).strip()
