"""One zone's ledger in a real PostgreSQL, written by several gateways at once: one order, one signer, one truth."""

import asyncio
import contextlib
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from gateway.processes.init import run_init
from gateway.settings import Settings
from lineage.errors import Broken, Unavailable
from lineage.ledger.client import SyncLedgerClient
from lineage.ledger.entry import encode_entry, leaf_hash
from lineage.ledger.moving import move_into
from lineage.ledger.postgresql import LEASE_MS, SharedLog, libpq_url
from lineage.ledger.proof import verify_receipt
from lineage.ledger.reader import LedgerReader
from lineage.ledger.shared import SharedLedger, _NotElected
from lineage.ledger.verify import verify_directory
from lineage.ledger.writer import Request, open_ledger
from tests.fakes.ledger import LedgerKey, entry_id, intent, verify_ed25519
from tests.fakes.postgresql import Server, available
from tests.fakes.shared_ledger import KEY, check, gateway, initialise, now_ms, opened, process
from vault.errors import Conflict
from vault.keys.signing import ZoneSigner, verify_signature

pytestmark = [pytest.mark.servers, pytest.mark.skipif(not available(), reason="PostgreSQL is not installed")]
LEASE = LEASE_MS / 1000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    with tempfile.TemporaryDirectory(prefix="pgl-") as name:  # short: the socket's name holds 108 bytes
        running = Server(Path(name))
        running.start()
        yield running, Path(name)
        running.stop()


@pytest.fixture
def url(server: tuple[Server, Path]) -> str:
    """A ledger of this test's own: the tables anew."""
    found = f"postgresql+psycopg://demesne@/postgres?host={server[1]}"
    admin(found, "DROP TABLE IF EXISTS ledger_head, ledger_entry, ledger_sequencer")
    initialise(found)
    return found


def admin(url: str, *statements: str) -> list[Any]:
    """What somebody with the database's password can do."""
    with psycopg.connect(libpq_url(url), autocommit=True) as connection:
        found: list[Any] = []
        for statement in statements:
            answer = connection.execute(statement)
            found = answer.fetchall() if answer.description else []
        return found


def append(ledger: SharedLedger, *numbers: int) -> list[int]:
    """Positions of these entries."""
    batch = [Request(encode_entry(intent(number)), entry_id(number), b"") for number in numbers]
    return [stored.index for stored in ledger.commit(batch)[1]]


def test_two_gateways_write_one_log_and_each_serves_all_of_it(url: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        async with gateway(tmp_path / "a", url, "a") as a, gateway(tmp_path / "b", url, "b") as b:
            given = await asyncio.gather(
                *((a if number % 2 else b).append(intent(number)) for number in range(400))
            )
            assert sorted(promise.index for promise in given) == list(range(400))
            for number, promise in enumerate(given):
                promise.verify(encode_entry(intent(number)), KEY.public_key, verify_ed25519)
            for name in ("a", "b"):  # what either was told, the other proves within two seconds
                reader, end = LedgerReader(tmp_path / name / "ledger"), time.monotonic() + 2
                while reader.size < 400 and time.monotonic() < end:
                    await asyncio.sleep(0.02)
                for number in (0, 1, 399):
                    receipt = verify_receipt(reader.receipt(entry_id(number)), KEY.public_key, verify_ed25519)
                    assert receipt.index == given[number].index

    asyncio.run(scenario())
    first, second = check(tmp_path / "a"), check(tmp_path / "b")
    assert first.verified
    assert second.verified
    assert (first.size, first.root) == (second.size, second.root)
    notes = [(tmp_path / name / "ledger" / "checkpoint").read_bytes() for name in ("a", "b")]
    assert notes[0] == notes[1]


def test_a_gateway_that_comes_later_or_lost_its_disk_gets_the_whole_log(url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "a", url, "a") as a:
        append(a, *range(50))
        a.publish()
        with opened(tmp_path / "b", url, "b") as b:
            b.publish()
            assert not b.elected
        assert check(tmp_path / "b").size == 50
        append(a, 50)
        a.publish()
        with opened(tmp_path / "b", url, "b") as b:
            b.publish()
    found = check(tmp_path / "b")
    assert (found.verified, found.size) == (True, 51)


def test_a_stopped_signer_is_followed_and_refused_when_it_wakes(url: str, tmp_path: Path) -> None:
    """SIGSTOP: what a paused machine does. It still believes in its lease; the fence does not."""
    with process(tmp_path / "a", url) as a, contextlib.ExitStack() as others:
        [(holder, fence)] = wait_for_signer(url)
        others.enter_context(process(tmp_path / "b", url))
        clients = {name: others.enter_context(client(tmp_path / name)) for name in ("a", "b")}
        clients["a"].append(intent(1))
        a.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        assert clients["b"].append(intent(2)).index == 1  # at once: nobody waits for who is asleep
        assert time.monotonic() - stopped < 1.0
        while wait_for_signer(url)[0][0] != "b":
            assert time.monotonic() - stopped < LEASE + 3
            time.sleep(0.05)
        late = SharedLog(url, "de", KEY.public_key, durable=False)
        before = late.head()
        assert late.publish(holder, fence, 2, b"what the sleeper would have signed") is False
        assert late.head().note == before.note
        late.close()
        a.send_signal(signal.SIGCONT)
        assert clients["a"].append(intent(3)).index == 2
        assert clients["b"].append(intent(4)).index == 3
        wait_published(tmp_path, 4)
        assert a.poll() is None
        assert wait_for_signer(url)[0][0] == "b"
    for name in ("a", "b"):
        found = check(tmp_path / name)
        assert (found.verified, found.size) == (True, 4)


@contextlib.contextmanager
def client(root: Path) -> Iterator[SyncLedgerClient]:
    with contextlib.closing(SyncLedgerClient(root / "s", "de")) as made:
        yield made


def wait_for_signer(url: str) -> list[Any]:
    end = time.monotonic() + 5
    while time.monotonic() < end:
        found = admin(url, "SELECT holder, fence FROM ledger_sequencer WHERE holder <> ''")
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("nobody was elected")


def wait_published(root: Path, size: int) -> None:
    end = time.monotonic() + 5
    while any(LedgerReader(root / name / "ledger").size < size for name in ("a", "b")):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_killed_signer_loses_nothing_that_was_promised(url: str, tmp_path: Path) -> None:
    with process(tmp_path / "a", url) as a:
        assert wait_for_signer(url)[0][0] == "a"
        with process(tmp_path / "b", url), client(tmp_path / "a") as first, client(tmp_path / "b") as second:
            promises = [first.append(intent(number)) for number in range(30)]
            a.kill()
            promises.append(second.append(intent(30)))
            wait_alone(tmp_path / "b", 31)
    found = verify_directory(tmp_path / "b" / "ledger", KEY.public_key, verify_ed25519, zone="de", promises=promises)
    assert found.problems == []
    assert found.size == 31


def wait_alone(root: Path, size: int) -> None:
    end = time.monotonic() + LEASE + 4
    while LedgerReader(root / "ledger").size < size:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_late_signer_changes_nothing_here_or_there(url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "a", url, "a") as a, opened(tmp_path / "b", url, "b") as b:
        append(a, 1)
        a.publish()
        append(a, 2)
        admin(url, "UPDATE ledger_sequencer SET lease_until = 0")  # a slept; its lease ran out …
        taken = b._follows.lease("b", 0)  # … and b took it
        note = (tmp_path / "a" / "ledger" / "checkpoint").read_bytes()
        a._follow(2)
        with pytest.raises(_NotElected):
            a._publisher.publish(a._endorse)
        assert (tmp_path / "a" / "ledger" / "checkpoint").read_bytes() == note
        assert admin(url, "SELECT holder, fence, published FROM ledger_sequencer") == [("b", taken, 1)]
        a.publish()  # now it follows
        assert not a.elected
        b.fence = taken or 0
        b.publish()
        a.publish()
    assert check(tmp_path / "a").root == check(tmp_path / "b").root


def test_another_key_is_no_gateway_of_this_zone(url: str, tmp_path: Path) -> None:
    stranger = LedgerKey()
    with pytest.raises(Broken, match="same signing key"), opened(tmp_path / "x", url, "x", stranger):
        pass
    log = SharedLog(url, "de", stranger.public_key, durable=False)
    with pytest.raises(Broken, match=r"ledger\.key"):
        log.append([encode_entry(intent(1))], now_ms())
    log.close()
    assert admin(url, "SELECT count(*) FROM ledger_entry") == [(0,)]


def test_a_database_whose_acknowledgements_mean_nothing_is_refused(url: str) -> None:
    log = SharedLog(url, "de", KEY.public_key)  # the test's server runs with fsync=off
    with pytest.raises(Broken, match=r"ledger\.not-durable"):
        log.check()
    log.close()


def test_entries_cannot_be_changed_or_removed_by_an_ordinary_statement(url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "a", url, "a") as a:
        append(a, 1)
    for statement in ("UPDATE ledger_entry SET at = 0", "DELETE FROM ledger_entry", "TRUNCATE ledger_entry"):
        with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
            admin(url, statement)


@pytest.mark.parametrize("checkpoint", ["stays", "is gone too"])
def test_a_database_that_lost_entries_closes_the_zone(checkpoint: str, url: str, tmp_path: Path) -> None:
    """A backup restored, a replica promoted that was behind: whoever holds a promise holds one for nothing."""
    with opened(tmp_path / "a", url, "a") as a:
        append(a, 1, 2, 3)
        a.publish()
        admin(
            url, "ALTER TABLE ledger_entry DISABLE TRIGGER ALL", "DELETE FROM ledger_entry WHERE position = 2",
            "UPDATE ledger_head SET size = 2", "ALTER TABLE ledger_entry ENABLE TRIGGER ALL",
        )  # fmt: skip
        if checkpoint == "is gone too":
            admin(url, "UPDATE ledger_sequencer SET checkpoint = NULL, published = 0")
        with pytest.raises(Broken, match=r"ledger\.rolled-back"):
            a.publish()
    assert check(tmp_path / "a").size == 3


def test_a_host_that_is_shown_other_entries_than_the_signer_saw_stops(url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "a", url, "a") as a, opened(tmp_path / "b", url, "b") as b:
        append(a, 1, 2)
        a.publish()
        forged = encode_entry(intent(9)).hex()
        admin(
            url, "ALTER TABLE ledger_entry DISABLE TRIGGER ALL",
            f"UPDATE ledger_entry SET entry = '\\x{forged}' WHERE position = 1",
            "ALTER TABLE ledger_entry ENABLE TRIGGER ALL",
        )  # fmt: skip
        with pytest.raises(Broken, match=r"ledger\.split"):
            b.publish()
    assert LedgerReader(tmp_path / "b" / "ledger").size == 0
    assert check(tmp_path / "a").verified


def test_a_lock_somebody_holds_is_a_refusal_in_seconds_and_records_nothing(url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "a", url, "a") as a:
        with psycopg.connect(libpq_url(url)) as stuck:
            stuck.execute("SELECT * FROM ledger_head FOR UPDATE")
            began = time.monotonic()
            with pytest.raises(Unavailable, match=r"ledger\.database"):
                append(a, 1)
            assert time.monotonic() - began < 5
            stuck.rollback()
        assert append(a, 2) == [0]


def test_a_clock_far_behind_is_refused(url: str, tmp_path: Path) -> None:
    log = SharedLog(url, "de", KEY.public_key, durable=False)
    log.append([encode_entry(intent(1))], now_ms())
    with pytest.raises(Unavailable, match=r"ledger\.clock"):
        log.append([encode_entry(intent(2))], now_ms() - 6_000)
    position, at = log.append([encode_entry(intent(3))], now_ms() - 2_000)
    assert position == 1
    assert at > now_ms() - 1_500  # never before the entry it follows
    log.close()


def test_a_restarted_database_is_found_again(server: tuple[Server, Path], url: str, tmp_path: Path) -> None:
    with opened(tmp_path / "a", url, "a") as a:
        append(a, 1)
        server[0].stop()
        with pytest.raises(Unavailable, match=r"ledger\.database"):
            append(a, 2)
        a.publish()  # waits, and is no failure
        server[0].start()
        assert append(a, 3) == [1]
        a.publish()
    assert check(tmp_path / "a").size == 2


def test_before_it_is_set_up_it_says_so(server: tuple[Server, Path], tmp_path: Path) -> None:
    found = f"postgresql+psycopg://demesne@/postgres?host={server[1]}"
    admin(found, "DROP TABLE IF EXISTS ledger_head, ledger_entry, ledger_sequencer")
    with pytest.raises(Unavailable, match=r"ledger\.schema"), opened(tmp_path / "a", found, "a"):
        pass


# -- a ledger of files that is moved in --------------------------------------------------------------------------------


def move(url: str, root: Path) -> int:
    log = SharedLog(url, "de", KEY.public_key, durable=False)
    try:
        return move_into(log, root / "ledger", "de", KEY.public_key, verify_ed25519, holder="mover")
    finally:
        log.close()


def write_files(root: Path, *numbers: int) -> None:
    with open_ledger(root / "ledger", root / "decisions", "de", KEY.sign, KEY.public_key, verify_ed25519) as ledger:
        for number in numbers:
            _, [stored] = ledger.commit([Request(encode_entry(intent(number)), entry_id(number), b"")])
            ledger.committed(leaf_hash(stored.entry), entry_id(number), stored)
        ledger.publish()


def test_files_move_in_whole_and_go_on_as_this_hosts_copy(url: str, tmp_path: Path) -> None:
    write_files(tmp_path / "a", *range(60))
    note = (tmp_path / "a" / "ledger" / "checkpoint").read_bytes()
    assert move(url, tmp_path / "a") == 60
    assert move(url, tmp_path / "a") == 60  # again: nothing twice
    assert admin(url, "SELECT checkpoint FROM ledger_sequencer") == [(note,)]
    with opened(tmp_path / "a", url, "a") as a, opened(tmp_path / "b", url, "b") as b:
        assert append(a, 60) == [60]
        a.publish()
        b.publish()
        assert LedgerReader(tmp_path / "b" / "ledger").find(entry_id(5)) == 5
    assert check(tmp_path / "a").root == check(tmp_path / "b").root
    earlier = verify_directory(
        tmp_path / "b" / "ledger", KEY.public_key, verify_ed25519, zone="de", earlier=[note]
    )
    assert earlier.problems == []


def test_a_move_that_was_broken_off_is_finished(url: str, tmp_path: Path) -> None:
    write_files(tmp_path / "a", *range(10))
    log = SharedLog(url, "de", KEY.public_key, durable=False)
    log.append([encode_entry(intent(number)) for number in range(4)], 1)
    log.close()
    assert move(url, tmp_path / "a") == 10
    with opened(tmp_path / "b", url, "b") as b:
        b.publish()
    assert check(tmp_path / "b").root == check(tmp_path / "a").root


def test_nothing_is_moved_over_another_ledger_or_from_a_damaged_one(url: str, tmp_path: Path) -> None:
    write_files(tmp_path / "a", *range(10))
    log = SharedLog(url, "de", KEY.public_key, durable=False)
    log.append([encode_entry(intent(77))], 1)
    log.close()
    with pytest.raises(Broken, match="other entries from 0"):
        move(url, tmp_path / "a")
    assert admin(url, "SELECT count(*) FROM ledger_entry") == [(1,)]
    [segment] = (tmp_path / "a" / "ledger" / "log").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"claims", b"clAims"))
    with pytest.raises(Broken, match="does not verify"):
        move(url, tmp_path / "a")


def test_naming_a_shared_ledger_moves_the_zones_own_and_there_is_no_way_back(url: str, tmp_path: Path) -> None:
    admin(url, "DROP TABLE ledger_head, ledger_entry, ledger_sequencer")
    alone = Settings(zone="de", jurisdiction="de", state_dir=tmp_path, posture="development")
    shared = alone.model_copy(update={"ledger_url": url})
    assert run_init(alone) == 0
    signer = ZoneSigner.load_or_create(alone.signing_key_path)
    with open_ledger(
        alone.ledger_dir, tmp_path / "decisions", "de", signer.sign, signer.public_key, verify_signature
    ) as ledger:
        _, [stored] = ledger.commit([Request(encode_entry(intent(1)), entry_id(1), b"")])
        ledger.committed(leaf_hash(stored.entry), entry_id(1), stored)
        ledger.publish()
    assert run_init(shared) == 0
    assert run_init(shared) == 0
    assert admin(url, "SELECT size FROM ledger_head") == [(1,)]
    with pytest.raises(Conflict, match=r"ledger\.elsewhere"):
        run_init(alone)
