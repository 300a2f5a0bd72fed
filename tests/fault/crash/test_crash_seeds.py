"""kill -9 at every persistence call of every write road, by seeds that rotate: docs/spec/durability.md §3."""

import os
import sys
import time

import pytest

from tests.fault.crash.figures import Kill, report
from tests.fault.crash.harness import replay, run
from tests.fault.crash.targets import available, target

CI_SEEDS = 50
SERVER_SHARE = 10  # one seed in so many runs against the servers too
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork and SIGKILL")


def base() -> int:
    """Other seeds each day; DEMESNE_CRASH_BASE replays those of a report."""
    return int(os.environ.get("DEMESNE_CRASH_BASE") or time.time() // 86_400 * 10_000)


@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_on_files_and_sqlite(crash_seeds: int) -> None:
    hold("files", crash_seeds)


@pytest.mark.parametrize("kill", ["versioning:2:before", "versioning:18:before", "versioning:22:before:5"])
def test_a_seed_that_once_failed_by_the_checks_mistake(kill: str) -> None:
    """Versioning was switched and nothing else: the state before and the one after have the same versions, and the
    check took the one for the other where it was killed late (18, 22)."""
    with target("files") as where:
        found = replay(where, 20261989, Kill.read(kill))
    assert found.problems == []
    assert found.kill.spelled == kill


@pytest.mark.servers
@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_on_seaweedfs_and_postgresql(crash_seeds: int) -> None:
    if not available("servers"):
        pytest.skip("no PostgreSQL or no weed on this machine")
    hold("servers", max(2, crash_seeds // SERVER_SHARE))


def hold(name: str, seeds: int) -> None:
    print(f"crash seeds from {base()} on {name}: DEMESNE_CRASH_BASE={base()} replays them")
    problems: list[str] = []
    with target(name) as where:
        _, figures = run(where, base(), seeds, lambda found: problems.extend(
            report(found, problem) for problem in found.problems
        ))  # fmt: skip
    assert not problems, "\n".join([f"base {base()}", *problems])
    assert figures["recovery_seconds"]["max"] < 5
    assert all(row["points"] for row in figures["by_operation"].values())
