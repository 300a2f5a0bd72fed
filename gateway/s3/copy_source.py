"""What a copy reads from: x-amz-copy-source, its range, and the conditions the source must meet.

The header is percent-decoded once, like the path of a request: a second decoding would read another key than the one
that was decided about.
"""

import re
from collections.abc import Callable

from gateway.errors import BadRequest, PreconditionFailed
from gateway.identity.request_head import percent_decode
from gateway.s3.call import Call, check_version_id
from gateway.s3.conditions import etag_matches, http_seconds
from gateway.s3.ports import CheckSource, SourceFacts
from vault.ref import ObjectRef

_RANGE = re.compile(r"bytes=([0-9]{1,19})-([0-9]{1,19})").fullmatch
_PREFIX = "x-amz-copy-source-if-"


def copy_source(call: Call) -> ObjectRef:
    """The object a copy names, always of the caller's own tenant. Raises BadRequest "InvalidArgument"."""
    stated = call.amz("x-amz-copy-source") or ""
    path, _, query = stated.partition("?")
    bucket, slash, key = percent_decode(path.removeprefix("/").encode("latin-1")).partition("/")
    if not slash or not bucket or not key or bucket.startswith("arn:"):
        raise BadRequest(
            "InvalidArgument", "a copy source is bucket/key, with ?versionId= for one version"
        )
    version_id = None
    if query:
        name, _, version_id = query.partition("=")
        if name != "versionId":
            raise BadRequest("InvalidArgument", "the only parameter of a copy source is versionId")
        check_version_id(version_id)
    return ObjectRef(call.principal.tenant, call.face.zone, bucket, key, version_id)


def source_check(call: Call) -> CheckSource | None:
    """The four x-amz-copy-source-if-* headers as one check that the guard runs over the view it copies from."""
    match = call.amz(_PREFIX + "match")
    none_match = call.amz(_PREFIX + "none-match")
    modified = http_seconds(call.amz(_PREFIX + "modified-since"))
    unmodified = http_seconds(call.amz(_PREFIX + "unmodified-since"))
    tests: list[Callable[[SourceFacts], bool]] = []
    if match is not None:  # true: unmodified-since is not looked at, as RFC 9110 and S3 have it
        tests.append(lambda facts: etag_matches(match, facts.etag))
    elif unmodified is not None:
        tests.append(lambda facts: facts.last_modified // 1000 <= unmodified)
    if none_match is not None:
        tests.append(lambda facts: not etag_matches(none_match, facts.etag))
    elif modified is not None:
        tests.append(lambda facts: facts.last_modified // 1000 > modified)
    if not tests:
        return None

    def check(facts: SourceFacts) -> None:
        if not all(test(facts) for test in tests):
            raise PreconditionFailed("PreconditionFailed", "a condition on the copy source does not hold")

    return check


def source_span(call: Call) -> tuple[int, int] | None:
    """[start, stop) of UploadPartCopy; None for the whole source. Raises BadRequest "InvalidArgument"."""
    stated = call.amz("x-amz-copy-source-range")
    if stated is None:
        return None
    match = _RANGE(stated)
    if match is None or int(match[2]) < int(match[1]):
        raise BadRequest(
            "InvalidArgument",
            "the x-amz-copy-source-range value must be of the form bytes=first-last, zero-based offsets, both included",
        )
    return int(match[1]), int(match[2]) + 1
