"""A verified file is put in place whole or not at all, and never over a newer one.

Collateral can be genuine, current, and from before a recovery: the numbers in it only grow, so one that shrinks is an
old file that somebody would like to be believed again.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vault.attest.claims import Refusal, refuse
from vault.collateral.candidates import Candidate, ages_of

NEW, UPDATED, UNCHANGED = "new", "updated", "unchanged"
_LOCK = ".lock"
_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a candidate: new, updated or unchanged."""

    candidate: Candidate
    outcome: str


def place(root: Path, candidate: Candidate) -> Placed:
    """`Refused("attest.collateral")` for an older file than the one in place; OSError when it cannot be written."""
    path = root / candidate.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(root):
        before = _before(path)
        if before == candidate.content:
            return Placed(candidate, UNCHANGED)
        if before is not None:
            _check_newer(candidate, before)
        _replace(path, candidate.content)
    return Placed(candidate, NEW if before is None else UPDATED)


def _check_newer(candidate: Candidate, before: bytes) -> None:
    theirs = ages_of(candidate.name, before)
    for name, number in candidate.ages.items():
        if name in theirs and number < theirs[name]:
            raise refuse(
                Refusal.COLLATERAL,
                f"{name} {number} is older than {theirs[name]} in place; if {candidate.name} is wrong, remove it first",
            )
    missing = sorted(theirs.keys() - candidate.ages.keys())
    if missing:
        raise refuse(Refusal.COLLATERAL, f"without {missing[0]}, which the file in place has")


def _before(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _replace(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(fresh, "xb") as file:
            os.fchmod(file.fileno(), _MODE)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One import at a time: two would each compare with what the other is about to replace."""
    descriptor = os.open(root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
