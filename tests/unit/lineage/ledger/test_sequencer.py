"""The sequencer with its clients: durable, grouped, refusing, one at a time."""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Coroutine
from pathlib import Path

import pytest

from lineage.errors import Broken, Malformed, NotFound, Unavailable
from lineage.ledger.client import LedgerClient, SyncLedgerClient
from lineage.ledger.decisions import day_of, read_input
from lineage.ledger.entry import encode_entry
from lineage.ledger.reader import LedgerReader
from tests.fakes.ledger import entry_id, intent, outcome, verify_ed25519
from tests.unit.lineage.ledger.running import KEY, check, sequencer


def run(scenario: Coroutine[None, None, None]) -> None:
    asyncio.run(scenario)


def test_an_append_returns_a_promise_and_the_entry_is_published(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path) as client:
            promise = await client.append(intent(1))
            promise.verify(encode_entry(intent(1)), KEY.public_key, verify_ed25519)
            assert promise.index == 0

    run(scenario())
    assert LedgerReader(tmp_path / "ledger").entries(0, 10) == [intent(1)]
    assert check(tmp_path).verified


def test_concurrent_appends_share_syncs_and_each_gets_its_own_index(tmp_path: Path) -> None:
    syncs = 0

    def counting(handle: int) -> None:
        nonlocal syncs
        syncs += 1
        os.fdatasync(handle)

    async def scenario() -> None:
        async with sequencer(tmp_path, sync=counting, checkpoint_seconds=30) as client:
            await client.append(intent(0))
            before = syncs
            promises = await asyncio.gather(*(client.append(intent(i)) for i in range(1, 501)))
            assert syncs - before < 20
            assert sorted(p.index for p in promises) == list(range(1, 501))
            for number, promise in enumerate(promises, 1):
                promise.verify(encode_entry(intent(number)), KEY.public_key, verify_ed25519)

    run(scenario())
    assert check(tmp_path).size == 501


def test_nothing_is_promised_before_the_sync_returns(tmp_path: Path) -> None:
    order: list[str] = []

    def slow(handle: int) -> None:
        os.fdatasync(handle)
        order.append("synced")

    async def scenario() -> None:
        async with sequencer(tmp_path, sync=slow, checkpoint_seconds=30) as client:
            order.clear()
            await client.append(intent(1))
            order.append("promised")
            assert order == ["synced", "promised"]

    run(scenario())


def test_outcomes_are_recorded_later_and_drained_at_close(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path) as client:
            await client.append(intent(1))
            for number in range(50):
                client.append_later(outcome(entry_id(1), number=number))

    run(scenario())
    assert len(LedgerReader(tmp_path / "ledger").entries(0, 100)) == 51


def test_an_outcome_waits_for_the_sequencer_to_come_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        client = LedgerClient(tmp_path / "s", "de")
        client.append_later(outcome(entry_id(1)))
        await asyncio.sleep(0.1)
        async with sequencer(tmp_path):
            await asyncio.wait_for(client.drain(), 5)
        await client.close()

    run(scenario())
    assert LedgerReader(tmp_path / "ledger").find(outcome(entry_id(1))["id"]) == 0


def test_wrong_entries_are_refused_and_nothing_is_recorded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path) as client:
            for wrong in (intent(1, zone="fr"), intent(1, surplus=1), intent(1, type="gossip")):
                with pytest.raises(Malformed):
                    await client.append(wrong)
            with pytest.raises(Malformed):
                client.append_later(intent(1, view=None))
            assert (await client.append(intent(2))).index == 0

    run(scenario())
    assert check(tmp_path).size == 1


def test_bytes_that_are_no_request_end_the_connection_and_nothing_else(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path) as client:
            for bad in (struct.pack(">I", 1 << 31), struct.pack(">IIIB", 9, 1, 500, 0), struct.pack(">I", 0)):
                reader, writer = await asyncio.open_unix_connection(tmp_path / "s")
                writer.write(bad + b"x" * 64)
                assert await asyncio.wait_for(reader.read(), 2) == b""
                writer.close()
            assert (await client.append(intent(2))).index == 0

    run(scenario())


def test_without_a_sequencer_nothing_is_promised(tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(Unavailable) as caught:
            await LedgerClient(tmp_path / "absent", "de", timeout=0.3).append(intent(1))
        assert caught.value.reason == "ledger.connect"

    run(scenario())
    with pytest.raises(Unavailable):
        SyncLedgerClient(tmp_path / "absent", "de").append(intent(1))


def test_a_sequencer_that_does_not_answer_in_time_is_unavailable(tmp_path: Path) -> None:
    async def scenario() -> None:
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "s"))
            silent.listen()
            client = LedgerClient(tmp_path / "s", "de", timeout=0.1)
            with pytest.raises(Unavailable) as caught:
                await client.append(intent(1))
            assert caught.value.reason == "ledger.timeout"
            await client.close()

    run(scenario())


def test_a_full_disk_refuses_and_heals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path, checkpoint_seconds=30) as client:
            await client.append(intent(1))
            real = os.pwrite

            def full(handle: int, data: bytes, offset: int) -> int:
                if len(data) > 100:
                    return real(handle, data[:100], offset)
                raise OSError(errno.ENOSPC, "No space left on device")

            with monkeypatch.context() as disk:
                disk.setattr(os, "pwrite", full)
                with pytest.raises(Unavailable) as caught:
                    await client.append(intent(2))
            assert caught.value.reason == "ledger.full"
            assert (await client.append(intent(3))).index == 1

    run(scenario())
    assert [e["id"] for e in LedgerReader(tmp_path / "ledger").entries(0, 9)] == [entry_id(1), entry_id(3)]
    assert check(tmp_path).verified


def test_a_failed_sync_stops_the_sequencer_and_promises_nothing(tmp_path: Path) -> None:
    failing = False

    def sync(handle: int) -> None:
        if failing:
            raise OSError(errno.EIO, "Input/output error")
        os.fdatasync(handle)

    async def scenario() -> None:
        nonlocal failing
        async with sequencer(tmp_path, sync=sync, checkpoint_seconds=30) as client:
            await client.append(intent(1))
            failing = True
            with pytest.raises(Unavailable):
                await client.append(intent(2))

    with pytest.raises(Broken) as caught:
        run(scenario())
    assert caught.value.reason == "ledger.disk"


def test_a_clock_that_went_back_refuses(tmp_path: Path) -> None:
    now = 1_000_000_000_000

    async def scenario() -> None:
        nonlocal now
        async with sequencer(tmp_path, now_ms=lambda: now) as client:
            first = await client.append(intent(1))
            now -= 4_000
            assert (await client.append(intent(2))).at == first.at  # small steps never turn time around
            now -= 4_000
            with pytest.raises(Unavailable) as caught:
                await client.append(intent(3))
            assert caught.value.reason == "ledger.clock"

    run(scenario())
    assert check(tmp_path).size == 2


def test_there_is_one_sequencer(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path) as client:
            with pytest.raises(Unavailable) as caught:
                async with sequencer(tmp_path):
                    pass
            assert caught.value.reason == "ledger.locked"
            await client.append(intent(1))

    run(scenario())


def test_sealed_inputs_lie_beside_the_ledger(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path, now_ms=lambda: 1_700_000_000_000) as client:
            await client.append(intent(1), b"sealed bytes")
            await client.append(intent(2), b"other")
            with pytest.raises(Malformed):
                await client.append(intent(3), b"x" * (1 << 20 | 1))

    run(scenario())
    day = day_of(1_700_000_000_000)
    assert read_input(tmp_path / "decisions", day, entry_id(2)) == b"other"
    with pytest.raises(NotFound):
        read_input(tmp_path / "decisions", day, entry_id(3))
    with pytest.raises(NotFound):
        read_input(tmp_path / "decisions", "../../etc", entry_id(2))


def test_the_blocking_client_and_a_reconnect(tmp_path: Path) -> None:
    async def scenario() -> None:
        client = SyncLedgerClient(tmp_path / "s", "de")
        async with sequencer(tmp_path):
            promise = await asyncio.to_thread(client.append, intent(1))
            promise.verify(encode_entry(intent(1)), KEY.public_key, verify_ed25519)
            with pytest.raises(Malformed):
                await asyncio.to_thread(client.append, intent(2, zone="fr"))
        async with sequencer(tmp_path) as other:
            await other.append(intent(9))
            # Nothing could be sent on the dead connection, so a second try cannot record twice.
            assert (await asyncio.to_thread(client.append, intent(4))).index == 2
        client.close()

    run(scenario())


def test_the_socket_is_for_our_own_user(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path):
            assert (tmp_path / "s").stat().st_mode & 0o077 == 0

    run(scenario())


def test_a_ledger_being_written_never_looks_damaged(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with sequencer(tmp_path, checkpoint_seconds=0.005) as client:
            done = False

            async def write() -> None:
                for start in range(0, 100_000, 20):
                    if done:
                        return
                    await asyncio.gather(*(client.append(intent(start + i)) for i in range(20)))

            writing = asyncio.create_task(write())
            for _ in range(15):
                assert (await asyncio.to_thread(check, tmp_path)).problems == []
                await asyncio.sleep(0.01)
            done = True
            await writing

    run(scenario())
    assert check(tmp_path).size > 100
