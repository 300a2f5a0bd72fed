"""CopyObject and UploadPartCopy. The guard decides about source and target; a copy of an own dataset moves no byte."""

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.body import read_document
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.conditions import write_condition
from gateway.s3.copy_source import copy_source, source_check, source_span
from gateway.s3.multipart import part_number_of, upload_id_of
from gateway.s3.object_headers import content_type_of, metadata_of
from gateway.s3.ports import Copied
from gateway.s3.put_object import new_version_headers
from gateway.s3.stored_checksums import checksum_lines, copy_algorithm
from gateway.s3.tags import parse_tagging_header
from gateway.s3.times import iso_time
from vault.ref import ObjectRef


async def copy_object(call: Call) -> None:
    await read_document(call, 1024)
    source, target = copy_source(call), call.object_ref
    replace_metadata = _directive(call, "x-amz-metadata-directive")
    replace_tags = _directive(call, "x-amz-tagging-directive")
    algorithm = copy_algorithm(call)
    if source == target and not (replace_metadata or algorithm):
        raise BadRequest(
            "InvalidRequest",
            "this copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes",
        )
    copied = await call.face.guard.copy_object(
        call.principal,
        source,
        target,
        content_type=content_type_of(call) if replace_metadata else None,
        user_metadata=metadata_of(call) if replace_metadata else None,
        tags=(parse_tagging_header(call.amz("x-amz-tagging")) or {}) if replace_tags else None,
        check_source=source_check(call),
        condition=write_condition(call.head),
        checksum_algorithm=algorithm,
        request_id=call.request_id,
    )
    await _reply(call, "CopyObjectResult", copied)


async def upload_part_copy(call: Call) -> None:
    await read_document(call, 1024)
    target = call.object_ref
    copied = await call.face.guard.copy_part(
        call.principal,
        copy_source(call),
        source_span(call),
        ObjectRef(target.tenant, target.zone, target.dataset, target.key),
        upload_id_of(call),
        part_number_of(call),
        check_source=source_check(call),
        request_id=call.request_id,
    )
    await _reply(call, "CopyPartResult", copied)


async def _reply(call: Call, root: str, copied: Copied) -> None:
    headers: Headers = decision_headers(copied.decision_id) + new_version_headers(copied.version_id)
    if copied.source_version_id is not None:
        headers.append((b"x-amz-copy-source-version-id", copied.source_version_id.encode("ascii")))
    inner = xml.element("LastModified", iso_time(copied.last_modified))
    inner += f"<ETag>&quot;{xml.escape(copied.etag)}&quot;</ETag>{checksum_lines(copied.checksums)}"
    await call.answer.reply_xml(xml.document(root, inner), headers)


def _directive(call: Call, name: str) -> bool:
    """Whether it says REPLACE. Raises BadRequest "InvalidArgument" for anything but COPY and REPLACE."""
    stated = call.amz(name)
    if stated not in (None, "COPY", "REPLACE"):
        raise BadRequest("InvalidArgument", f"unknown {name.removeprefix('x-amz-')}; it is COPY or REPLACE")
    return stated == "REPLACE"
