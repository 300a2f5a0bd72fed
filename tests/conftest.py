"""What every test may ask for, and the rule about skips: a skip is told, and in CI a missing server is a failure.

`@pytest.mark.servers`: needs a real server or tool on this machine; with DEMESNE_CI=1 its skip fails the run.
`@pytest.mark.peers`: needs material of others (published vectors) that is not in this repository; its skip is told.
"""

import os
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
IN_CI = os.environ.get("DEMESNE_CI") == "1"
QUICK_SEEDS = 50  # of the crash tests in a plain `make test`; `make crash` takes more

_RAN = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--crash-seeds", type=int, default=QUICK_SEEDS, help="seeds of each crash test (make crash SEEDS=1000)"
    )
    parser.addoption(
        "--history-seconds", type=float, default=15.0, help="length of the recorded history (make history)"
    )


@pytest.fixture(scope="session")
def history_seconds(request: pytest.FixtureRequest) -> float:
    """For how long concurrent clients write and read."""
    return float(request.config.getoption("--history-seconds"))


@pytest.fixture(scope="session")
def crash_seeds(request: pytest.FixtureRequest) -> int:
    """How many seeds a crash test tries."""
    return int(request.config.getoption("--crash-seeds"))


def vectors_path() -> Path:
    """Where published vectors lie, if they are here: DEMESNE_VECTORS, or beside the repository."""
    return Path(os.environ.get("DEMESNE_VECTORS") or ROOT.parent / "shared" / "vectors")


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The published vectors; skips where they are not."""
    path = vectors_path()
    if not path.is_dir():
        pytest.skip("no vectors here: DEMESNE_VECTORS names none")
    return path


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A declared server that is missing in CI has switched a whole family of tests off: that is a failure."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("servers"):
        report.outcome = "failed"
        report.longrepr = f"a skip in CI: {reason_of(report.longrepr)}"
    return report


def reason_of(longrepr: Any) -> str:
    """Why a test or module was skipped, without file and line."""
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ").strip() or "no reason given"


def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[_RAN] = bool(session.testscollected)


def pytest_unconfigure(config: pytest.Config) -> None:
    """One line at the very end: what this run did not test, and why."""
    terminalreporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    if terminalreporter is None or not config.stash.get(_RAN, False):
        return
    skipped = [report for report in terminalreporter.stats.get("skipped", []) if not hasattr(report, "wasxfail")]
    if not skipped:
        terminalreporter.write_line("Nothing was skipped.")
        return
    counts = Counter(reason_of(report.longrepr) for report in skipped)
    said = "; ".join(f"{count} because {reason}" for reason, count in sorted(counts.items()))
    terminalreporter.write_line(f"Not tested here: {said}.")
