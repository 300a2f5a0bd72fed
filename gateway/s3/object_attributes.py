"""GetObjectAttributes: size, ETag, checksums and parts of the caller's view, without its bytes."""

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.object_headers import http_time, refuse_raw_link, required_view
from gateway.s3.ports import OpenRead
from gateway.s3.stored_checksums import checksum_lines, checksum_values

_ATTRIBUTES = frozenset(("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"))
MAX_PARTS = 1000


async def get_object_attributes(call: Call) -> None:
    wanted = _wanted(call)
    limit, marker = _number(call, "x-amz-max-parts", MAX_PARTS), _number(call, "x-amz-part-number-marker", 0)
    view = required_view(call)
    async with call.face.guard.open_read(
        call.principal, call.object_ref, action="head", require_view=view, request_id=call.request_id
    ) as opened:
        refuse_raw_link(call, opened)
        headers: Headers = [(b"last-modified", http_time(opened.last_modified))]
        if opened.version_id is not None:
            headers.append((b"x-amz-version-id", opened.version_id.encode("ascii")))
        headers += decision_headers(opened.decision_id, opened.view, opened.promise)
        inner = _attributes(opened, wanted, min(limit, MAX_PARTS), marker)
        await call.answer.reply_xml(xml.document("GetObjectAttributesResponse", inner), headers)


def _attributes(opened: OpenRead, wanted: frozenset[str], limit: int, marker: int) -> str:
    inner = ""
    if "ETag" in wanted:
        inner += xml.element("ETag", opened.etag)
    if "Checksum" in wanted and opened.checksums.values:
        inner += f"<Checksum>{checksum_lines(opened.checksums)}</Checksum>"
    if "ObjectParts" in wanted and opened.parts:
        inner += _parts(opened, limit, marker)
    if "StorageClass" in wanted:
        inner += xml.element("StorageClass", "STANDARD")
    if "ObjectSize" in wanted:
        inner += xml.element("ObjectSize", str(opened.size))
    return inner


def _parts(opened: OpenRead, limit: int, marker: int) -> str:
    """Parts of an object are numbered by their place in it, whatever numbers they were uploaded under."""
    later = [(place, part) for place, part in enumerate(opened.parts, 1) if place > marker]
    page = later[:limit]
    inner = (
        xml.element("PartsCount", str(len(opened.parts)))
        + xml.element("PartNumberMarker", str(marker))
        + xml.element("NextPartNumberMarker", str(page[-1][0] if page else marker))
        + xml.element("MaxParts", str(limit))
        + xml.element("IsTruncated", len(later) > len(page))
    )
    inner += "".join(
        f"<Part>{xml.element('PartNumber', str(place))}{xml.element('Size', str(part.size))}"
        f"{checksum_values(part.checksums)}</Part>"
        for place, part in page
    )
    return f"<ObjectParts>{inner}</ObjectParts>"


def _wanted(call: Call) -> frozenset[str]:
    # Clients send one header, or one a name.
    values = call.head.headers.get(b"x-amz-object-attributes", ())
    names = frozenset(name.strip() for value in values for name in value.decode("latin-1").split(",") if name.strip())
    if not names or not names <= _ATTRIBUTES:
        raise BadRequest("InvalidArgument", f"x-amz-object-attributes names some of {', '.join(sorted(_ATTRIBUTES))}")
    return names


def _number(call: Call, name: str, default: int) -> int:
    stated = call.header(name.encode("ascii"))
    if stated is None:
        return default
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 9):
        raise BadRequest("InvalidArgument", f"{name} must be an integer")
    return int(stated)
