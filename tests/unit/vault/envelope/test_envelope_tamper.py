"""The tamper matrix: every way of changing a stored body, under whole reads and under each kind of range.

Run per range and not only whole: a format can refuse the whole body and still open an early range of it.
"""

import os
from collections import deque
from collections.abc import Callable

import pytest

from vault.envelope.body import BodyOpener, BodyPin, BodySealer
from vault.envelope.suite import CHUNK, HEADER, SALT, SEALED_CHUNK, TAG
from vault.errors import Malformed

KEY, CONTEXT = bytes(range(32)), b"context"
PLAIN = os.urandom(3 * CHUNK + 700)


def sealed(plain: bytes = PLAIN, salt: bytes = bytes(SALT), context: bytes = CONTEXT) -> bytes:
    sealer = BodySealer(KEY, context, lambda length: salt[:length])
    return b"".join((sealer.header, sealer.update(plain), sealer.finalize()))


BODY = sealed()
OLDER = sealed(os.urandom(len(PLAIN)), b"o" * SALT)
OTHER = sealed(os.urandom(len(PLAIN)), context=b"other")


def chunk(body: bytes, number: int) -> bytes:
    return body[HEADER + number * SEALED_CHUNK : HEADER + (number + 1) * SEALED_CHUNK]


def joined(*chunks: bytes, head: bytes = BODY[:HEADER]) -> bytes:
    return head + b"".join(chunks)


def flipped(at: int) -> bytes:
    return BODY[:at] + bytes([BODY[at] ^ 0x80]) + BODY[at + 1 :]


A, B, C, D = (chunk(BODY, number) for number in range(4))

# What was done, and which chunks are no longer what they were: None where no read at all may succeed.
TAMPERED: dict[str, tuple[bytes, set[int] | None]] = {
    "flip salt": (flipped(0), None),
    "flip commitment": (flipped(SALT), None),
    "flip chunk 0": (flipped(HEADER), {0}),
    "flip chunk 0 tag": (flipped(HEADER + CHUNK + TAG - 1), {0}),
    "flip chunk 1": (flipped(HEADER + SEALED_CHUNK + 77), {1}),
    "flip chunk 2 tag": (flipped(HEADER + 3 * SEALED_CHUNK - 1), {2}),
    "flip last chunk": (flipped(len(BODY) - TAG - 1), {3}),
    "flip last tag": (flipped(len(BODY) - 1), {3}),
    "swap 0 and 1": (joined(B, A, C, D), {0, 1}),
    "rotate": (joined(B, C, A, D), {0, 1, 2}),
    "repeat 0": (joined(A, A, C, D), {1}),
    "older write in 1": (joined(A, chunk(OLDER, 1), C, D), {1}),
    "older write at end": (joined(A, B, C, chunk(OLDER, 3)), {3}),
    "other object in 2": (joined(A, B, chunk(OTHER, 2), D), {2}),
    "zeroed 1": (joined(A, bytes(SEALED_CHUNK), C, D), {1}),
    "header of older": (OLDER[:HEADER] + BODY[HEADER:], {0, 1, 2, 3}),
    "header of other": (OTHER[:HEADER] + BODY[HEADER:], None),
    "drop 0": (joined(B, C, D), None),
    "drop 1": (joined(A, C, D), None),
    "drop last": (joined(A, B, C), None),
    "cut to two": (joined(A, B), None),
    "cut last by one": (BODY[:-1], None),
    "cut last to a tag": (BODY[: HEADER + 3 * SEALED_CHUNK + TAG], None),
    "cut in a tag": (BODY[: HEADER + 3 * SEALED_CHUNK + 3], None),
    "cut in chunk 1": (BODY[: HEADER + SEALED_CHUNK + 500], None),
    "cut to header": (BODY[:HEADER], None),
    "cut in header": (BODY[: HEADER - 1], None),
    "nothing": (b"", None),
    "add a byte": (BODY + b"\0", None),
    "add a chunk": (BODY + D, None),
    "add a full chunk": (joined(A, B, C, A, D), None),
}

RANGES = {
    "whole": (0, len(PLAIN)),
    "first bytes": (0, 10),
    "inside chunk 1": (CHUNK + 5, CHUNK + 50),
    "over 0 and 1": (CHUNK - 1, CHUNK + 1),
    "1 and 2 whole": (CHUNK, 3 * CHUNK),
    "last bytes": (len(PLAIN) - 10, len(PLAIN)),
    "all but first": (1, len(PLAIN)),
}

PIN = BodyPin(len(BODY), BODY[SALT:HEADER])


def read(body: bytes, start: int, stop: int, pin: BodyPin | None) -> bytes:
    opener = BodyOpener(KEY, CONTEXT, body[:HEADER], len(body), pin)
    stop = min(stop, opener.plain_length)
    start = min(start, stop)
    return b"".join(opener.stream(start, stop, lambda offset, length: body[offset : offset + length]))


@pytest.mark.parametrize("pin", [PIN, None], ids=["pinned", "unpinned"])
@pytest.mark.parametrize("span", RANGES.values(), ids=RANGES)
@pytest.mark.parametrize("name", TAMPERED)
def test_changed_body_never_yields_a_changed_or_shortened_answer(
    name: str, span: tuple[int, int], pin: BodyPin | None
) -> None:
    body, changed = TAMPERED[name]
    start, stop = span
    touched = set(range(start // CHUNK, (stop - 1) // CHUNK + 1))
    if changed is None or (pin and name == "header of older"):  # under a pin, another write is refused whole
        changed = {0, 1, 2, 3}
    if (touched if pin else touched | {3}) & changed:
        with pytest.raises(Malformed) as refused:
            read(body, start, stop, pin)
        assert refused.value.reason in {"tag", "truncated", "length", "commitment"}
    else:
        assert read(body, start, stop, pin) == PLAIN[start:stop]


def test_the_untouched_body_reads_in_every_range() -> None:
    for start, stop in RANGES.values():
        assert read(BODY, start, stop, PIN) == read(BODY, start, stop, None) == PLAIN[start:stop]


@pytest.mark.parametrize("bit", range(0, 8 * HEADER, 3))
def test_any_bit_of_the_header_is_refused_before_a_chunk_is_asked_for(bit: int) -> None:
    header = bytearray(BODY[:HEADER])
    header[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Malformed, match="commitment"):
        BodyOpener(KEY, CONTEXT, header, len(BODY))


def test_every_length_but_the_true_one_is_refused_by_the_pin() -> None:
    for length in (0, 1, HEADER, len(BODY) - SEALED_CHUNK, len(BODY) - 1, len(BODY) + 1, len(BODY) + SEALED_CHUNK):
        with pytest.raises(Malformed) as refused:
            BodyOpener(KEY, CONTEXT, BODY[:HEADER], length, PIN)
        assert refused.value.reason == ("truncated" if length < len(BODY) else "length")


def test_another_genuine_write_of_the_same_body_is_not_the_pinned_one() -> None:
    assert len(OLDER) == len(BODY)
    assert BodyOpener(KEY, CONTEXT, OLDER[:HEADER], len(OLDER)).plain_length == len(PLAIN)
    with pytest.raises(Malformed, match="commitment"):
        BodyOpener(KEY, CONTEXT, OLDER[:HEADER], len(OLDER), PIN)


def test_only_the_verified_slabs_before_the_failure_are_released() -> None:
    body = flipped(HEADER + 2 * SEALED_CHUNK)
    opener = BodyOpener(KEY, CONTEXT, body[:HEADER], len(body), PIN)
    released = bytearray()
    pieces = opener.stream(0, len(PLAIN), lambda at, length: body[at : at + length], slab=CHUNK)
    with pytest.raises(Malformed, match="tag"):
        deque(map(released.extend, pieces))
    assert released == PLAIN[: 2 * CHUNK]


def test_a_failed_slab_leaves_no_plaintext_in_the_buffer() -> None:
    body = flipped(len(BODY) - 1)
    opener = BodyOpener(KEY, CONTEXT, body[:HEADER], len(body), PIN)
    out = bytearray(4 * CHUNK)
    with pytest.raises(Malformed, match="tag"):
        opener.open_into(0, memoryview(body)[HEADER:], out)
    assert not any(out)


FAILURES: dict[str, tuple[Callable[[int, int], bytes], str]] = {
    "tag": (lambda at, length: bytes(length), "tag"),
    "short read": (lambda at, length: BODY[at : at + length - 1], "truncated"),
    "long read": (lambda at, length: BODY[at : at + length] + b"\0", "truncated"),
    "empty read": (lambda at, length: b"", "truncated"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_the_first_failure_is_the_last_word(name: str) -> None:
    bad, reason = FAILURES[name]
    opener = BodyOpener(KEY, CONTEXT, BODY[:HEADER], len(BODY), PIN)
    for read_at in (bad, lambda at, length: BODY[at : at + length]):
        with pytest.raises(Malformed) as refused:
            list(opener.stream(0, 10, read_at))
        assert refused.value.reason == reason
    with pytest.raises(Malformed, match=reason):
        opener.open_span(0, 10, BODY[HEADER : HEADER + SEALED_CHUNK])
    with pytest.raises(Malformed, match=reason):
        opener.check_end(D)
