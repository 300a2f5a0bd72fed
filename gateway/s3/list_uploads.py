"""ListParts and ListMultipartUploads."""

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.call import Call
from gateway.s3.list_objects import encodes, page_limit, spelled
from gateway.s3.multipart import upload_id_of
from gateway.s3.ports import ListedUpload
from gateway.s3.stored_checksums import checksum_values
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
    lines.append(_people(call))
    if found.checksum_algorithm:
        lines.append(xml.element("ChecksumAlgorithm", found.checksum_algorithm.upper()))
        lines.append(xml.element("ChecksumType", found.checksum_type))
    lines += [
        f"<Part><PartNumber>{part.number}</PartNumber><LastModified>{iso_time(part.last_modified)}</LastModified>"
        f"<ETag>&quot;{xml.escape(part.etag)}&quot;</ETag><Size>{part.size}</Size>"
        f"{checksum_values(part.checksums)}</Part>"
        for part in parts
    ]
    await call.answer.reply_xml(xml.document("ListPartsResult", "".join(lines)))


async def list_multipart_uploads(call: Call) -> None:
    prefix = call.parameter("prefix") or ""
    delimiter = call.parameter("delimiter") or ""
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
        delimiter=delimiter,
    )
    uploads, groups = (found.uploads, found.common_prefixes) if limit else ((), ())
    lines = [
        xml.element("Bucket", call.bucket),
        xml.element("KeyMarker", spelled(after_key, encode)),
        xml.element("UploadIdMarker", after_upload),
    ]
    if found.truncated and (uploads or groups):
        lines += _next_markers(uploads, groups, encode)
    if prefix:
        lines.append(xml.element("Prefix", spelled(prefix, encode)))
    if delimiter:
        lines.append(xml.element("Delimiter", spelled(delimiter, encode)))
    if encode:
        lines.append(xml.element("EncodingType", "url"))
    lines.append(xml.element("MaxUploads", str(limit)))
    lines.append(xml.element("IsTruncated", found.truncated and limit > 0))
    lines += [
        f"<Upload>{xml.element('Key', spelled(upload.key, encode))}{xml.element('UploadId', upload.upload_id)}"
        f"{_people(call)}<StorageClass>STANDARD</StorageClass>"
        f"<Initiated>{iso_time(upload.initiated)}</Initiated></Upload>"
        for upload in uploads
    ]
    lines += [f"<CommonPrefixes>{xml.element('Prefix', spelled(group, encode))}</CommonPrefixes>" for group in groups]
    await call.answer.reply_xml(xml.document("ListMultipartUploadsResult", "".join(lines)))


def _next_markers(uploads: tuple[ListedUpload, ...], groups: tuple[str, ...], encode: bool) -> list[str]:
    """The last line of the page: an upload, or a prefix, which has no upload id."""
    last_key = uploads[-1].key if uploads else ""
    if groups and groups[-1].encode("utf-8") > last_key.encode("utf-8"):
        return [xml.element("NextKeyMarker", spelled(groups[-1], encode)), xml.element("NextUploadIdMarker", "")]
    return [
        xml.element("NextKeyMarker", spelled(last_key, encode)),
        xml.element("NextUploadIdMarker", uploads[-1].upload_id),
    ]


def _people(call: Call) -> str:
    """Initiator and owner: the tenant, which is the only owner of what it can list."""
    tenant = xml.element("ID", call.principal.tenant) + xml.element("DisplayName", call.principal.tenant)
    return f"<Initiator>{tenant}</Initiator><Owner>{tenant}</Owner>"
