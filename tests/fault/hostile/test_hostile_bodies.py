"""Bodies that come slowly, not at all, or not to their end: bounded, answered honestly, and nothing is left behind."""

import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.e2e.world import until
from tests.fault.hostile.conftest import PER_PRINCIPAL
from tests.fault.hostile.wire import BUCKET, LONG, Target, answer, statuses, told, well_behaved

MIB = 1 << 20
LENGTH = b"Content-Length: 1048576\r\n"
BODY = b"b" * MIB


def half_written(target: Target) -> set[Path]:
    """Files of the store that no commit named yet."""
    return set((target.world.zone_dir() / "store").rglob("*tmp*"))


def back_to(target: Target, descriptors: int) -> None:
    until(target.descriptors, 15, "descriptors stay open", lambda now: now <= descriptors + 12)


def put(target: Target, key: str) -> bytes:
    return target.signed("PUT", f"/{BUCKET}/{key}", body=BODY, extra=LENGTH)


def test_slow_writers_hold_their_own_share_and_no_other(target: Target) -> None:
    """As many uploads as one principal may have, a byte a second each. The next one hears 503 with Retry-After, the
    analyst reads on; in `make hostile` they stay, and within a quarter of a minute each is refused: below the minimum
    rate."""
    before = target.descriptors()
    with well_behaved(target) as reader, ExitStack() as stack:
        clients = [stack.enter_context(target.connect()) for _ in range(PER_PRINCIPAL)]
        for number, client in enumerate(clients):
            client.sendall(put(target, f"slow-{number}"))
        time.sleep(0.5)
        with target.connect() as late:
            late.sendall(target.get())
            head = b""
            while b"</Error>" not in head:
                head += late.recv(65536) or b"</Error>"
        assert head.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: 1\r\n" in head
        assert b"limit.under-way" in head
        ended: set[int] = set()
        began = time.monotonic()
        while LONG and len(ended) < PER_PRINCIPAL and time.monotonic() - began < 25:
            for number, client in enumerate(clients):
                if number in ended:
                    continue
                client.settimeout(0.001)
                try:
                    client.send(b"b")
                    if statuses(client.recv(1000)) == [400]:
                        ended.add(number)
                except TimeoutError:
                    continue
                except OSError:
                    ended.add(number)
            time.sleep(1)
        assert len(ended) == (PER_PRINCIPAL if LONG else 0)
    reader.check()
    back_to(target, before)
    assert not half_written(target)
    assert not target.exists("slow-")
    with target.connect() as client:  # its share is its own again
        client.sendall(target.get())
        assert answer(client)[0] == 200


STAGES: dict[str, Callable[[Target], bytes]] = {
    "connected": lambda target: b"",
    "half-a-head": lambda target: put(target, "early")[:200],
    "a-head": lambda target: put(target, "early"),
    "half-a-body": lambda target: put(target, "early") + BODY[: MIB // 2],
    "all-but-a-byte": lambda target: put(target, "early") + BODY[:-1],
    "half-a-chunk": lambda target: target.signed(
        "PUT", f"/{BUCKET}/early", body=BODY, extra=b"Transfer-Encoding: chunked\r\n"
    ) + b"100000\r\n" + BODY[:5000],
    "expecting": lambda target: target.signed(
        "PUT", f"/{BUCKET}/early", body=BODY, extra=LENGTH + b"Expect: 100-continue\r\n"
    ),
    "asked-and-gone": lambda target: target.get("big"),
    "asked-much-and-gone": lambda target: target.get("big") * 10,
}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_who_leaves_early_leaves_nothing(target: Target, stage: str) -> None:
    before, files, resident = target.descriptors(), half_written(target), target.resident_mib()
    with well_behaved(target) as reader:
        for turn in range(100 if LONG else 12):
            with target.connect() as client:
                if turn % 2:  # a reset, not a polite end
                    client.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of no time
                with suppress(ConnectionError):
                    client.sendall(STAGES[stage](target))
    reader.check()
    back_to(target, before)
    until(lambda: half_written(target) - files, 10, "half-written files stay", lambda left: not left)
    assert not target.exists("early")
    assert target.resident_mib() - resident < 80


def test_parts_that_are_never_finished_leave_an_upload_and_no_file(target: Target) -> None:
    """Thirty parts break off, one is whole. The upload stays open with that one until the sweeper takes it after its
    days (tests/unit/gateway/test_writes_multipart.py); descriptors and half-written files are gone at once."""
    s3 = target.world.s3()
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    before = target.descriptors()
    with well_behaved(target) as reader:
        for number in range(1, 31):
            path = f"/{BUCKET}/parts?partNumber={number}&uploadId={upload}"
            with target.connect() as client:
                client.sendall(target.signed("PUT", path, body=BODY, extra=LENGTH) + BODY[: MIB // 2])
        s3.upload_part(Bucket=BUCKET, Key="parts", PartNumber=31, UploadId=upload, Body=b"whole")
    reader.check()
    back_to(target, before)
    until(lambda: half_written(target), 10, "half-written parts stay", lambda left: not left)
    parts = s3.list_parts(Bucket=BUCKET, Key="parts", UploadId=upload).get("Parts", [])
    assert [part["PartNumber"] for part in parts] == [31]
    s3.abort_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload)


def test_uploads_that_are_never_finished_hold_no_descriptor(target: Target) -> None:
    s3, before, resident = target.world.s3(), target.descriptors(), target.resident_mib()
    made = [
        s3.create_multipart_upload(Bucket=BUCKET, Key=f"open-{n}")["UploadId"] for n in range(1000 if LONG else 60)
    ]
    assert target.descriptors() <= before + 4
    assert target.resident_mib() - resident < 40
    for number, upload in enumerate(made):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=f"open-{number}", UploadId=upload)


def test_a_body_that_nobody_signed_is_not_taken(target: Target) -> None:
    """A stranger announces 5 GiB: refused at its head, and at most a MiB is read so that he hears it."""
    with target.connect() as client:
        sent = 0
        client.sendall(b"PUT /hostile/stranger HTTP/1.1\r\nhost: h\r\ncontent-length: 5368709120\r\n\r\n")
        with suppress(OSError):
            while sent < 64 * MIB:
                client.sendall(BODY)
                sent += MIB
        assert sent < 32 * MIB  # what the kernel buffers on both sides is not ours
        with suppress(OSError):
            assert statuses(told(client, 10)) in ([403], [])
