"""ListObjectVersions: every version and delete marker, one decision a page, sizes and ETags of the caller's view."""

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.call import Call, decision_headers
from gateway.s3.list_objects import checksum_names, encodes, owner_line, page_limit, spelled
from gateway.s3.ports import ListedVersion, VersionListing
from gateway.s3.times import iso_time


async def list_object_versions(call: Call) -> None:
    prefix = call.parameter("prefix") or ""
    delimiter = call.parameter("delimiter") or ""
    key_marker = call.parameter("key-marker") or ""
    version_marker = call.parameter("version-id-marker") or ""
    if version_marker and not key_marker:
        raise BadRequest("InvalidArgument", "a version-id marker cannot be specified without a key marker")
    limit = page_limit(call, "max-keys")
    encode = encodes(call)
    listing = await _list(call, prefix, delimiter, key_marker, version_marker, limit)
    lines = [
        xml.element("Name", call.bucket),
        xml.element("Prefix", spelled(prefix, encode)),
        xml.element("KeyMarker", spelled(key_marker, encode)),
        xml.element("VersionIdMarker", version_marker),
    ]
    if listing.truncated and listing.last_key is not None:
        lines.append(xml.element("NextKeyMarker", spelled(listing.last_key, encode)))
        if listing.last_version is not None:
            lines.append(xml.element("NextVersionIdMarker", listing.last_version))
    lines.append(xml.element("MaxKeys", str(limit)))
    if delimiter:
        lines.append(xml.element("Delimiter", spelled(delimiter, encode)))
    lines.append(xml.element("IsTruncated", listing.truncated))
    if encode:
        lines.append(xml.element("EncodingType", "url"))
    owner = owner_line(call.principal.tenant)
    lines += [_line(item, encode, owner) for item in listing.versions]
    lines += [
        f"<CommonPrefixes>{xml.element('Prefix', spelled(group, encode))}</CommonPrefixes>"
        for group in listing.common_prefixes
    ]
    headers = decision_headers(listing.decision_id, listing.view, listing.promise)
    await call.answer.reply_xml(xml.document("ListVersionsResult", "".join(lines)), headers)


async def _list(
    call: Call, prefix: str, delimiter: str, key_marker: str, version_marker: str, limit: int
) -> VersionListing:
    if limit == 0:  # still a question about the bucket, so still decided
        await call.face.guard.head_dataset(call.principal, call.dataset_ref)
        return VersionListing((), (), truncated=False, last_key=None, last_version=None)
    return await call.face.guard.list_versions(
        call.principal,
        call.dataset_ref,
        prefix=prefix,
        delimiter=delimiter,
        after_key=key_marker,
        after_version=version_marker,
        limit=limit,
        request_id=call.request_id,
    )


def _line(item: ListedVersion, encode: bool, owner: str) -> str:
    inner = (
        xml.element("Key", spelled(item.key, encode))
        + xml.element("VersionId", item.version_id)
        + xml.element("IsLatest", item.is_latest)
        + xml.element("LastModified", iso_time(item.last_modified))
    )
    if item.delete_marker:
        return f"<DeleteMarker>{inner}{owner}</DeleteMarker>"
    inner += f"<ETag>&quot;{xml.escape(item.etag)}&quot;</ETag>{checksum_names(item.checksums)}<Size>{item.size}</Size>"
    return f"<Version>{inner}<StorageClass>STANDARD</StorageClass>{owner}</Version>"
