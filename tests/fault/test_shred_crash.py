"""A shredding that dies between any two of its effects, and is taken up by another process.

Every durable effect of it is a point: a catalog transaction, a provider call, a ledger entry, a write to the store.
The run dies before each in turn (which is after the one before it), from the same beginning; then nothing that
survives may be lost, and what is taken up again ends as if nothing had happened.
"""

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gateway_world import CSV, GatewayWorld
from tests.fakes.key_custody import KeyCustody, certificate

SURVIVORS = ("a.csv", "c.csv")
ERASED = "b.csv"
STRIDE = 3  # points are shared out over so many tests, so that one that fails says where


class Died(BaseException):
    """The process is gone: nothing catches this."""


class Points:
    """Counts durable effects, and dies at one of them."""

    def __init__(self) -> None:
        self.passed = 0
        self.dies_at = 0

    def point(self, *_: Any) -> None:
        self.passed += 1
        if self.passed == self.dies_at:
            raise Died(self.passed)


class Stage:
    """One world at the moment when the shredding was approved; `reset` brings it back there."""

    def __init__(self, directory: Path) -> None:
        self.world = GatewayWorld(directory)
        for key in (*SURVIVORS, ERASED):
            self.world.build(self.world.put(key, CSV))
        self.erased = self.world.version(ERASED).version_id
        self.custody = KeyCustody(self.world)
        self.custody.order("rotate", key_class="raw")
        self.world.put("later.csv", CSV)  # a group of its own, under the newer epoch
        self.points = Points()
        self.order = self.custody.order("shred", keys=[ERASED])
        self.custody.approve(self.order)
        self.session = self.world.attested()
        self._instrument()
        self._saved = directory / "saved"
        self._recorded = 0
        self.world.catalog.close()
        shutil.copytree(directory / "keys", self._saved / "keys")
        shutil.copy(self.world.path, self._saved / "catalog.sqlite3")
        self._objects = dict(self.world.store.objects)
        self._records = dict(self.world.records.objects)

    def reset(self) -> None:
        world = self.world
        world.catalog.close()
        shutil.rmtree(world.directory / "keys" / "epochs")
        shutil.copytree(self._saved / "keys" / "epochs", world.directory / "keys" / "epochs")
        shutil.copy(self._saved / "catalog.sqlite3", world.path)
        for store, objects in ((world.store, self._objects), (world.records, self._records)):
            store.objects.clear()
            store.objects.update(objects)
        self._recorded = len(world.ledger.entries)
        self.restart()

    def restart(self) -> None:
        """What a process remembers is gone with it."""
        self.world.broker._ring.forget()
        self.world.vault.forget_keys()
        self.points.dies_at, self.points.passed = 0, 0

    def run(self, dies_at: int = 0) -> int:
        """Carry out; answers how many points were passed. Died at one of them, it is over."""
        self.points.passed, self.points.dies_at = 0, dies_at
        self.custody.new_keeper()()
        return self.points.passed

    def check_survivors(self) -> None:
        for key in (*SURVIVORS, "later.csv"):
            found = self.world.read(self.session, key)
            assert found.error is None, (key, found.error)
            assert found.body == CSV
        for key in SURVIVORS:
            assert self.world.read(self.world.analyst, key).error is None

    def check_end(self) -> None:
        self.check_survivors()
        shown = self.custody.show(self.order)
        assert shown["state"] == "done"
        assert certificate(shown)["erasure"]["state"] == "destroyed"
        assert self.world.read(self.session, ERASED).error is not None
        removed = {entry["version"] for entry in self.world.entries("removal", self._recorded)}
        assert removed == {self.erased}
        states = sorted((each["key_class"], each["state"]) for each in self.custody.epochs())
        assert states[:3] == [("raw", "active"), ("raw", "destroyed"), ("raw", "destroyed")]
        assert states[3:] == [("view", "active"), ("view", "destroyed")]
        assert len([name for name in self.world.store.objects if name[0] == "b"]) == 5

    def _instrument(self) -> None:
        world, point = self.world, self.points.point
        for provider in (world.provider_raw, world.provider_view):
            provider.before = point
        world.ledger.fault = self._ledger
        database = world.catalog._database
        database.write = _around(database.write, point)  # type: ignore[method-assign]
        for store, name in ((world.store, "delete"), (world.records, "put_bytes")):
            setattr(store, name, _call(getattr(store, name), point))

    def _ledger(self, when: str, entry: Mapping[str, Any]) -> None:
        if when == "before" and entry["type"].startswith(("key-", "erasure", "removal")):
            self.points.point()


def _around(write: Callable[[], Any], point: Callable[[], None]) -> Callable[[], Any]:
    @contextmanager
    def wrapped() -> Iterator[Any]:
        point()
        with write() as connection:
            yield connection

    return wrapped


def _call(call: Callable[..., Any], point: Callable[[], None]) -> Callable[..., Any]:
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        point()
        return call(*args, **kwargs)

    return wrapped


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("shred"))
    yield made
    made.world.close()


@pytest.fixture(scope="module")
def count(stage: Stage) -> int:
    """How many points a whole run passes."""
    stage.reset()
    found = stage.run()
    stage.restart()
    stage.check_end()
    return found


def test_carried_out_again_it_changes_nothing(stage: Stage, count: int) -> None:
    assert count > 40
    stage.reset()
    stage.run()
    before = stage.world.picture("job")
    stage.run()
    assert stage.world.picture("job") == before


@pytest.mark.parametrize("offset", range(STRIDE))
def test_it_dies_anywhere_and_nobody_who_survives_is_lost(stage: Stage, count: int, offset: int) -> None:
    for dies_at in range(1 + offset, count + 1, STRIDE):
        stage.reset()
        with pytest.raises(Died):
            stage.run(dies_at)
        stage.restart()
        stage.check_survivors()
        stage.restart()
        stage.run()
        stage.restart()
        stage.check_end()


def test_it_dies_again_and_again(stage: Stage) -> None:
    """Each one who takes it up dies as well, a little later than the one before."""
    stage.reset()
    for effects in itertools.count(5, 3):
        try:
            stage.run(effects)
            break
        except Died:
            stage.restart()
    stage.restart()
    stage.check_end()
