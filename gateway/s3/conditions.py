"""If-Match and its friends, on reads and on writes. ETags compare without quotes; times in whole seconds."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

from gateway.errors import BadRequest, PreconditionFailed
from gateway.identity.request_head import RequestHead
from gateway.s3.ports import DeleteCondition, OpenRead, WriteCondition

_ISO = re.compile(r"\d{4}-\d\d-\d\dT.{5,30}").fullmatch


class Freshness(Enum):
    SEND = "send"
    NOT_MODIFIED = "not modified"


def check_read(head: RequestHead, opened: OpenRead) -> Freshness:
    """RFC 9110 §13.2.2 order. Raises PreconditionFailed; answers NOT_MODIFIED for a 304."""
    if_match = head.header(b"if-match")
    if if_match is not None:
        if not etag_matches(if_match, opened.etag):
            raise _failed("If-Match")
    else:
        unmodified = http_seconds(head.header(b"if-unmodified-since"))
        if unmodified is not None and opened.last_modified // 1000 > unmodified:
            raise _failed("If-Unmodified-Since")
    if_none_match = head.header(b"if-none-match")
    if if_none_match is not None:
        return Freshness.NOT_MODIFIED if etag_matches(if_none_match, opened.etag) else Freshness.SEND
    modified = http_seconds(head.header(b"if-modified-since"))
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
    moment = http_seconds(if_range)
    return wanted if moment is not None and opened.last_modified // 1000 == moment else None


def write_condition(head: RequestHead) -> WriteCondition | None:
    """What a PUT, a copy or a completion demands of the key. Raises BadRequest "NotImplemented" for other forms.

    S3 itself takes `If-None-Match: *` and `If-Match: ETag` only; one ETag in If-None-Match and `If-Match: *` are held
    too, atomically as the others, because a condition that is understood is safer than one that is refused.
    """
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
        if if_none_match == "*":
            return WriteCondition(if_none_match=True)
        return WriteCondition(if_none_match_etag=_one_etag("If-None-Match", if_none_match))
    assert if_match is not None
    return WriteCondition(if_match=if_match if if_match == "*" else _one_etag("If-Match", if_match))


def delete_condition(head: RequestHead) -> DeleteCondition | None:
    """What a DELETE demands of the object it removes. Raises BadRequest for a value that is no ETag, date or size."""
    if_match = head.header(b"if-match")
    stated_time = head.header(b"x-amz-if-match-last-modified-time")
    stated_size = head.header(b"x-amz-if-match-size")
    for name in (b"if-none-match", b"if-modified-since", b"if-unmodified-since"):
        if head.header(name) is not None:
            raise _not_implemented(name.decode("ascii") + " on a delete")
    return delete_condition_of(if_match, stated_time, stated_size)


def delete_condition_of(
    if_match: str | None, stated_time: str | None, stated_size: str | None
) -> DeleteCondition | None:
    if if_match is None and stated_time is None and stated_size is None:
        return None
    moment = None
    if stated_time is not None:
        seconds = http_seconds(stated_time)
        if seconds is None:
            raise BadRequest("InvalidArgument", "the last modified time of a conditional delete is not a date")
        moment = seconds * 1000
    if stated_size is not None and not (stated_size.isascii() and stated_size.isdigit() and len(stated_size) <= 15):
        raise BadRequest("InvalidArgument", "the size of a conditional delete is not a number of bytes")
    etag = if_match if if_match is None or if_match == "*" else _one_etag("If-Match", if_match)
    return DeleteCondition(etag, moment, None if stated_size is None else int(stated_size))


def _one_etag(name: str, value: str) -> str:
    if "," in value:
        raise _not_implemented(f"{name} with more than one ETag on a write")
    return bare_etag(value)


def bare_etag(value: str) -> str:
    return value.strip().removeprefix("W/").strip('"')


def etag_matches(header: str, etag: str) -> bool:
    return any(item.strip() == "*" or bare_etag(item) == etag for item in header.split(","))


def http_seconds(value: str | None) -> int | None:
    """An HTTP date, or ISO 8601; None when absent or not a date (RFC 9110: then the condition is ignored)."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if _ISO(value) else parsedate_to_datetime(value)
    except (ValueError, IndexError, OverflowError):
        return None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _failed(name: str) -> PreconditionFailed:
    return PreconditionFailed("PreconditionFailed", f"the condition {name} does not hold")


def _not_implemented(what: str) -> BadRequest:
    return BadRequest("NotImplemented", f"a condition you provided implies functionality not implemented: {what}")
