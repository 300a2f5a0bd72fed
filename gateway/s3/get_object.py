"""GetObject: the hot road. Verified pieces go straight to the server; after the first byte a failure cuts the line."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from gateway.errors import BadRequest
from gateway.s3 import conditions, ranges
from gateway.s3.call import Call, ClientGone, Headers
from gateway.s3.multipart import MAX_PARTS
from gateway.s3.object_headers import override, read_headers, refuse_raw_link, required_view, wants_checksums
from gateway.s3.ports import Buffer, Checksums, Endable, OpenRead, Pourable
from gateway.s3.stored_checksums import checksum_headers

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
    """Status, start and stop of the answer; appends the headers that describe them.

    A whole-object checksum never stands beside the 206 of a Range: clients compare it with the bytes they got.
    """
    size = opened.size
    span = _part_span(call, opened, headers)
    if span is None:
        span = ranges.select(conditions.range_applies(call.head, opened), size)
        if span is None:
            if wants_checksums(call):
                headers += checksum_headers(opened.checksums)
            headers.append((b"content-length", b"%d" % size))
            return 200, 0, size
    start, stop = span
    headers.append((b"content-range", b"bytes %d-%d/%d" % (start, stop - 1, size)))
    headers.append((b"content-length", b"%d" % (stop - start)))
    return 206, start, stop


def _part_span(call: Call, opened: OpenRead, headers: Headers) -> tuple[int, int] | None:
    """Where the part that is asked for lies. An object (or view) that has no parts is its own part 1.

    Raises BadRequest "InvalidPart" for a part the object does not have.
    """
    stated = call.parameter("partNumber")
    if stated is None:
        return None
    if call.header(b"range") is not None:
        raise BadRequest("InvalidRequest", "cannot specify both Range header and partNumber query parameter")
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 5) or not 1 <= int(stated) <= MAX_PARTS:
        raise BadRequest("InvalidArgument", f"part number must be an integer between 1 and {MAX_PARTS}, inclusive")
    place = int(stated)
    if place > max(len(opened.parts), 1):
        raise BadRequest("InvalidPart", "the requested part number is not satisfiable")
    if not opened.parts:
        if not opened.size:
            return None
        if wants_checksums(call):
            headers += checksum_headers(opened.checksums)
        return 0, opened.size
    headers.append((b"x-amz-mp-parts-count", b"%d" % len(opened.parts)))
    part = opened.parts[place - 1]
    if wants_checksums(call):
        headers += checksum_headers(Checksums(part.checksums, opened.checksums.type))
    start = sum(before.size for before in opened.parts[: place - 1])
    return (start, start + part.size) if part.size else None


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
    if isinstance(pieces, Endable):
        pieces.on_end(call.answer.cut)
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
