"""kill -9 and torn tails: no acknowledged entry is ever lost, and no damage is taken for a torn tail."""

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lineage.errors import Broken, Unavailable
from lineage.ledger.client import LedgerClient
from lineage.ledger.entry import encode_entry
from lineage.ledger.promise import Promise
from tests.fakes.ledger import LedgerKey, entry_id, intent, verify_ed25519
from tests.unit.lineage.ledger.running import check, write_ledger

ROOT = Path(__file__).resolve().parents[2]
SEED = "07" * 32

CHILD = """
import asyncio, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from lineage.ledger.sequencer import serve
from tests.fakes.ledger import verify_ed25519
key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.argv[2]))
root = sys.argv[1]
asyncio.run(serve(root + "/s", root + "/ledger", root + "/decisions", "de", key.sign,
    key.public_key().public_bytes_raw(), verify_ed25519, checkpoint_seconds=0.02, segment_bytes=100_000,
    ready=lambda: print("ready", flush=True)))
"""


class FixedKey(LedgerKey):
    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(SEED))
        self.public_key = self._key.public_key().public_bytes_raw()


def start(root: Path) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(root), SEED], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def stop(child: "subprocess.Popen[bytes]", how: int) -> None:
    child.send_signal(how)
    child.wait(10)
    assert child.stdout is not None
    child.stdout.close()


def test_killing_the_sequencer_loses_no_promised_entry(tmp_path: Path) -> None:
    promised: dict[int, Promise] = {}
    chance = random.Random(6962)

    async def write_until_killed(child: "subprocess.Popen[bytes]", base: int) -> None:
        client = LedgerClient(tmp_path / "s", "de", timeout=2)
        deadline = time.monotonic() + chance.uniform(0.02, 0.15)

        async def writer(start_at: int) -> None:
            for number in range(start_at, start_at + 10_000):
                try:
                    promised[number] = await client.append(intent(number), b"sealed")
                except Unavailable:
                    return
                if time.monotonic() > deadline:
                    child.send_signal(signal.SIGKILL)

        await asyncio.gather(*(writer(base + 10_000 * lane) for lane in range(16)))
        await client.close()

    for round_number in range(8):
        child = start(tmp_path)
        asyncio.run(write_until_killed(child, 200_000 * round_number))
        stop(child, signal.SIGKILL)
    stop(start(tmp_path), signal.SIGTERM)

    assert len(promised) > 100
    report = check_fixed(tmp_path, list(promised.values()))
    assert report == []
    for number, promise in list(promised.items())[:50]:
        promise.verify(encode_entry(intent(number)), FixedKey().public_key, verify_ed25519)


def check_fixed(root: Path, promises: list[Promise]) -> list[str]:
    from lineage.ledger.verify import verify_directory

    found = verify_directory(
        root / "ledger", FixedKey().public_key, verify_ed25519, zone="de", promises=promises
    ).problems
    return [problem.sentence() for problem in found]


@pytest.fixture
def zone(tmp_path: Path) -> Path:
    """Ten published entries, then one batch of five that no checkpoint covers yet."""
    write_ledger(tmp_path, [intent(i) for i in range(10)], per_batch=5)
    published = tmp_path / "published"
    shutil.copytree(tmp_path / "ledger", published)
    write_ledger(tmp_path, [intent(i) for i in range(10, 15)], per_batch=5)
    for name in ("checkpoint", "index", "tile/0"):
        shutil.copy(published / name, tmp_path / "ledger" / name)
    shutil.rmtree(published)
    return tmp_path


def segment(root: Path) -> Path:
    return next((root / "ledger" / "log").iterdir())


def test_unpublished_entries_are_published_at_the_next_start(zone: Path) -> None:
    assert check(zone).unpublished == 5
    write_ledger(zone, [])
    assert (check(zone).size, check(zone).unpublished) == (15, 0)


def test_a_torn_last_batch_is_cut_at_every_length(zone: Path) -> None:
    whole = segment(zone).read_bytes()
    second = whole.find(b"DLG1", whole.find(b"DLG1", 1) + 1)
    for cut in [*range(second, second + 40), *range(second + 40, len(whole), 97), len(whole) - 1]:
        copy = zone / "copy"
        shutil.copytree(zone / "ledger", copy / "ledger")
        os.truncate(segment(copy), cut)
        write_ledger(copy, [intent(99)])
        report = check(copy)
        assert report.problems == []
        assert report.size == 11
        shutil.rmtree(copy)


def test_garbage_behind_the_last_batch_is_cut(zone: Path) -> None:
    for garbage in (b"\x00" * 4096, b"DLG1" + b"\xff" * 100, b"x"):
        copy = zone / "copy"
        shutil.copytree(zone / "ledger", copy / "ledger")
        with segment(copy).open("ab") as file:
            file.write(garbage)
        write_ledger(copy, [])
        assert (check(copy).size, check(copy).problems) == (15, [])
        shutil.rmtree(copy)


@pytest.mark.parametrize("number", [0, 4, 5, 9])
def test_damage_to_a_published_entry_stops_the_start(zone: Path, number: int) -> None:
    data = bytearray(segment(zone).read_bytes())
    data[data.find(entry_id(number).encode())] ^= 1
    segment(zone).write_bytes(data)
    with pytest.raises(Broken) as caught:
        write_ledger(zone, [])
    assert caught.value.reason == "ledger.segment"
    assert segment(zone).read_bytes() == bytes(data)


def test_damage_to_an_acknowledged_batch_with_another_behind_it_stops_the_start(tmp_path: Path) -> None:
    """Not covered by any checkpoint, but followed by a batch: it was on disk once, so it is no torn tail."""
    write_ledger(tmp_path, [])
    for name in ("checkpoint", "index", "tile/0"):
        shutil.copy(tmp_path / "ledger" / name, tmp_path / name.replace("/", "-"))
    write_ledger(tmp_path, [intent(i) for i in range(15)], per_batch=5)
    for name in ("checkpoint", "index", "tile/0"):
        shutil.copy(tmp_path / name.replace("/", "-"), tmp_path / "ledger" / name)
    data = bytearray(segment(tmp_path).read_bytes())
    data[data.find(entry_id(7).encode())] ^= 1
    segment(tmp_path).write_bytes(data)
    with pytest.raises(Broken):
        write_ledger(tmp_path, [])
    assert segment(tmp_path).read_bytes() == bytes(data)


def test_entries_below_the_checkpoint_that_are_gone_stop_the_start(zone: Path) -> None:
    whole = segment(zone).read_bytes()
    os.truncate(segment(zone), whole.find(b"DLG1", 1))
    with pytest.raises(Broken) as caught:
        write_ledger(zone, [])
    assert caught.value.reason in {"ledger.truncated", "ledger.segment"}


def test_a_crash_between_tiles_and_checkpoint_is_repeated_cleanly(zone: Path) -> None:
    """Tiles and index of the next checkpoint already written, the checkpoint itself not."""
    ahead = zone / "ahead"
    shutil.copytree(zone / "ledger", ahead / "ledger")
    write_ledger(ahead, [])
    for name in ("index", "tile/0"):
        shutil.copy(ahead / "ledger" / name, zone / "ledger" / name)
    shutil.rmtree(ahead)
    (zone / "ledger" / "checkpoint.tmp").write_bytes(b"half")
    assert check(zone).problems == []
    write_ledger(zone, [intent(50)])
    assert (check(zone).size, check(zone).problems) == (16, [])


def test_an_empty_segment_left_by_a_crash_is_used(zone: Path) -> None:
    write_ledger(zone, [])
    (zone / "ledger" / "log" / f"{15:020d}.seg").touch()
    write_ledger(zone, [intent(60)])
    assert (check(zone).size, check(zone).problems) == (16, [])


def test_a_ledger_without_its_checkpoint_is_not_begun_anew(zone: Path) -> None:
    (zone / "ledger" / "checkpoint").unlink()
    with pytest.raises(Broken) as caught:
        write_ledger(zone, [])
    assert caught.value.reason == "ledger.checkpoint"


def test_damage_to_the_last_published_batch_is_no_torn_tail(tmp_path: Path) -> None:
    write_ledger(tmp_path, [intent(i) for i in range(10)], per_batch=5)
    data = bytearray(segment(tmp_path).read_bytes())
    data[data.find(entry_id(9).encode())] ^= 1
    segment(tmp_path).write_bytes(data)
    with pytest.raises(Broken):
        write_ledger(tmp_path, [])
    assert segment(tmp_path).read_bytes() == bytes(data)  # evidence is not tidied away
