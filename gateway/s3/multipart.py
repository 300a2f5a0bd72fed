"""Multipart uploads: create, part, complete, abort. Each part is a body of its own; completing writes a manifest."""

import itertools
import re
from urllib.parse import quote

from gateway.errors import BadRequest, NotFound
from gateway.s3 import xml
from gateway.s3.body import BodyReader, read_document
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.conditions import bare_etag, write_condition
from gateway.s3.object_headers import content_type_of, metadata_of

MAX_PARTS = 10_000
_MAX_BYTES = 4 << 20
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}").fullmatch


async def create_multipart_upload(call: Call) -> None:
    await read_document(call, 1024)
    upload_id = await call.face.guard.create_upload(
        call.principal, call.object_ref, content_type_of(call), metadata_of(call), call.request_id
    )
    headers: Headers = []
    algorithm = call.amz("x-amz-checksum-algorithm")
    if algorithm is not None:
        headers.append((b"x-amz-checksum-algorithm", algorithm.upper().encode("ascii")))
    inner = xml.element("Bucket", call.bucket) + xml.element("Key", call.key) + xml.element("UploadId", upload_id)
    await call.answer.reply_xml(xml.document("InitiateMultipartUploadResult", inner), headers)


async def upload_part(call: Call) -> None:
    upload_id = upload_id_of(call)
    number = call.parameter("partNumber") or ""
    if not (number.isascii() and number.isdigit() and len(number) <= 5) or not 1 <= int(number) <= MAX_PARTS:
        raise BadRequest("InvalidArgument", f"part number must be an integer between 1 and {MAX_PARTS}, inclusive")
    body = BodyReader(call)
    async with call.face.guard.open_part(
        call.principal, call.object_ref, upload_id, int(number), call.request_id
    ) as opened:
        async for piece in body.pieces():
            await opened.write(piece)
        etag = await opened.commit(body.check)
    headers: Headers = [(b"etag", b'"%s"' % etag.encode("ascii"))]
    for name, value in body.computed.items():
        headers.append((f"x-amz-checksum-{name}".encode("ascii"), value.encode("ascii")))
    await call.answer.reply(200, headers)


async def complete_multipart_upload(call: Call) -> None:
    upload_id = upload_id_of(call)
    root = xml.parse(await read_document(call, _MAX_BYTES), "CompleteMultipartUpload", _MAX_BYTES)
    parts = [_part(item) for item in root.all("Part")]
    if not 1 <= len(parts) <= MAX_PARTS:
        raise xml.malformed(f"1 to {MAX_PARTS} Part elements")
    if any(after[0] <= before[0] for before, after in itertools.pairwise(parts)):
        raise BadRequest("InvalidPartOrder", "the list of parts was not in ascending order")
    written = await call.face.guard.complete_upload(
        call.principal, call.object_ref, upload_id, parts, write_condition(call.head), call.request_id
    )
    headers = decision_headers(written.decision_id)
    if written.version_id is not None:
        headers.append((b"x-amz-version-id", written.version_id.encode("ascii")))
    location = f"/{call.bucket}/{quote(call.key)}"
    inner = xml.element("Location", location) + xml.element("Bucket", call.bucket) + xml.element("Key", call.key)
    inner += f"<ETag>&quot;{xml.escape(written.etag)}&quot;</ETag>"
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


def _part(item: xml.Element) -> tuple[int, str]:
    number, etag = (item.value("PartNumber") or "").strip(), item.value("ETag")
    if not (number.isascii() and number.isdigit() and len(number) <= 5) or etag is None:
        raise xml.malformed("a Part has a PartNumber and an ETag")
    if not 1 <= int(number) <= MAX_PARTS:
        raise BadRequest("InvalidArgument", f"part number must be an integer between 1 and {MAX_PARTS}, inclusive")
    return int(number), bare_etag(etag)
