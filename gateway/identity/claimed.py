"""What a request claims about its signer, parsed and not yet believed: header form or presigned.

CVE-2026-41145 elsewhere: the check looked for the header while the credentials came from the query. Here one
function finds every mechanism that is present, and anything but exactly one refuses.
"""

import calendar
import datetime as dt
import itertools
import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from gateway.identity.errors import Unauthenticated
from gateway.identity.request_head import RequestHead

SIGNATURE_PARAMETER = b"X-Amz-Signature"
MAX_PRESIGNED_EXPIRES = 604_800  # seconds; what the protocol allows. What we honour is shorter, see sigv4.py

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^\s,]{1,256}), ?SignedHeaders=([a-z0-9;._-]{1,4096}), ?Signature=([0-9a-f]{64})"
)
_TIMESTAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_PRESIGNED = frozenset(
    ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature")
)
_V2 = "the signature version is not supported; sign with AWS4-HMAC-SHA256 (botocore: signature_version='s3v4')"


@dataclass(frozen=True, slots=True)
class ClaimedSignature:
    """Nothing in here is verified; the name says so wherever it travels."""

    access_key_id: str
    date: str
    region: str
    service: str
    timestamp: str  # basic ISO 8601
    at: int  # the same, seconds since the epoch
    signed_headers: tuple[bytes, ...]
    signature: str
    security_token: str | None
    expires: int | None  # seconds; None for the header form

    @property
    def presigned(self) -> bool:
        return self.expires is not None

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def parse_claim(head: RequestHead) -> ClaimedSignature:
    """The one signature this request carries. Raises Unauthenticated for none, two, or one that does not parse."""
    in_header = b"authorization" in head.headers
    names = {name for name, _ in head.query} if head.query else frozenset()
    in_query = not _PRESIGNED.isdisjoint(names)
    in_query_v2 = "AWSAccessKeyId" in names or "Signature" in names
    if in_header + in_query + in_query_v2 > 1 or (in_header and "X-Amz-Security-Token" in names):
        raise Unauthenticated("InvalidArgument", "only one authentication mechanism is allowed in one request")
    if in_query_v2:
        raise Unauthenticated("InvalidRequest", _V2)
    if in_query:
        return _parse_presigned(head)
    if in_header:
        return _parse_header(head)
    raise Unauthenticated("AccessDenied", "the request is not signed", remedy="sign it with AWS Signature Version 4")


def _parse_header(head: RequestHead) -> ClaimedSignature:
    code = "AuthorizationHeaderMalformed"
    value = head.header(b"authorization") or ""
    match = _AUTHORIZATION.fullmatch(value)
    if match is None:
        if value.startswith("AWS "):
            raise Unauthenticated("InvalidRequest", _V2)
        if not value.startswith("AWS4-HMAC-SHA256 "):
            raise Unauthenticated("InvalidArgument", "the Authorization header is of an unsupported kind")
        raise Unauthenticated(code, "the Authorization header does not parse: Credential, SignedHeaders, Signature")
    timestamp, at = _header_time(head)
    token = head.header(b"x-amz-security-token")
    return _claim(code, match[1], match[2], match[3], timestamp=timestamp, at=at, token=token, expires=None)


def _header_time(head: RequestHead) -> tuple[str, int]:
    stamp = head.header(b"x-amz-date")
    if stamp is not None:
        return stamp, parse_timestamp(stamp)
    date = head.header(b"date")
    if date is None:
        raise Unauthenticated("AccessDenied", "a signed request needs an x-amz-date or Date header")
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, IndexError):
        return date, parse_timestamp(date)
    if moment.tzinfo is None and date.endswith("-0000"):  # RFC 5322: UTC, and nothing said about local time
        moment = moment.replace(tzinfo=dt.UTC)
    if moment.tzinfo is None:
        raise Unauthenticated("AccessDenied", "the Date header names no time zone")
    at = int(moment.timestamp())
    utc = moment.astimezone(dt.UTC)
    return utc.strftime("%Y%m%dT%H%M%SZ"), at


def _parse_presigned(head: RequestHead) -> ClaimedSignature:
    code = "AuthorizationQueryParametersError"
    missing = sorted(name for name in _PRESIGNED if head.parameter(name) is None)
    if missing:
        raise Unauthenticated(code, f"a presigned URL also needs: {', '.join(missing)}")
    value = {name: head.parameter(name) or "" for name in _PRESIGNED}
    if value["X-Amz-Algorithm"] != "AWS4-HMAC-SHA256":
        raise Unauthenticated(code, "X-Amz-Algorithm must be AWS4-HMAC-SHA256")
    if not re.fullmatch(r"-?[0-9]{1,12}", value["X-Amz-Expires"]):
        raise Unauthenticated(code, "X-Amz-Expires must be a number of seconds")
    expires = int(value["X-Amz-Expires"])
    if expires < 0:
        raise Unauthenticated(code, "X-Amz-Expires must not be negative")
    if expires > MAX_PRESIGNED_EXPIRES:
        raise Unauthenticated(code, "X-Amz-Expires must be less than a week (in seconds); that is 604800")
    if not re.fullmatch(r"[a-z0-9;._-]{1,4096}", value["X-Amz-SignedHeaders"]):
        raise Unauthenticated(code, "X-Amz-SignedHeaders must be lower-case names joined by ';'")
    if not re.fullmatch(r"[0-9a-f]{64}", value["X-Amz-Signature"]):
        raise Unauthenticated(code, "X-Amz-Signature must be 64 hex digits")
    stamp = value["X-Amz-Date"]
    return _claim(
        code,
        value["X-Amz-Credential"],
        value["X-Amz-SignedHeaders"],
        value["X-Amz-Signature"],
        timestamp=stamp,
        at=parse_timestamp(stamp),
        token=head.parameter("X-Amz-Security-Token"),
        expires=expires,
    )


def _claim(
    code: str,
    credential: str,
    signed: str,
    signature: str,
    *,
    timestamp: str,
    at: int,
    token: str | None,
    expires: int | None,
) -> ClaimedSignature:
    key, date, region, service = parse_credential(code, credential, timestamp)
    names = tuple(signed.encode("ascii").split(b";"))
    # Sorted and unique is how a signer must write it; another order would be a second spelling of one request.
    if any(a >= b for a, b in itertools.pairwise(names)) or not names[0]:
        raise Unauthenticated(code, "SignedHeaders must be sorted, and name each header once")
    return ClaimedSignature(key, date, region, service, timestamp, at, names, signature, token, expires)


def parse_credential(code: str, credential: str, timestamp: str) -> tuple[str, str, str, str]:
    """Key id, date, region and service of a credential scope. Raises Unauthenticated `code`."""
    parts = credential.rsplit("/", 4)
    if len(parts) != 5 or not all(parts) or parts[4] != "aws4_request":
        raise Unauthenticated(code, "the credential is not KEY/DATE/REGION/SERVICE/aws4_request")
    if parts[1] != timestamp[:8]:
        raise Unauthenticated(code, "the date of the credential scope is not the date of the request")
    return parts[0], parts[1], parts[2], parts[3]


def parse_timestamp(stamp: str) -> int:
    """Seconds since the epoch of a basic ISO 8601 stamp. Raises Unauthenticated "AccessDenied"."""
    match = _TIMESTAMP.fullmatch(stamp)
    if match is None:
        raise Unauthenticated("AccessDenied", "the date of the request is not of the form 20260102T030405Z")
    year, month, day, hour, minute, second = map(int, match.groups())
    if not (year >= 1970 and 1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 61):
        raise Unauthenticated("AccessDenied", "the date of the request is not a date")
    return calendar.timegm((year, month, day, hour, minute, second))
