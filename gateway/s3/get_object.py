"""GetObject: the hot road. Verified pieces go straight to the server; after the first byte a failure cuts the line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from gateway.errors import BadRequest
from gateway.s3 import conditions, ranges
from gateway.s3.call import Call, ClientGone, Headers
from gateway.s3.object_headers import checksum_headers, override, read_headers, refuse_raw_link, required_view
from gateway.s3.ports import Buffer, OpenRead, Pourable

_POUR_FROM = 512 << 10  # bytes; for less, a hop to a sending thread costs more than it spares
_WATCH_FROM = 4 << 20  # bytes; a shorter answer is sent before its client could be noticed gone


async def get_object(call: Call) -> None:
    guard = call.face.guard
    view = required_view(call)
    async with guard.open_read(
        call.principal, call.object_ref, action="read", require_view=view, request_id=call.request_id
    ) as opened:
        refuse_raw_link(call, opened)
        headers = read_headers(opened)
        if conditions.check_read(call.head, opened) is conditions.Freshness.NOT_MODIFIED:
            await call.answer.reply(304, not_modified_headers(headers))
            return
        status, start, stop = select_span(call, opened, headers)
        await _answer(call, opened, status, override(headers, call), (start, stop))


def select_span(call: Call, opened: OpenRead, headers: Headers) -> tuple[int, int, int]:
    """Status, start and stop of the answer; appends the headers that describe them."""
    size = opened.size
    span = ranges.select(conditions.range_applies(call.head, opened), size)
    if span is None and call.parameter("partNumber") is not None:
        span = _part_span(call, opened)
    if span is None:
        headers += checksum_headers(call, opened)
        headers.append((b"content-length", b"%d" % size))
        return 200, 0, size
    start, stop = span
    headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)))
    headers.append((b"content-length", b"%d" % (stop - start)))
    return 206, start, stop


def _part_span(call: Call, opened: OpenRead) -> tuple[int, int] | None:
    """An object of one part is its own part 1. Reading single parts of a multipart object is not offered."""
    if call.header(b"range") is not None:
        raise BadRequest("InvalidRequest", "a request has a Range or a partNumber, not both")
    if call.parameter("partNumber") != "1" or "-" in opened.etag:
        raise BadRequest("NotImplemented", "reading a single part is not implemented; use a Range")
    return (0, opened.size) if opened.size else None


def not_modified_headers(headers: Headers) -> Headers:
    kept = (b"etag", b"last-modified", b"cache-control", b"expires", b"x-amz-version-id", b"x-demesne-decision")
    return [(name, value) for name, value in headers if name in kept]


async def _answer(call: Call, opened: OpenRead, status: int, headers: Headers, span: tuple[int, int]) -> None:
    """The first piece is unsealed before the status line leaves: a refusal there is still an answer, not a cut."""
    start, stop = span
    if start == stop:
        await call.answer.start(status, headers)
        await call.answer.body(b"", more=False)
        return
    pieces = opened.stream(start, stop)
    first = await anext(pieces, None)
    if first is None:
        raise EOFError("the stream is empty")
    await call.answer.start(status, headers)
    if stop - start >= _POUR_FROM and call.answer.can_pour and isinstance(pieces, Pourable):
        pieces.hand_back(first)
        await call.answer.pour(pieces.burst)
        return
    if stop - start < _WATCH_FROM:
        await _send(call, first, pieces, stop - start)
        return
    gone = asyncio.ensure_future(call.answer.watch_client())
    try:
        await _send(call, first, pieces, stop - start, gone)
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone


async def _send(
    call: Call,
    first: Buffer,
    pieces: AsyncIterator[Buffer],
    left: int,
    gone: "asyncio.Future[None] | None" = None,
) -> None:
    """Exactly `left` bytes, or an exception. Stops unsealing when nobody listens any more (`gone`)."""
    piece: Buffer | None = first
    while piece is not None:
        if gone is not None:
            await asyncio.sleep(0)  # neither a cached stream nor a dead connection need ever yield: let the watch run
            if gone.done():
                raise ClientGone
        if len(piece) > left:
            raise EOFError("the stream is longer than its span")
        left -= len(piece)
        await call.answer.body(piece, more=left > 0)
        piece = await anext(pieces, None)
    if left:
        raise EOFError("the stream ended early")
