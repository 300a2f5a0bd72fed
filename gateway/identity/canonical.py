"""AWS Signature Version 4, the arithmetic: canonical request, string to sign, signing key. Pure, bytes to bytes.

Source: "Signature Calculations for the Authorization Header", S3 API reference. The S3 dialect signs the path as
it is on the wire: nothing is normalised and nothing is encoded twice. Bytes that some clients send bare and sign
encoded ('=' in the path from the C++ SDK, raw UTF-8) are encoded here; an escape that was sent is never rewritten.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

ALGORITHM = b"AWS4-HMAC-SHA256"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_PATH_IS_CANONICAL = re.compile(rb"[A-Za-z0-9\-._~/%]*").fullmatch
_PATH_TO_ENCODE = re.compile(rb"[^A-Za-z0-9\-._~/%]")
_QUERY_IS_CANONICAL = re.compile(rb"[A-Za-z0-9\-._~%]*").fullmatch
_QUERY_TO_ENCODE = re.compile(rb"[^A-Za-z0-9\-._~%]")
_SPACES = re.compile(rb"[ \t\r\n]+")


def _escape(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % match[0][0]


def canonical_path(raw: bytes) -> bytes:
    if _PATH_IS_CANONICAL(raw):
        return raw or b"/"
    return _PATH_TO_ENCODE.sub(_escape, raw)


def _canonical_query_part(raw: bytes) -> bytes:
    if _QUERY_IS_CANONICAL(raw):
        return raw
    return _QUERY_TO_ENCODE.sub(_escape, raw.replace(b"+", b"%20"))


def canonical_query(raw: bytes, *, without: bytes = b"") -> bytes:
    """Sorted by name, then value. `without` drops one parameter (the signature of a presigned URL)."""
    if not raw:
        return b""
    pairs = []
    for piece in raw.split(b"&"):
        if piece:
            name, _, value = piece.partition(b"=")
            if name != without:
                pairs.append((_canonical_query_part(name), _canonical_query_part(value)))
    pairs.sort()
    return b"&".join([name + b"=" + value for name, value in pairs])


def canonical_value(values: Sequence[bytes]) -> bytes:
    """Trimmed, inner whitespace folded to one space, repeated headers joined by a comma."""
    if len(values) == 1:
        value = values[0].strip()
        return _SPACES.sub(b" ", value) if b"  " in value or b"\t" in value or b"\n" in value else value
    return b",".join([_SPACES.sub(b" ", value.strip()) for value in values])


def canonical_request(
    method: str,
    path: bytes,
    query: bytes,
    *,
    headers: Mapping[bytes, tuple[bytes, ...]],
    signed: Sequence[bytes],
    payload: str,
) -> bytes:
    """`path` and `query` are canonical already. Raises KeyError for a signed header that was not sent."""
    lines = [method.encode("ascii"), path, query]
    lines += [name + b":" + canonical_value(headers[name]) for name in signed]
    lines += [b"", b";".join(signed), payload.encode("ascii")]
    return b"\n".join(lines)


def string_to_sign(timestamp: str, scope: str, request: bytes) -> bytes:
    """`timestamp` is the basic ISO 8601 form, `scope` is date/region/service/aws4_request."""
    digest = hashlib.sha256(request).hexdigest()
    return b"%s\n%s\n%s\n%s" % (ALGORITHM, timestamp.encode("ascii"), scope.encode("ascii"), digest.encode("ascii"))


def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    key = hmac.digest(b"AWS4" + secret.encode("utf-8"), date.encode("ascii"), "sha256")
    for part in (region, service, "aws4_request"):
        key = hmac.digest(key, part.encode("utf-8"), "sha256")
    return key


def signature(key: bytes, message: bytes) -> str:
    return hmac.digest(key, message, "sha256").hex()
