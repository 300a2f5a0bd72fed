"""Clients that ask and do not take: they cost memory up to their share, no thread, and they are cut off in the end."""

import time
from contextlib import ExitStack, suppress

from tests.e2e.world import until
from tests.fault.hostile.conftest import BIG, PER_PRINCIPAL, STALL_SECONDS
from tests.fault.hostile.wire import BUCKET, LONG, Target, answer, statuses, well_behaved


def back_to(target: Target, descriptors: int) -> None:
    until(target.descriptors, 20, "descriptors stay open", lambda now: now <= descriptors + 4)


def test_readers_that_take_nothing_hold_no_thread_and_are_cut_off(target: Target) -> None:
    """More than there are threads: another principal reads large objects past them, the next of their own hears 503,
    and after DEMESNE_STALL_SECONDS their connections are gone."""
    before, resident = target.descriptors(), target.resident_mib()
    with well_behaved(target, "big", BIG) as reader, ExitStack() as stack:
        clients = [stack.enter_context(target.connect(receive_buffer=4096)) for _ in range(PER_PRINCIPAL)]
        for client in clients:
            client.sendall(target.get("big"))
        time.sleep(1)
        with target.connect() as late:
            late.sendall(target.get())
            said = late.recv(65536)
            assert b"\r\nretry-after: 1\r\n" in said
            assert said.startswith(b"HTTP/1.1 503 ")
        assert target.resident_mib() - resident < 16 * PER_PRINCIPAL
        back_to(target, before + 1)  # the analyst's
        for client in clients:
            with suppress(ConnectionError):
                taken = 0
                while piece := client.recv(1 << 20):
                    taken += len(piece)
                assert taken < BIG
    reader.check(5)
    with target.connect() as client:
        client.sendall(target.get())
        assert answer(client)[0] == 200


def test_readers_that_take_a_little_are_served_to_the_end(target: Target) -> None:
    """Above the minimum rate nobody is cut off: 300 KiB a second, for longer than the bound on standing still."""
    with target.connect(receive_buffer=65536) as client, well_behaved(target) as reader:
        client.sendall(target.get("big"))
        taken, began = 0, time.monotonic()
        while time.monotonic() - began < (10 if LONG else 1.7) * STALL_SECONDS:
            taken += len(client.recv(30_000))
            time.sleep(0.1)
        while taken < BIG:
            piece = client.recv(1 << 20)
            assert piece, f"cut after {taken}"
            taken += len(piece)
    reader.check()


def test_answers_that_nobody_takes_do_not_wait_for_ever(target: Target) -> None:
    """Small ones, over the loop: sent until the client's window is full, then the connection ends."""
    before = target.descriptors()
    with target.connect(receive_buffer=4096) as client, well_behaved(target) as reader:
        client.settimeout(0.5)
        with suppress(OSError):
            for _ in range(400):
                client.sendall(target.get())
        back_to(target, before + 1)
    reader.check()


def test_a_thousand_reads_that_break_off_leave_nothing(target: Target) -> None:
    """In `make hostile`; eighty of them otherwise."""
    count = 1000 if LONG else 80
    before, resident = target.descriptors(), target.resident_mib()
    with well_behaved(target) as reader:
        for turn in range(count):
            with target.connect() as client:
                client.sendall(target.get("big"))
                assert statuses(client.recv(100 + turn * 997 % 300_000)[:20]) == [200]
    reader.check()
    back_to(target, before)
    assert target.resident_mib() - resident < 80
    with target.connect() as client:
        client.sendall(target.get("big"))
        assert len(answer(client)[1]) == BIG


def test_lists_that_break_off_leave_nothing(target: Target) -> None:
    before = target.descriptors()
    for _ in range(50):
        with target.connect() as client:
            client.sendall(target.signed("GET", f"/{BUCKET}?list-type=2"))
    back_to(target, before)
