"""Properties of sealed bodies: any size, any way of arriving, any range, any single change."""

import itertools

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from hypothesis import given
from hypothesis import strategies as st

from vault.envelope.body import BodyOpener, BodyPin, BodySealer
from vault.envelope.context import BodyContext
from vault.envelope.suite import CHUNK, HEADER, SALT, TAG, plain_length, sealed_length
from vault.errors import Malformed

KEY = bytes(range(32))
IDS = st.text("0123456789abcdef", min_size=32, max_size=32)
NAMES = st.text(min_size=1, max_size=20).filter(lambda name: name.isprintable())
CONTEXTS = st.builds(BodyContext, NAMES, NAMES, IDS, IDS, st.integers(0, 10_000))
# Sizes crowd the chunk edges, where mistakes are.
SIZES = st.builds(lambda chunks, off: max(0, chunks * CHUNK + off), st.integers(0, 5), st.integers(-TAG - 2, TAG + 2))


def plaintext(size: int) -> bytes:
    """Every chunk another content, so that a chunk in the wrong place shows."""
    return b"".join(k.to_bytes(4, "big") * (CHUNK // 4) for k in range(size // CHUNK + 1))[:size]


def seal(plain: bytes, context: bytes, cuts: list[int]) -> bytes:
    sealer = BodySealer(KEY, context)
    places = [0, *sorted(cut % (len(plain) + 1) for cut in cuts), len(plain)]
    pieces = [bytes(sealer.update(plain[a:b])) for a, b in itertools.pairwise(places)]
    return b"".join((sealer.header, *pieces, sealer.finalize()))


def opener_of(body: bytes, context: bytes, pinned: bool) -> BodyOpener:
    pin = BodyPin(len(body), body[SALT:HEADER]) if pinned else None
    return BodyOpener(KEY, context, body[:HEADER], len(body), pin)


@given(SIZES, st.lists(st.integers(0, 1 << 20), max_size=6), CONTEXTS)
def test_what_is_sealed_in_any_pieces_opens_in_the_independent_reader(
    size: int, cuts: list[int], place: BodyContext
) -> None:
    plain, context = plaintext(size), place.encode()
    body = seal(plain, context, cuts)
    assert len(body) == sealed_length(size)
    assert plain_length(len(body)) == size
    decryptor = Cobblestone256Decryptor(KEY, context)
    assert decryptor.update(body) + decryptor.finalize() == plain


@given(SIZES, st.data(), st.booleans())
def test_every_range_of_an_independently_sealed_body_is_that_range(
    size: int, data: st.DataObject, pinned: bool
) -> None:
    plain = plaintext(size)
    encryptor = Cobblestone256Encryptor(KEY, b"context")
    body = encryptor.update(plain) + encryptor.finalize()
    opener = opener_of(body, b"context", pinned)
    for _ in range(4):
        start = data.draw(st.integers(0, size))
        stop = data.draw(st.integers(start, size))
        slab = data.draw(st.sampled_from([1, CHUNK, 2 * CHUNK, 1 << 20]))
        read = b"".join(opener.stream(start, stop, lambda at, length: body[at : at + length], slab))
        assert read == plain[start:stop]
        offset, length = opener.sealed_span(start, stop)
        assert offset + length <= len(body)
        assert opener.open_span(start, stop, body[offset : offset + length]) == plain[start:stop]


@given(SIZES, st.data(), st.booleans())
def test_one_changed_bit_is_refused_or_outside_the_range(size: int, data: st.DataObject, pinned: bool) -> None:
    plain = plaintext(size)
    body = bytearray(seal(plain, b"context", []))
    at = data.draw(st.integers(0, len(body) - 1))
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    pin = BodyPin(len(body), bytes(body[SALT:HEADER])) if pinned else None
    body[at] ^= 1 << data.draw(st.integers(0, 7))
    changed = bytes(body)
    try:
        opener = BodyOpener(KEY, b"context", changed[:HEADER], len(changed), pin)
        read = b"".join(opener.stream(start, stop, lambda offset, length: changed[offset : offset + length]))
    except Malformed as refused:
        reason = refused.reason
    else:
        reason, (offset, length) = "ok", opener.sealed_span(start, stop)
        assert read == plain[start:stop]
        assert not offset <= at < offset + length
    assert reason in ({"commitment"} if at < HEADER else {"tag", "ok"})


def read_some(body: bytes, pin: BodyPin | None, data: st.DataObject) -> bytes:
    """A range from the start of what the body claims to be, as a reader without any other knowledge reads it."""
    opener = BodyOpener(KEY, b"context", body[:HEADER], len(body), pin)
    stop = data.draw(st.integers(0, opener.plain_length))
    return b"".join(opener.stream(0, stop, lambda at, length: body[at : at + length]))


@given(SIZES, st.data())
def test_any_cut_is_refused_in_every_range_with_or_without_pin(size: int, data: st.DataObject) -> None:
    body = seal(plaintext(size), b"context", [])
    cut = body[: data.draw(st.integers(0, len(body) - 1))]
    for pin in (None, BodyPin(len(body), body[SALT:HEADER])):
        with pytest.raises(Malformed):
            read_some(cut, pin, data)


# Few letters, so that fields often differ only in where one ends and the next begins.
NEAR = st.text("ab", min_size=1, max_size=3)
NEAR_IDS = st.sampled_from(["a" * 32, "b" * 32])
NEAR_CONTEXTS = st.builds(BodyContext, NEAR, NEAR, NEAR_IDS, NEAR_IDS, st.integers(0, 1))


@given(NEAR_CONTEXTS, NEAR_CONTEXTS)
def test_two_places_never_share_a_context(one: BodyContext, two: BodyContext) -> None:
    assert (one.encode() == two.encode()) == (one == two)
