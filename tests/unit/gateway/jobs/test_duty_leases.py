"""A duty is done by one replica at a time, goes on after failures, and passes on when its holder dies."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.jobs.duty import Duty, DutyThread
from lineage.errors import Unavailable as LedgerUnavailable
from tests.fakes.api import wait_until
from tests.fakes.clock import Clock
from tests.fakes.vault_world import new_catalog
from vault.catalog.catalog import Catalog
from vault.errors import Unavailable


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalog(tmp_path: Path, clock: Clock) -> Iterator[Catalog]:
    made = new_catalog(tmp_path, clock)
    yield made
    made.close()


class Replica:
    def __init__(self, catalog: Catalog, name: str, step: Callable[[], None] = lambda: None) -> None:
        self.done = 0
        self.stop = threading.Event()
        self._step = step
        self.thread = DutyThread(Duty("sweep", 0.01, self.step), catalog, name, self.stop)
        self.thread.start()

    def step(self) -> None:
        self.done += 1
        self._step()

    def end(self) -> None:
        self.stop.set()
        self.thread.join(5)
        assert not self.thread.is_alive()


def test_one_replica_at_a_time(catalog: Catalog) -> None:
    first = Replica(catalog, "one")
    wait_until(lambda: first.done > 2)
    second = Replica(catalog, "two")
    wait_until(lambda: first.done > 10)
    assert second.done == 0
    first.end()
    second.end()


def test_a_replica_that_stops_gives_the_lease_back(catalog: Catalog, clock: Clock) -> None:
    first = Replica(catalog, "one")
    wait_until(lambda: first.done > 0)
    first.end()
    clock.advance(1)  # not the lease's five seconds
    second = Replica(catalog, "two")
    wait_until(lambda: second.done > 0)
    second.end()


def test_a_replica_that_dies_is_followed_when_its_lease_runs_out(catalog: Catalog, clock: Clock) -> None:
    catalog.enqueue("sweep", {}, job_id="duty:sweep")
    dead = catalog.lease(["sweep"], "dead", 5_000)
    assert dead is not None
    second = Replica(catalog, "two")
    threading.Event().wait(0.1)
    assert second.done == 0
    clock.advance(5_001)
    wait_until(lambda: second.done > 0)
    job = catalog.find_job("duty:sweep")
    assert job is not None
    assert (job.holder, job.fence) == ("two", dead.fence + 1)
    second.end()


def test_a_late_holder_finds_its_fence_gone_and_stops_working(catalog: Catalog, clock: Clock) -> None:
    first = Replica(catalog, "one")
    wait_until(lambda: first.done > 0)
    clock.advance(5_001)
    taken = catalog.lease(["sweep"], "usurper", 600_000)
    if taken is None:  # it renewed in between: its lease was not late yet
        clock.advance(5_001)
        taken = catalog.lease(["sweep"], "usurper", 600_000)
    assert taken is not None
    threading.Event().wait(0.05)
    seen = first.done
    threading.Event().wait(0.1)
    assert first.done == seen
    job = catalog.find_job("duty:sweep")
    assert job is not None
    assert job.holder == "usurper"
    first.end()
    kept = catalog.find_job("duty:sweep")
    assert kept is not None
    assert kept.holder == "usurper"


@pytest.mark.parametrize(
    "error", [Unavailable("store.io"), LedgerUnavailable("ledger.connect"), RuntimeError("anything")], ids=str
)
def test_a_step_that_fails_is_tried_again(catalog: Catalog, error: Exception) -> None:
    def fail() -> None:
        if replica.done < 3:
            raise error

    replica = Replica.__new__(Replica)
    Replica.__init__(replica, catalog, "one", fail)
    wait_until(lambda: replica.done > 4)
    replica.end()


def test_a_duty_that_is_not_shared_is_done_by_every_replica(catalog: Catalog) -> None:
    stop = threading.Event()
    done = {"one": 0, "two": 0}

    def counting(name: str) -> Callable[[], None]:
        def step() -> None:
            done[name] += 1

        return step

    threads = [DutyThread(Duty("own", 0.01, counting(name), shared=False), catalog, name, stop) for name in done]
    for thread in threads:
        thread.start()
    wait_until(lambda: min(done.values()) > 3)
    stop.set()
    for thread in threads:
        thread.join(5)
    assert catalog.find_job("duty:own") is None
