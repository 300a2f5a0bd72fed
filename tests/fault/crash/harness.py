"""Seeds: a workload in a forked child that dies by SIGKILL at one point, and a second child that looks at what is left.

The parent has imported everything and holds no thread, so a seed costs two forks. Which points an operation has is
counted first, by doing it without dying; a seed then takes an operation, a point of it and a mode by chance.
"""

import json
import os
import random
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from tests.fault.crash.check import Check
from tests.fault.crash.figures import Found, Kill, summary
from tests.fault.crash.model import Model, Op
from tests.fault.crash.points import MODES, TORN, Points, die, say
from tests.fault.crash.targets import Opener, Target
from tests.fault.crash.told import Told, first_model
from tests.fault.crash.work import NEEDS, Worker, choose

RECOVERY_SECONDS = 5.0
OPS = (8, 24)
AGAIN = 0.25  # how often the recovery itself is killed first


def fork(work: Callable[[int], None]) -> tuple[int, list[str]]:
    """`work(pipe)` in a child of its own; how it ended (a wait status) and the lines it said."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        _in_child(work, write_end)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        said = stream.read().decode().splitlines()
    _, status = os.waitpid(child, 0)
    return status, said


def _in_child(work: Callable[[int], None], pipe: int) -> NoReturn:
    code = 1
    try:
        work(pipe)
        code = 0
    except BaseException:  # whatever it was, it must not run the parent's code
        for line in traceback.format_exc().splitlines():
            say(pipe, b"E" + json.dumps(line[:1000]).encode())
    finally:
        os._exit(code)


def workload(worker: Worker, model: Model, chance: random.Random, kinds: tuple[str, ...], last: str) -> Iterator[Op]:
    """By chance, with what the last kind needs made beforehand. The model moves between two of them."""
    for _ in range(chance.randrange(*OPS)):
        op = choose(chance.choice(kinds), chance, model)
        if op is not None:
            yield op
    op = choose(last, chance, model)
    for needed in NEEDS.get(last, ()):
        if op is None or last in {"complete", "sweep", "build"}:
            made = choose(needed, chance, model)
            if made is not None and last == "delete_version":
                made["dataset"] = "versioned"
            if made is not None and last == "build":
                made["dataset"] = "claims"
            if made is not None:
                yield made
    op = choose(last, chance, model)
    if op is None:  # a suspended dataset has no version to name: any write will do
        op = choose("put", chance, model)
        assert op is not None
    yield op | {"last": True}


def victim(opener: Opener, directory: Path, seed: int, kill: Kill | None, last: str) -> Callable[[int], None]:
    """The child that works: says what it begins (B), what was answered (A), what the ledger promised (P)."""

    def work(pipe: int) -> None:
        points, chance, model = Points(), random.Random(seed), first_model()
        points.install()
        world = opener(directory)
        world.ledger.told = lambda promise: say(pipe, f"P{json.dumps([promise.index, promise.leaf])}".encode())
        worker = Worker(world, model)
        for op in workload(worker, model, chance, Worker.kinds(world), last):
            ending = op.pop("last", False)
            say(pipe, b"B" + json.dumps(op).encode())
            points.arm(kill.at if kill and ending else 0, kill.mode if kill else "before")
            answer = worker.do(op)
            seen = list(points.seen)
            points.arm(0, "before")
            model.apply(op, answer)
            say(pipe, b"A" + json.dumps(answer).encode())
            say(pipe, b"N" + json.dumps([op["do"], seen])[:3900].encode())
        if kill:
            die()  # answered, and then the end
        world.close()

    return work


def make_template(where: Target, directory: Path) -> tuple[str, ...]:
    """A zone with its people and datasets, closed again; answers the kinds of operation it has roads for."""

    def work(pipe: int) -> None:
        world = where.template(directory)
        say(pipe, b"K" + json.dumps(Worker.kinds(world)).encode())
        world.close()

    status, lines = fork(work)
    if status != 0:
        raise AssertionError("\n".join(lines))
    return tuple(json.loads(lines[0][1:]))


def replay(where: Target, seed: int, kill: Kill) -> Found:
    """One workload, killed where a report says: neither chance nor the length of other operations has a part in it."""
    with tempfile.TemporaryDirectory(prefix="crash-template-") as name:
        make_template(where, Path(name))
        return killed(where, Path(name), seed, kill, "replayed")


def run(where: Target, base: int, seeds: int, each: Callable[[Found], None]) -> tuple[list[Found], dict[str, Any]]:
    """All seeds from `base` on; `each` is told of one at a time."""
    with tempfile.TemporaryDirectory(prefix="crash-template-") as name:
        template = Path(name)
        counted = count_points(where, template, base, make_template(where, template))
        found = []
        for seed in range(base, base + seeds):
            found.append(run_seed(where, template, seed, counted))
            each(found[-1])
    return found, summary(found, counted)


def count_points(where: Target, template: Path, seed: int, kinds: tuple[str, ...]) -> dict[str, list[str]]:
    """By kind of operation: the points of the longest one met, in order."""
    longest: dict[str, list[str]] = {}
    for number, last in enumerate(kinds):
        with _copied(template) as directory:
            status, lines = fork(victim(where.fresh(), directory, seed + number, None, last))
        told = Told.read(lines)
        if status != 0:
            raise AssertionError("\n".join(told.errors))
        for kind, seen in told.points:
            if len(seen) > len(longest.get(kind, [])):
                longest[kind] = seen
    return longest


@contextmanager
def _copied(template: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="crash-") as name:
        shutil.copytree(template, name, dirs_exist_ok=True)
        yield Path(name)


def run_seed(where: Target, template: Path, seed: int, counted: dict[str, list[str]]) -> Found:
    chance = random.Random(f"kill {seed}")
    # Each point of each operation alike; one beyond the last is: answered, then killed.
    kind, at = chance.choice([(kind, at) for kind in sorted(counted) for at in range(1, len(counted[kind]) + 2)])
    points = counted[kind]
    point = points[at - 1] if at <= len(points) else "answered"
    mode = chance.choice(MODES if point in TORN else MODES[:2])
    again = chance.randrange(1, 40) if chance.random() < AGAIN else 0
    return killed(where, template, seed, Kill(kind, at, mode, again), point)


def killed(where: Target, template: Path, seed: int, kill: Kill, point: str) -> Found:
    opener = where.fresh()
    with _copied(template) as directory:
        status, lines = fork(victim(opener, directory, seed, kill, kill.kind))
        told = Told.read(lines)
        found = Found(seed, kill, point, told.ops, 0.0)
        if status != signal.SIGKILL:
            found.problems = [f"the workload ended by itself ({status})", *told.errors]
            return found
        if kill.again:
            fork(_reopened(opener, directory, kill.again))
        status, lines = fork(_looking(opener, directory, told))
        for line in lines:
            value = json.loads(line[1:])
            if line[0] == "T":
                found.seconds = value
            else:
                found.problems.append(value)
        if status != 0:
            found.problems.append(f"the recovery ended with {status}")
        if found.seconds > RECOVERY_SECONDS:
            found.problems.append(f"recovery took {found.seconds:.1f} s")
    return found


def _reopened(opener: Opener, directory: Path, at: int) -> Callable[[int], None]:
    """Dies while it recovers, or while it sweeps what the first left."""

    def work(_pipe: int) -> None:
        points = Points()
        points.install()
        points.arm(at, MODES[at % 2])
        world = opener(directory)
        world.later(2 * 3_600_000)
        world.vault.sweep()
        die()

    return work


def _looking(opener: Opener, directory: Path, told: Told) -> Callable[[int], None]:
    def work(pipe: int) -> None:
        begun = time.perf_counter()
        world = opener(directory)
        say(pipe, b"T" + json.dumps(time.perf_counter() - begun).encode())
        for problem in Check(world, told.candidates, told.promised).problems():
            say(pipe, b"E" + json.dumps(problem[:1500]).encode())
        world.close()

    return work
