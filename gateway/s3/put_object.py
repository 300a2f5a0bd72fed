"""PutObject: stream, seal, hash, then one commit that makes it visible."""

from gateway.s3.body import BodyReader
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.conditions import write_condition
from gateway.s3.object_headers import content_type_of, metadata_of
from gateway.s3.ports import Written


async def put_object(call: Call) -> None:
    body = BodyReader(call)
    async with call.face.guard.open_write(
        call.principal,
        call.object_ref,
        content_type=content_type_of(call),
        user_metadata=metadata_of(call),
        condition=write_condition(call.head),
        request_id=call.request_id,
    ) as opened:
        async for piece in body.pieces():
            await opened.write(piece)
        written = await opened.commit(body.check)
    await call.answer.reply(200, written_headers(written, body.computed))


def written_headers(written: Written, computed: dict[str, str]) -> Headers:
    headers: Headers = [(b"etag", b'"%s"' % written.etag.encode("ascii"))]
    if written.version_id is not None:
        headers.append((b"x-amz-version-id", written.version_id.encode("ascii")))
    found = {**computed, **written.checksums}
    headers += [(f"x-amz-checksum-{name}".encode("ascii"), value.encode("ascii")) for name, value in found.items()]
    if found:
        headers.append((b"x-amz-checksum-type", b"FULL_OBJECT"))
    return headers + decision_headers(written.decision_id)
