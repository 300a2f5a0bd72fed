"""Unmodified clients that live longer than their credentials: of two attested sessions the first is revoked
once the second is handed out. The ledger, not the client, says with which of them each request was signed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lineage.errors import LineageError
from lineage.ledger.reader import LedgerReader
from tests.conftest import ROOT
from tests.e2e.people import Input
from tests.e2e.rolling import Recorded, RollingAgent, recorded
from tests.e2e.s3_clients import CLIENTS
from tests.e2e.test_clients import QUIET, installed, skip_unless_installed
from tests.e2e.world import PURPOSES, World, refused, until, work_dir

BUCKET = "rolling"
COLUMNS = 8
LARGE_ROWS = 45_000  # of random numbers: 2.9 MB that no codec makes smaller
LIVING = tuple(name for name in CLIENTS if name != "aws")  # a command line lives for one command: test_aws has its own
pytestmark = pytest.mark.timeout(240)


@dataclass
class Turns:
    """What the clients' program prints, read as it comes."""

    process: subprocess.Popen[str]
    errors: Path
    seen: list[dict[str, str]] = field(default_factory=list)

    def follow(self, lines: IO[str]) -> None:
        for line in lines:
            if line.startswith("{"):  # libraries print what they like
                self.seen.append(json.loads(line))

    def end(self) -> None:
        """Ask the program to finish, and wait for its last line."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(90) == 0, self.errors.read_text()[-2000:]
        until(lambda: "aws" in self.seen[-1], 5, "the last line is missing")

    def whole_turn(self) -> None:
        """Wait until every client has read once more, from beginning to end."""
        enough = len(self.seen) + 2  # the turn that is under way began earlier
        until(lambda: len(self.seen) >= enough or self.process.poll() is not None, 90, "the clients do not read")
        assert self.process.poll() is None, self.errors.read_text()[-2000:]


@dataclass(frozen=True)
class Run:
    sessions: list[str]
    turns: list[dict[str, str]]
    objects: dict[str, str]
    """By client: how the ledger calls its object."""
    ledger: Recorded
    refused_status: int
    """What a client is told that goes on with the first session's credentials."""


@pytest.fixture(scope="module")
def large(made: Input, world: World) -> Iterator[Path]:
    """The bucket with an object for each client and the large one. Raw is all that is read of them here."""
    with work_dir("rolling") as directory:
        for name in CLIENTS:
            shutil.copy(made.directory / "part-0.parquet", directory / f"{name}.parquet")
        numbers = np.random.default_rng(1).standard_normal((COLUMNS, LARGE_ROWS))
        table = pa.table({f"m{column}": numbers[column] for column in range(COLUMNS)})
        pq.write_table(table, directory / "large.parquet", compression="none", use_dictionary=False)
        purposes = [option for purpose in PURPOSES for option in ("--purpose", purpose)]
        world.command(
            "ingest", str(directory), BUCKET, "--zone", "de", "--synthetic", "--numeric-is", "none", *purposes
        )
        yield directory / "large.parquet"


@pytest.fixture(scope="module")
def run(world: World, large: Path) -> Iterator[Run]:
    sessions = [world.attest(BUCKET, run="rolling") for _ in range(2)]
    ids = [session.session_id for session in sessions]
    with work_dir("home") as home, RollingAgent(sessions) as agent, reading(agent, home) as turns:
        turns.whole_turn()
        gone = agent.roll()
        turns.whole_turn()
        turns.end()
    settled = until(lambda: recorded(world, ids), 10, "the last reads are not on record", all_by(ids[-1]))
    objects = {name: object_of(world, sessions[-1], f"{name}.parquet") for name in (*installed(), "large")}
    answer = refused(world.s3(gone).get_object, Bucket=BUCKET, Key="boto3.parquet")
    yield Run(ids, turns.seen, objects, settled, answer.status)
    sessions[-1].close()


def all_by(session: str) -> Callable[[Recorded], bool]:
    """Every object was read in that session, as far as the ledger has been published."""
    return lambda found: all(counts[session] for counts in found.reads.values())


@contextmanager
def reading(agent: RollingAgent, home: Path) -> Iterator[Turns]:
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"} | QUIET | agent.env()
    living = ",".join(name for name in installed() if name in LIVING)
    with (
        (home / "errors").open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.rolling_clients", BUCKET, str(home), living], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        turns = Turns(process, home / "errors")
        thread = threading.Thread(target=turns.follow, args=(process.stdout,))
        thread.start()
        try:
            yield turns
        finally:
            process.terminate()  # no news to a program that has ended
            thread.join()


def object_of(world: World, session: Any, key: str) -> str:
    """How the ledger calls it."""
    head = world.s3(session.credentials).head_object(Bucket=BUCKET, Key=key)
    decision = head["ResponseMetadata"]["HTTPHeaders"]["x-demesne-decision"]
    reader = LedgerReader(world.zone_dir() / "ledger")
    found = until(lambda: position(reader, decision), 5, "the read is not on record", lambda at: at is not None)
    assert found is not None
    return str(reader.entries(found, found + 1)[0]["object"])


def position(reader: LedgerReader, decision: str) -> int | None:
    try:
        return reader.find(decision)
    except LineageError:
        return None


def truth(made: Input) -> str:
    table = pq.read_table(made.directory / "part-0.parquet")
    rows = list(zip(table["email"].to_pylist(), table["visits"].to_pylist(), strict=True))
    assert tuple(email for email, _ in rows) == made.emails
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


@pytest.mark.parametrize("client", LIVING)
def test_a_client_outlives_its_credentials(client: str, run: Run, made: Input) -> None:
    """Made once, it read the raw truth each time, with both keys in turn."""
    skip_unless_installed(client)
    assert {turn[client] for turn in run.turns if client in turn} == {truth(made)}
    used = run.ledger.reads[run.objects[client]]
    assert set(used) == set(run.sessions), used


def test_one_command_of_the_aws_cli_outlives_its_credentials(run: Run, large: Path) -> None:
    assert run.turns[-1]["aws"] == hashlib.sha256(large.read_bytes()).hexdigest()
    used = run.ledger.reads[run.objects["large"]]
    assert set(used) == set(run.sessions), used


def test_no_request_came_late_and_none_was_refused(run: Run) -> None:
    assert run.ledger.late == []
    assert run.ledger.refused == []
    # They would have been refused, and seen: the first session's credentials open nothing any more.
    assert run.refused_status == 403
