"""If-Match and its friends, on reads and on writes. ETags compare without quotes; times in whole seconds."""

from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

from gateway.errors import BadRequest, PreconditionFailed
from gateway.identity.request_head import RequestHead
from gateway.s3.ports import OpenRead, WriteCondition


class Freshness(Enum):
    SEND = "send"
    NOT_MODIFIED = "not modified"


def check_read(head: RequestHead, opened: OpenRead) -> Freshness:
    """RFC 9110 §13.2.2 order. Raises PreconditionFailed; answers NOT_MODIFIED for a 304."""
    if_match = head.header(b"if-match")
    if if_match is not None:
        if not _matches(if_match, opened.etag):
            raise _failed("If-Match")
    else:
        unmodified = _seconds(head.header(b"if-unmodified-since"))
        if unmodified is not None and opened.last_modified // 1000 > unmodified:
            raise _failed("If-Unmodified-Since")
    if_none_match = head.header(b"if-none-match")
    if if_none_match is not None:
        return Freshness.NOT_MODIFIED if _matches(if_none_match, opened.etag) else Freshness.SEND
    modified = _seconds(head.header(b"if-modified-since"))
    if modified is not None and opened.last_modified // 1000 <= modified:
        return Freshness.NOT_MODIFIED
    return Freshness.SEND


def range_applies(head: RequestHead, opened: OpenRead) -> str | None:
    """The Range header, unless If-Range says that the object is another one now."""
    wanted = head.header(b"range")
    if wanted is None:
        return None
    if_range = head.header(b"if-range")
    if if_range is None:
        return wanted
    if if_range.startswith(('"', "W/")):
        return wanted if if_range == f'"{opened.etag}"' else None
    moment = _seconds(if_range)
    return wanted if moment is not None and opened.last_modified // 1000 == moment else None


def write_condition(head: RequestHead) -> WriteCondition | None:
    """What a PUT or a completion demands of the key. Raises BadRequest "NotImplemented" for other forms, as S3 does."""
    if_match = head.header(b"if-match")
    if_none_match = head.header(b"if-none-match")
    for name in (b"if-modified-since", b"if-unmodified-since"):
        if head.header(name) is not None:
            raise _not_implemented(name.decode("ascii"))
    if if_match is None and if_none_match is None:
        return None
    if if_match is not None and if_none_match is not None:
        raise _not_implemented("If-Match together with If-None-Match")
    if if_none_match is not None:
        if if_none_match != "*":
            raise _not_implemented("If-None-Match with an ETag on a write")
        return WriteCondition(if_none_match=True)
    assert if_match is not None
    if if_match == "*" or "," in if_match:
        raise _not_implemented("If-Match with anything but one ETag on a write")
    return WriteCondition(if_match=bare_etag(if_match))


def bare_etag(value: str) -> str:
    return value.strip().removeprefix("W/").strip('"')


def _matches(header: str, etag: str) -> bool:
    return any(item.strip() == "*" or bare_etag(item) == etag for item in header.split(","))


def _seconds(value: str | None) -> int | None:
    """An HTTP date; None when absent or not a date (RFC 9110: then the condition is ignored)."""
    if value is None:
        return None
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _failed(name: str) -> PreconditionFailed:
    return PreconditionFailed("PreconditionFailed", f"the condition {name} does not hold")


def _not_implemented(what: str) -> BadRequest:
    return BadRequest("NotImplemented", f"a condition you provided implies functionality not implemented: {what}")
