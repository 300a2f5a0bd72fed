"""Ten thousand connections that say nothing: the worker keeps what it may, and a client that works is served."""

import socket
from contextlib import ExitStack, suppress

from tests.e2e.world import until
from tests.fault.hostile.wire import Target, answer, more_descriptors, well_behaved

WANTED = 10_000


def test_ten_thousand_idle_connections(target: Target) -> None:
    """As many as this process's descriptors allow, if that is fewer. Beyond the bound the longest idle one ends."""
    count = min(WANTED, more_descriptors(WANTED + 500) - 300)
    before, resident = target.descriptors(), target.resident_mib()
    with ExitStack() as stack:
        with well_behaved(target) as reader:
            for _ in range(count):
                stack.enter_context(target.connect())
            held = target.descriptors() - before
        reader.check(5)
        grown = target.resident_mib() - resident
        print(f"{count} connections, {held} held by the worker, {grown:.0f} MiB more")
        assert grown < 250
    until(target.descriptors, 30, "descriptors stay open", lambda now: now <= before + 10)


def test_known_clients_are_the_last_to_make_room(target: Target) -> None:
    """A client that has signed a request keeps its idle connection while strangers come and go."""
    with target.connect() as known, ExitStack() as stack:
        known.sendall(target.get())
        assert answer(known)[0] == 200
        for _ in range(200):
            stack.enter_context(target.connect())
        known.sendall(target.get())
        assert answer(known)[0] == 200


def test_connections_that_are_opened_and_reset_leave_nothing(target: Target) -> None:
    before = target.descriptors()
    with well_behaved(target) as reader:
        for _ in range(2000):
            client = socket.create_connection(target.address)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            with suppress(OSError):
                client.close()
    reader.check()
    until(target.descriptors, 15, "descriptors stay open", lambda now: now <= before + 4)
