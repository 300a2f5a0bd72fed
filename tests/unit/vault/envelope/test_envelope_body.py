"""Sealing and opening: agreement with the independent implementation, the arithmetic, what is refused."""

import itertools
import os

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor

from vault.envelope.body import SLAB, BodyOpener, BodyPin, BodySealer
from vault.envelope.slabs import Slabs
from vault.envelope.suite import CHUNK, HEADER, MAX_CHUNKS, MAX_PLAIN, SALT, SEALED_CHUNK, plain_length, sealed_length
from vault.errors import Broken, Malformed

KEY, CONTEXT = bytes(range(32)), b"context"
EDGES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, SLAB - 1, SLAB, SLAB + 1, SLAB + CHUNK + 5]


def sealed(plain: bytes, step: int | None = None) -> bytes:
    sealer = BodySealer(KEY, CONTEXT)
    step = step or max(1, len(plain))
    chunks = [bytes(sealer.update(plain[at : at + step])) for at in range(0, len(plain), step)]
    return b"".join((sealer.header, *chunks, sealer.finalize()))


def opener_of(body: bytes) -> BodyOpener:
    return BodyOpener(KEY, CONTEXT, body[:HEADER], len(body), BodyPin(len(body), body[SALT:HEADER]))


@pytest.mark.parametrize("size", EDGES)
def test_the_independent_reader_opens_what_we_seal(size: int) -> None:
    plain = os.urandom(size)
    body = sealed(plain)
    assert len(body) == sealed_length(size)
    decryptor = Cobblestone256Decryptor(KEY, CONTEXT)
    assert decryptor.update(body) + decryptor.finalize() == plain


@pytest.mark.parametrize("size", EDGES)
def test_we_open_what_the_independent_writer_seals(size: int) -> None:
    plain = os.urandom(size)
    encryptor = Cobblestone256Encryptor(KEY, CONTEXT)
    body = encryptor.update(plain) + encryptor.finalize()
    for pin in (None, BodyPin(len(body), body[SALT:HEADER])):
        opener = BodyOpener(KEY, CONTEXT, body[:HEADER], len(body), pin)
        assert opener.plain_length == size
        assert b"".join(opener.stream(0, size, lambda at, length: body[at : at + length])) == plain


@pytest.mark.parametrize("step", [1000, CHUNK - 1, CHUNK, CHUNK + 1, 100_000, SLAB, SLAB + 1])
def test_how_the_plaintext_arrives_does_not_matter(step: int) -> None:
    plain = os.urandom(2 * SLAB + 12345)
    body = sealed(plain, step)
    assert b"".join(opener_of(body).stream(0, len(plain), lambda at, length: body[at : at + length])) == plain


def test_sealed_pieces_stay_what_they_were_while_they_are_held() -> None:
    plain = os.urandom(8 * SLAB)
    sealer = BodySealer(KEY, CONTEXT, bytes)
    held = [sealer.update(memoryview(plain)[at : at + SLAB]) for at in range(0, len(plain), SLAB)]
    body = b"".join((sealer.header, *held, sealer.finalize()))
    decryptor = Cobblestone256Decryptor(KEY, CONTEXT)
    assert decryptor.update(body) + decryptor.finalize() == plain


def test_opened_pieces_stay_what_they_were_while_they_are_held() -> None:
    plain = os.urandom(8 * SLAB + 5)
    body = sealed(plain)
    held = list(opener_of(body).stream(0, len(plain), lambda at, length: body[at : at + length]))
    assert len(held) == 9
    assert b"".join(held) == plain


def test_released_buffers_are_used_again() -> None:
    slabs = Slabs(10)
    first = memoryview(slabs.take())
    second = memoryview(slabs.take())
    assert first.obj is not second.obj
    buffer = first.obj
    first.release()
    assert slabs.take() is buffer


def test_a_sealer_never_goes_on_after_the_end() -> None:
    sealer = BodySealer(KEY, CONTEXT)
    sealer.finalize()
    with pytest.raises(Broken, match="finished"):
        sealer.update(b"more")
    with pytest.raises(Broken, match="finished"):
        sealer.finalize()


def test_no_two_attempts_share_a_salt() -> None:
    headers = {BodySealer(KEY, CONTEXT).header for _ in range(1000)}
    assert len({header[:SALT] for header in headers}) == 1000


def test_a_sealer_stops_before_the_counter_would_wear_out() -> None:
    sealer = BodySealer(KEY, CONTEXT)
    sealer._chunk = MAX_CHUNKS - 1
    with pytest.raises(Malformed, match="length"):
        sealer.update(bytes(CHUNK))
    assert sealer.update(bytes(CHUNK - 1)) == b""


def test_lengths_there_and_back() -> None:
    for size in (*EDGES, 10**12, MAX_PLAIN):
        assert plain_length(sealed_length(size)) == size
    for size in (-1, MAX_PLAIN + 1):
        with pytest.raises(Malformed, match="length"):
            sealed_length(size)


def test_each_stored_length_means_one_length_or_none() -> None:
    possible = {sealed_length(plain): plain for plain in range(2 * CHUNK + 20)}
    assert len(possible) == 2 * CHUNK + 20
    for stored in range(max(possible) + 1):
        if stored in possible:
            assert plain_length(stored) == possible[stored]
            continue
        with pytest.raises(Malformed) as refused:
            plain_length(stored)
        on_edge = stored >= HEADER and (stored - HEADER) % SEALED_CHUNK == 0
        assert refused.value.reason == ("truncated" if on_edge else "length")
    with pytest.raises(Malformed, match="length"):
        plain_length(sealed_length(MAX_PLAIN) + SEALED_CHUNK)


def test_without_pin_or_end_no_early_span_opens() -> None:
    plain = os.urandom(2 * CHUNK + 5)
    body = sealed(plain)
    opener = BodyOpener(KEY, CONTEXT, body[:HEADER], len(body))
    offset, length = opener.sealed_span(0, 10)
    with pytest.raises(Broken, match=r"end\.unchecked"):
        opener.open_span(0, 10, body[offset : offset + length])
    start, count = opener.end_span
    opener.check_end(body[start : start + count])
    assert opener.open_span(0, 10, body[offset : offset + length]) == plain[:10]


def test_spans_outside_the_plaintext_are_our_own_mistake() -> None:
    body = sealed(b"12345")
    for start, stop in ((-1, 2), (3, 2), (0, 6), (6, 6)):
        with pytest.raises(Broken, match="span"):
            opener_of(body).sealed_span(start, stop)
        with pytest.raises(Broken, match="span"):
            list(opener_of(body).stream(start, stop, lambda at, length: body[at : at + length]))


def test_empty_spans_read_nothing() -> None:
    body = sealed(b"12345")
    opener = opener_of(body)
    assert list(opener.stream(2, 2, lambda at, length: pytest.fail("read"))) == []
    assert opener.open_span(5, 5, b"") == b""


def test_a_stream_asks_for_no_more_than_it_needs() -> None:
    plain = os.urandom(5 * CHUNK)
    body = sealed(plain)
    asked: list[tuple[int, int]] = []

    def read_at(at: int, length: int) -> bytes:
        asked.append((at, length))
        return body[at : at + length]

    pieces = [bytes(piece) for piece in opener_of(body).stream(CHUNK + 1, 4 * CHUNK, read_at, slab=2 * CHUNK)]
    assert [len(piece) for piece in pieces] == [2 * CHUNK - 1, CHUNK]
    assert b"".join(pieces) == plain[CHUNK + 1 : 4 * CHUNK]
    assert asked == [(HEADER + SEALED_CHUNK, 2 * SEALED_CHUNK), (HEADER + 3 * SEALED_CHUNK, SEALED_CHUNK)]


def test_streams_of_one_opener_do_not_disturb_each_other() -> None:
    plain = os.urandom(4 * SLAB)
    body = sealed(plain)
    opener = opener_of(body)

    def pieces(slab: int) -> list[memoryview]:
        return list(opener.stream(0, len(plain), lambda at, length: body[at : at + length], slab))

    for one, two in itertools.pairwise((pieces(CHUNK), pieces(SLAB), pieces(3 * CHUNK))):
        assert b"".join(one) == b"".join(two) == plain


def test_keys_are_in_no_repr() -> None:
    body = sealed(b"12345")
    sealer = BodySealer(KEY, CONTEXT)
    for text in (repr(sealer), repr(opener_of(body)), str(sealer)):
        assert KEY.hex() not in text
        assert repr(KEY)[2:10] not in text


def test_another_key_length_is_our_own_mistake() -> None:
    for key in (b"", bytes(16), bytes(33)):
        with pytest.raises(Broken, match=r"key\.length"):
            BodySealer(key, CONTEXT)
