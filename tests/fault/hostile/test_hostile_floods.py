"""More headers, ranges, requests and bytes than anybody needs: refused, cut off, and nobody else waits for it."""

import base64
import socket
import threading
import time
import zlib
from contextlib import ExitStack, suppress

from tests.fault.hostile.wire import BUCKET, LONG, SMALL, Target, answer, statuses, told, well_behaved

MIB = 1 << 20
TRAILER = "x-amz-checksum-crc32"
END = b"0\r\nx-amz-checksum-crc32:%s\r\n\r\n" % base64.b64encode(zlib.crc32(b"z" * 400_000).to_bytes(4, "big"))


def refused(target: Target, extra: bytes) -> bytes:
    with target.connect() as client:
        with suppress(ConnectionError):
            client.sendall(target.get(extra=extra))
        client.shutdown(socket.SHUT_WR)
        said = told(client, 10)
    assert statuses(said) == [400], said[:200]
    return said


def test_a_hundred_and_one_headers_are_refused_by_name(target: Target) -> None:
    assert b"more than 100 headers" in refused(target, b"".join(b"x-%d: y\r\n" % n for n in range(101)))


def test_ten_thousand_headers_end_the_connection(target: Target) -> None:
    """Not counted when all of them are here, as a hundred and one are, but while they come."""
    assert b"Invalid HTTP request" in refused(target, b"".join(b"x-%d: y\r\n" % n for n in range(10_000)))


def test_one_giant_header_is_refused_by_name(target: Target) -> None:
    assert b"longer than 8192" in refused(target, b"x-a: " + b"y" * 9000 + b"\r\n")


def test_ten_thousand_ranges_in_one_header_are_refused(target: Target) -> None:
    ranges = b",".join(b"%d-%d" % (n, n) for n in range(10_000))
    assert b"longer than 8192" in refused(target, b"Range: bytes=" + ranges + b"\r\n")


def test_a_thousand_ranges_are_one_whole_object(target: Target) -> None:
    ranges = b",".join(b"0-1" for _ in range(1000))
    with target.connect() as client:
        client.sendall(target.get(extra=b"Range: bytes=" + ranges + b"\r\n"))
        status, body = answer(client)
    assert (status, len(body)) == (200, SMALL)


def test_a_head_of_many_mib_is_cut_off(target: Target) -> None:
    with target.connect() as client:
        sent = 0
        with suppress(OSError):
            client.sendall(target.get()[:-2] + b"x-a: ")
            while sent < 64 * MIB:
                client.sendall(b"y" * 65536)
                sent += 65536
        assert sent < 32 * MIB


def test_a_head_that_comes_byte_by_byte_is_read(target: Target) -> None:
    with target.connect() as client:
        for byte in target.get():
            client.send(bytes((byte,)))
        assert answer(client)[0] == 200


def test_half_heads_of_everybody_together_are_bounded(target: Target) -> None:
    """Each below its own bound, all of them 190 MiB: the worker keeps 64 and tells the others to come back."""
    before, told_busy = target.resident_mib(), 0
    with well_behaved(target) as reader, ExitStack() as stack:
        clients = [stack.enter_context(target.connect()) for _ in range(200)]
        head = b"GET / HTTP/1.1\r\nhost: here\r\nx-a: " + b"y" * 1_000_000
        for client in clients:
            with suppress(OSError):
                client.sendall(head)
        time.sleep(0.5)
        grown = target.resident_mib() - before
        for client in clients:
            client.settimeout(0.01)
            with suppress(OSError):
                said = client.recv(65536)
                told_busy += said.startswith(b"HTTP/1.1 503 ") and b"retry-after: 1" in said
    reader.check()
    assert grown < 160, f"{grown:.0f} MiB more for 190 MiB of half heads"
    assert told_busy > 50


def test_slow_heads_do_not_keep_others_waiting(target: Target) -> None:
    """300 heads that get a byte now and then (the clock of 20 s is for `make hostile`)."""
    with well_behaved(target) as reader, ExitStack() as stack:
        clients = [stack.enter_context(target.connect()) for _ in range(300)]
        began = time.monotonic()
        while time.monotonic() - began < (25 if LONG else 2):
            for client in clients:
                with suppress(OSError):
                    client.send(b"G" if time.monotonic() - began < 0.2 else b"x")
            time.sleep(0.5)
        if LONG:
            for client in clients:
                client.settimeout(5)
                with suppress(ConnectionError):
                    while client.recv(1000):
                        pass
    reader.check()


def test_requests_that_are_sent_ahead_are_bounded(target: Target) -> None:
    """5000 in one go: the connection ends after those that were under way, and no memory is kept for the rest."""
    before = target.resident_mib()
    with well_behaved(target) as reader:
        for _ in range(5):
            with target.connect() as client:
                with suppress(OSError):
                    client.sendall(b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n" * 5000)
                assert len(statuses(told(client, 10))) <= 20
    reader.check()
    assert target.resident_mib() - before < 60


def test_a_flood_of_range_requests_shares_the_worker(target: Target) -> None:
    """Eight connections of one principal ask for a few bytes as fast as they can; another principal is served."""
    over, answered = threading.Event(), [0] * 8

    def flood(place: int) -> None:
        with target.connect() as client:
            while not over.is_set():
                client.sendall(target.get("big", extra=b"Range: bytes=%d-%d\r\n" % (place, place + 99)))
                status, _ = answer(client)
                assert status in {206, 503}
                answered[place] += status == 206

    threads = [threading.Thread(target=flood, args=(place,)) for place in range(8)]
    with well_behaved(target) as reader:
        for thread in threads:
            thread.start()
        time.sleep(60 if LONG else 3)
        over.set()
        for thread in threads:
            thread.join(30)
    reader.check()
    assert all(answered)


def test_small_chunks_of_a_body_cost_no_more_than_large_ones(target: Target) -> None:
    """In HTTP chunks of one byte, whole and signed: stored, and the worker is no larger for it."""
    body, before = b"z" * (MIB // 4), target.resident_mib()
    head = target.signed("PUT", f"/{BUCKET}/crumbs", body=body, extra=b"Transfer-Encoding: chunked\r\n")
    with well_behaved(target) as reader, target.connect() as client:
        client.sendall(head + b"1\r\nz\r\n" * len(body) + b"0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    reader.check()
    assert target.resident_mib() - before < 40


def test_small_chunks_of_an_aws_chunked_body_cost_no_more_than_large_ones(target: Target) -> None:
    """The same inside the body: kept one by one they would take two hundred times their size."""
    count, before, peak = 400_000, target.resident_mib(), 0.0
    head = target.signed(
        "PUT", f"/{BUCKET}/more-crumbs", {"x-amz-decoded-content-length": str(count), "x-amz-trailer": TRAILER},
        extra=b"Content-Length: %d\r\n" % (6 * count + len(END)), trailing=True,
    )  # fmt: skip
    with target.connect() as client:
        client.sendall(head)
        client.sendall(b"1\r\nz\r\n" * count + END)
        client.settimeout(0.02)
        for _ in range(1500):
            peak = max(peak, target.resident_mib())
            with suppress(TimeoutError):
                assert statuses(client.recv(1000)) == [200]
                break
    assert peak - before < 40, f"{peak - before:.0f} MiB more"
