"""GetObjectTagging, PutObjectTagging, DeleteObjectTagging: of the latest version, or of the one that is named."""

from gateway.s3.body import read_document
from gateway.s3.call import Call, Headers
from gateway.s3.ports import Tags
from gateway.s3.tags import MAX_BYTES, parse_tagging_document, render_tagging


async def get_object_tagging(call: Call) -> None:
    found = await call.face.guard.get_tags(call.principal, call.object_ref, call.request_id)
    await call.answer.reply_xml(render_tagging(found.tags), _version_headers(found))


async def put_object_tagging(call: Call) -> None:
    tags = parse_tagging_document(await read_document(call, MAX_BYTES))
    kept = await call.face.guard.put_tags(call.principal, call.object_ref, tags, call.request_id)
    await call.answer.reply(200, _version_headers(kept))


async def delete_object_tagging(call: Call) -> None:
    kept = await call.face.guard.put_tags(call.principal, call.object_ref, {}, call.request_id)
    await call.answer.reply(204, _version_headers(kept))


def _version_headers(tags: Tags) -> Headers:
    return [] if tags.version_id is None else [(b"x-amz-version-id", tags.version_id.encode("ascii"))]
