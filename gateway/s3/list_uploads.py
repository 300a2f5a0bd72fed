"""ListParts and ListMultipartUploads."""

from urllib.parse import quote

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.call import Call
from gateway.s3.list_objects import encodes, page_limit
from gateway.s3.multipart import upload_id_of
from gateway.s3.not_implemented import refuse
from gateway.s3.times import iso_time


async def list_parts(call: Call) -> None:
    upload_id = upload_id_of(call)
    marker = call.parameter("part-number-marker") or "0"
    if not (marker.isascii() and marker.isdigit() and len(marker) <= 10):
        raise BadRequest("InvalidArgument", "part-number-marker must be an integer")
    limit = page_limit(call, "max-parts")
    found = await call.face.guard.list_parts(
        call.principal, call.object_ref, upload_id, after=int(marker), limit=max(limit, 1)
    )
    parts = found.parts[:limit]
    lines = [
        xml.element("Bucket", call.bucket),
        xml.element("Key", call.key),
        xml.element("UploadId", upload_id),
        xml.element("StorageClass", "STANDARD"),
        xml.element("PartNumberMarker", marker),
    ]
    if parts:
        lines.append(xml.element("NextPartNumberMarker", str(parts[-1].number)))
    lines.append(xml.element("MaxParts", str(limit)))
    lines.append(xml.element("IsTruncated", found.truncated and limit > 0))
    lines += [
        f"<Part><PartNumber>{part.number}</PartNumber><LastModified>{iso_time(part.last_modified)}</LastModified>"
        f"<ETag>&quot;{xml.escape(part.etag)}&quot;</ETag><Size>{part.size}</Size></Part>"
        for part in parts
    ]
    await call.answer.reply_xml(xml.document("ListPartsResult", "".join(lines)))


async def list_multipart_uploads(call: Call) -> None:
    if call.parameter("delimiter"):
        raise refuse("ListMultipartUploads with a delimiter")
    prefix = call.parameter("prefix") or ""
    after_key = call.parameter("key-marker") or ""
    after_upload = call.parameter("upload-id-marker") or ""
    limit = page_limit(call, "max-uploads")
    encode = encodes(call)
    found = await call.face.guard.list_uploads(
        call.principal,
        call.dataset_ref,
        prefix=prefix,
        after_key=after_key,
        after_upload=after_upload if after_key else "",
        limit=max(limit, 1),
    )
    uploads = found.uploads[:limit]

    def spell(text: str) -> str:
        return quote(text, safe="/*") if encode else text

    lines = [
        xml.element("Bucket", call.bucket),
        xml.element("KeyMarker", spell(after_key)),
        xml.element("UploadIdMarker", after_upload),
    ]
    if uploads and found.truncated:
        lines.append(xml.element("NextKeyMarker", spell(uploads[-1].key)))
        lines.append(xml.element("NextUploadIdMarker", uploads[-1].upload_id))
    if prefix:
        lines.append(xml.element("Prefix", spell(prefix)))
    if encode:
        lines.append(xml.element("EncodingType", "url"))
    lines.append(xml.element("MaxUploads", str(limit)))
    lines.append(xml.element("IsTruncated", found.truncated and limit > 0))
    lines += [
        f"<Upload>{xml.element('Key', spell(upload.key))}{xml.element('UploadId', upload.upload_id)}"
        f"<StorageClass>STANDARD</StorageClass><Initiated>{iso_time(upload.initiated)}</Initiated></Upload>"
        for upload in uploads
    ]
    await call.answer.reply_xml(xml.document("ListMultipartUploadsResult", "".join(lines)))
