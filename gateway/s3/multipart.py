"""Multipart uploads: create, part, complete, abort. Each part is a body of its own; completing writes a manifest."""

import itertools
import re
from urllib.parse import quote

from gateway.errors import BadRequest, NotFound
from gateway.s3 import xml
from gateway.s3.body import BodyReader, read_document
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.conditions import bare_etag, write_condition
from gateway.s3.object_headers import content_type_of, metadata_of, tags_of
from gateway.s3.ports import Checksums, CompletedPart
from gateway.s3.put_object import new_version_headers
from gateway.s3.stored_checksums import (
    checksum_headers,
    checksum_lines,
    completion_checksums,
    part_checksums,
    upload_algorithm,
)

MAX_PARTS = 10_000
_MAX_BYTES = 4 << 20
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}").fullmatch


async def create_multipart_upload(call: Call) -> None:
    await read_document(call, 1024)
    algorithm, kind = upload_algorithm(call)
    upload_id = await call.face.guard.create_upload(
        call.principal, call.object_ref, content_type_of(call), metadata_of(call), call.request_id,
        tags=tags_of(call), checksum_algorithm=algorithm, checksum_type=kind,
    )  # fmt: skip
    headers: Headers = []
    if algorithm:
        headers.append((b"x-amz-checksum-algorithm", algorithm.upper().encode("ascii")))
        headers.append((b"x-amz-checksum-type", kind.encode("ascii")))
    inner = xml.element("Bucket", call.bucket) + xml.element("Key", call.key) + xml.element("UploadId", upload_id)
    await call.answer.reply_xml(xml.document("InitiateMultipartUploadResult", inner), headers)


async def upload_part(call: Call) -> None:
    upload_id = upload_id_of(call)
    number = part_number_of(call)
    body = BodyReader(call)
    async with call.face.guard.open_part(call.principal, call.object_ref, upload_id, number, call.request_id) as opened:
        async for piece in body.pieces():
            await opened.write(piece)
        written = await opened.commit(body.check, body.verified)
    headers: Headers = [(b"etag", b'"%s"' % written.etag.encode("ascii"))]
    await call.answer.reply(200, headers + checksum_headers(Checksums(written.checksums)))


async def complete_multipart_upload(call: Call) -> None:
    upload_id = upload_id_of(call)
    document = await read_document(call, _MAX_BYTES, describes_itself=False)
    root = xml.parse(document, "CompleteMultipartUpload", _MAX_BYTES)
    parts = [_part(item) for item in root.all("Part")]
    if not 1 <= len(parts) <= MAX_PARTS:
        raise xml.malformed(f"1 to {MAX_PARTS} Part elements")
    if any(after.number < before.number for before, after in itertools.pairwise(parts)):
        raise BadRequest("InvalidPartOrder", "the list of parts was not in ascending order")
    # A client that re-sent a part may name both; the later line stands, and its ETag is held against what is stored.
    parts = list({part.number: part for part in parts}.values())
    written = await call.face.guard.complete_upload(
        call.principal, call.object_ref, upload_id, parts, write_condition(call.head), call.request_id,
        checksums=completion_checksums(call), size=_object_size(call),
    )  # fmt: skip
    headers = decision_headers(written.decision_id) + new_version_headers(written.version_id)
    inner = xml.element("Location", location_of(call)) + xml.element("Bucket", call.bucket)
    inner += xml.element("Key", call.key) + f"<ETag>&quot;{xml.escape(written.etag)}&quot;</ETag>"
    inner += checksum_lines(written.checksums)
    await call.answer.reply_xml(xml.document("CompleteMultipartUploadResult", inner), headers)


async def abort_multipart_upload(call: Call) -> None:
    await call.face.guard.abort_upload(call.principal, call.object_ref, upload_id_of(call), call.request_id)
    await call.answer.reply(204, [])


def upload_id_of(call: Call) -> str:
    """Raises NotFound "NoSuchUpload" for what cannot be one, so that no other spelling reaches the catalog."""
    upload_id = call.parameter("uploadId") or ""
    if not _UPLOAD_ID(upload_id):
        raise NotFound("NoSuchUpload", "the specified upload does not exist; it may have been aborted or completed")
    return upload_id


def part_number_of(call: Call) -> int:
    stated = call.parameter("partNumber") or ""
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 5) or not 1 <= int(stated) <= MAX_PARTS:
        raise BadRequest("InvalidArgument", f"part number must be an integer between 1 and {MAX_PARTS}, inclusive")
    return int(stated)


def location_of(call: Call) -> str:
    """Where the object is, as a path: the gateway does not guess under which name a proxy is reached."""
    return f"/{call.bucket}/{quote(call.key)}"


def _object_size(call: Call) -> int | None:
    stated = call.amz("x-amz-mp-object-size")
    if stated is None:
        return None
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 15):
        raise BadRequest("InvalidRequest", "x-amz-mp-object-size is not a number of bytes")
    return int(stated)


def _part(item: xml.Element) -> CompletedPart:
    number, etag = (item.value("PartNumber") or "").strip(), item.value("ETag")
    if not (number.isascii() and number.isdigit() and len(number) <= 5) or etag is None:
        raise xml.malformed("a Part has a PartNumber and an ETag")
    if not 1 <= int(number) <= MAX_PARTS:
        raise BadRequest("InvalidArgument", f"part number must be an integer between 1 and {MAX_PARTS}, inclusive")
    return CompletedPart(int(number), bare_etag(etag), part_checksums(item))
