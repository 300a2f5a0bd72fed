"""The headers that travel with an object: in with a write, out with a read. Both directions in one place."""

from email.utils import formatdate
from typing import Final

from gateway.errors import BadRequest, Denied
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.ports import OpenRead
from gateway.s3.tags import parse_tagging_header

MAX_METADATA = 2048  # bytes of all user metadata names and values, as S3 has it
DEFAULT_TYPE = "binary/octet-stream"

_KEPT: Final = ("cache-control", "content-disposition", "content-encoding", "content-language", "expires")
_OVERRIDES = {
    "response-content-type": b"content-type",
    "response-content-language": b"content-language",
    "response-expires": b"expires",
    "response-cache-control": b"cache-control",
    "response-content-disposition": b"content-disposition",
    "response-content-encoding": b"content-encoding",
}
_META = "x-amz-meta-"


def metadata_of(call: Call) -> dict[str, str]:
    """User metadata and kept standard headers of a write (see ports.py). Raises BadRequest "MetadataTooLarge"."""
    metadata: dict[str, str] = {}
    size = 0
    for name in call.amz_names():
        if name.startswith(_META):
            value = call.amz(name) or ""
            size += len(name) - len(_META) + len(value)
            metadata[name[len(_META) :]] = value
    if size > MAX_METADATA:
        raise BadRequest("MetadataTooLarge", f"your metadata headers exceed {MAX_METADATA} bytes")
    for name in _KEPT:
        kept = call.header(name.encode("ascii"))
        if kept is not None and name == "content-encoding" and "aws-chunked" in kept.lower():
            kept = ",".join(part.strip() for part in kept.split(",") if part.strip().lower() != "aws-chunked")
        if kept:
            metadata[":" + name] = kept
    return metadata


def tags_of(call: Call) -> dict[str, str] | None:
    """The x-amz-tagging header of a write, checked; None where none was sent."""
    return parse_tagging_header(call.amz("x-amz-tagging"))


def content_type_of(call: Call) -> str:
    return call.header(b"content-type") or DEFAULT_TYPE


def read_headers(opened: OpenRead) -> Headers:
    """What GET and HEAD say about the view they were given, without length, range, or overrides."""
    headers: Headers = [
        (b"content-type", opened.content_type.encode("latin-1", "replace")),
        (b"etag", b'"%s"' % opened.etag.encode("ascii")),
        (b"last-modified", http_time(opened.last_modified)),
        (b"accept-ranges", b"bytes"),
    ]
    if opened.version_id is not None:
        headers.append((b"x-amz-version-id", opened.version_id.encode("ascii")))
    if opened.tag_count:
        headers.append((b"x-amz-tagging-count", b"%d" % opened.tag_count))
    for name, value in opened.user_metadata.items():
        wire_name = name[1:] if name.startswith(":") else _META + name
        headers.append((wire_name.encode("latin-1", "replace"), value.encode("latin-1", "replace")))
    headers += decision_headers(opened.decision_id, opened.view, opened.promise)
    return headers


def http_time(ms: int) -> bytes:
    return formatdate(ms // 1000, usegmt=True).encode("ascii")


def override(headers: Headers, call: Call) -> Headers:
    """Apply response-* parameters. Raises BadRequest for a value that cannot stand in a header."""
    if not call.head.query:
        return headers
    for parameter, name in _OVERRIDES.items():
        value = call.parameter(parameter)
        if value is not None:
            if not value.isprintable() or not value.isascii():
                raise BadRequest("InvalidArgument", f"{parameter} holds characters a header cannot carry")
            headers = [item for item in headers if item[0] != name]
            headers.append((name, value.encode("ascii")))
    return headers


def wants_checksums(call: Call) -> bool:
    return (call.amz("x-amz-checksum-mode") or "").upper() == "ENABLED"


def required_view(call: Call) -> str | None:
    """The view the caller insists on: `x-demesne-require-view: raw` turns a masked answer into a refusal."""
    wanted = call.header(b"x-demesne-require-view")
    if wanted is not None and wanted != "raw":
        raise BadRequest("InvalidArgument", "x-demesne-require-view must be 'raw'")
    return wanted


def refuse_raw_link(call: Call, opened: OpenRead) -> None:
    """Raw rows never travel over a link that anybody who saw it may replay: the floor below the guard."""
    if call.verified.presigned and opened.view == "raw":
        raise Denied(
            "presigned.raw",
            "raw data is not served over presigned URLs",
            rule="floor.presigned",
            decision_id=opened.decision_id,
            remedy="read with the session's own credentials",
        )
