"""The sweeper between every two effects of a write: it takes what nothing needs, at once, and nothing else.

The writer stops before and after each call of the store and each transaction of the catalog, until a whole sweep in
another thread is done: orphans without any grace, and what no row names. A second run has somebody delete or overwrite
the source of a copy at each of these points as well.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import GatewayError
from tests.fakes.gateway_world import ZONE, GatewayWorld
from tests.fakes.store import MemoryStore
from tests.fault.crash.model import content
from tests.fault.crash.told import first_model
from tests.fault.crash.work import Worker
from vault.fsck import Fsck
from vault.objects import Facts

DATASET = "open-data"
SIZE = 30_000
RIVAL = b"of somebody else"


class Barrier:
    """At each point of the writer's threads: `work` is done in a thread of its own, and the writer waits for it."""

    def __init__(self, world: GatewayWorld, work: Callable[[int], None]) -> None:
        self.points = 0
        self.at = 0  # only there; 0 everywhere
        self._work = work
        self._aside = ThreadPoolExecutor(1, initializer=self._remember)
        self._sweeper = -1
        self._armed = False
        self._aside.submit(int).result()
        database = world.catalog._database
        database.write = self._around(database.write)  # type: ignore[method-assign]
        store = world.store
        store.before = lambda call, key: self.point()
        store.after = lambda call, key: self.point()

    def _remember(self) -> None:
        self._sweeper = threading.get_ident()

    def point(self) -> None:
        if not self._armed or threading.get_ident() == self._sweeper:
            return
        self.points += 1
        if self.at in {0, self.points}:
            self._aside.submit(self._work, self.points).result(20)

    @contextmanager
    def armed(self, at: int = 0) -> Iterator[None]:
        self.points, self.at, self._armed = 0, at, True
        try:
            yield
        finally:
            self._armed = False

    def _around(self, write: Callable[[], Any]) -> Callable[[], Any]:
        @contextmanager
        def wrapped() -> Iterator[Any]:
            self.point()
            with write() as connection:
                yield connection
            self.point()

        return wrapped

    def close(self) -> None:
        self._aside.shutdown()


class Stage:
    def __init__(self, directory: Path) -> None:
        store = MemoryStore(observed="de")
        self.world = GatewayWorld(directory, store=store)
        self.world.store = self.world.records = store
        self.world.ledger.flush = lambda: None
        self.world.vault.records.reconcile()  # the datasets were made past the registry
        self.model = first_model()
        self.worker = Worker(self.world, self.model)  # type: ignore[arg-type]
        self.aside: Callable[[int], None] = lambda _: None
        self.swept = 0
        self.barrier = Barrier(self.world, self._work)
        self._number = 0

    def _work(self, point: int) -> None:
        self.aside(point)
        self.sweep()

    def sweep(self) -> None:
        """No grace for orphans nor for what no row names; a write may still last a day."""
        world = self.world
        unnamed = world.catalog.unnamed(name for name in list(world.store.objects) if name[0] in "bm")
        if unnamed:
            world.catalog.note_unnamed(unnamed, world.clock() - 1)
        while found := world.vault.sweep(orphan_ms=-1):
            self.swept += found

    def do(self, kind: str, key: str, **more: Any) -> dict[str, Any]:
        self._number += 1
        op = {"do": kind, "dataset": DATASET, "key": key, "number": self._number, "size": SIZE, **more}
        answer = self.worker.do(op)
        if kind in {"upload", "part", "complete"}:
            self.model.apply(op, answer)
        return answer

    def copied_at(self, at: int) -> GatewayError | None:
        """A copy during which `aside` happens at one point; what it was refused with, if it was."""
        try:
            with self.barrier.armed(at):
                self.do("copy", "b.csv", source="a.csv")
        except GatewayError as error:
            return error
        return None

    def bytes_of(self, key: str) -> bytes | str:
        answer = self.world.read(self.world.analyst, key, dataset=DATASET)
        return answer.body if answer.error is None else (answer.error.rule or answer.error.code)

    def whole(self) -> None:
        """Everything that is visible is there, every byte of it authenticated, and nothing else is left."""
        self.sweep()
        found = Fsck(self.world.store, self.world.catalog, ZONE).run()
        assert {each.code for each in found.remaining} <= {"ledger.none", "dataset.rolled-back"}
        named = {row[0] for row in self.world.rows("select store_key from body")}
        assert {name for name in self.world.store.objects if name[0] in "bm"} == named

    def close(self) -> None:
        self.barrier.close()
        self.world.close()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def test_between_the_effects_of_a_put(stage: Stage) -> None:
    for _ in range(2):  # the second overwrites the first
        with stage.barrier.armed():
            stage.do("put", "a.csv")
        assert stage.barrier.points > 12
        assert stage.bytes_of("a.csv") == content(stage._number, SIZE)
    assert stage.swept > 0  # body and manifest of what was overwritten
    stage.whole()


def test_between_the_effects_of_a_multipart_upload(stage: Stage) -> None:
    stage.do("put", "a.csv")
    with stage.barrier.armed():
        upload = stage.do("upload", "a.csv")["upload_id"]
        numbers = []
        for part in (1, 2, 2):  # the second is sent again
            stage.do("part", "a.csv", upload_id=upload, part=part)
            numbers.append(stage._number)
        points = stage.barrier.points
        stage.do("complete", "a.csv", upload_id=upload)
        assert stage.barrier.points > points + 8
    assert stage.bytes_of("a.csv") == content(numbers[0], SIZE) + content(numbers[2], SIZE)
    stage.whole()


def test_between_the_effects_of_a_copy(stage: Stage) -> None:
    stage.do("put", "a.csv")
    wanted = content(stage._number, SIZE)
    with stage.barrier.armed():
        stage.do("copy", "b.csv", source="a.csv")
    assert stage.barrier.points > 6
    assert stage.bytes_of("a.csv") == stage.bytes_of("b.csv") == wanted
    stage.do("delete", "a.csv")
    stage.whole()
    assert stage.bytes_of("b.csv") == wanted  # one who names the bodies is left


@pytest.mark.parametrize("rival", ["delete", "put"])
def test_a_copy_whose_source_goes_and_is_swept_is_whole_or_did_not_happen(stage: Stage, rival: str) -> None:
    """At each point in turn the source is taken away by somebody else, and swept at once."""
    stage.do("put", "a.csv")
    with stage.barrier.armed():
        stage.do("copy", "b.csv", source="a.csv")
    points, outcomes = stage.barrier.points, set()
    dataset_id = stage.world.catalog.dataset(DATASET).dataset_id

    def take_away(_point: int) -> None:
        row = stage.world.find("a.csv", DATASET)
        assert row is not None
        if rival == "delete":
            done = stage.world.vault.delete(
                stage.world.catalog.dataset(DATASET), "a.csv", by=row.written_by, run_id=row.run_id, record=row.record
            )
            assert done.removed is not None
        else:
            writer = stage.world.vault.begin(stage.world.catalog.dataset(DATASET), "a.csv", "view", "text/csv", {})
            writer.write(RIVAL)
            stage.world.vault.commit(
                writer.finish(Facts("none", (ZONE,), 0)), written_by=row.written_by, run_id=row.run_id,
                record=row.record,
            )  # fmt: skip

    for at in range(1, points + 1):
        stage.do("put", "a.csv")
        wanted = content(stage._number, SIZE)
        before = stage.world.find("b.csv", DATASET)
        stage.aside = take_away
        refusal = stage.copied_at(at)
        stage.aside = lambda _: None
        outcomes.add("copied" if refusal is None else "refused")
        if refusal is None:
            assert stage.bytes_of("b.csv") in {wanted, RIVAL}, at
        else:
            assert refusal.status in {404, 409, 503}, (at, refusal)
            assert stage.world.catalog.latest(dataset_id, "b.csv") == before, at
            assert before is None or isinstance(stage.bytes_of("b.csv"), bytes)
        stage.sweep()
    assert outcomes == {"copied", "refused"}
    stage.whole()
