"""PutObject: stream, seal, hash, then one commit that makes it visible."""

from gateway.errors import BadRequest
from gateway.s3.body import BodyReader
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.conditions import write_condition
from gateway.s3.object_headers import content_type_of, metadata_of, tags_of
from gateway.s3.ports import Written
from gateway.s3.stored_checksums import checksum_headers


async def put_object(call: Call) -> None:
    if call.parameter("partNumber") is not None:
        raise BadRequest("InvalidArgument", "partNumber needs an uploadId")
    body = BodyReader(call)
    async with call.face.guard.open_write(
        call.principal,
        call.object_ref,
        content_type=content_type_of(call),
        user_metadata=metadata_of(call),
        condition=write_condition(call.head),
        request_id=call.request_id,
        tags=tags_of(call),
    ) as opened:
        async for piece in body.pieces():
            await opened.write(piece)
        written = await opened.commit(body.check, body.verified)
    await call.answer.reply(200, written_headers(written))


def new_version_headers(version_id: str | None) -> Headers:
    """A write names the version it made; the null version, which the next write replaces, is not named (as S3)."""
    return [] if version_id in (None, "null") else [(b"x-amz-version-id", str(version_id).encode("ascii"))]


def written_headers(written: Written) -> Headers:
    headers: Headers = [(b"etag", b'"%s"' % written.etag.encode("ascii")), *new_version_headers(written.version_id)]
    return headers + checksum_headers(written.checksums) + decision_headers(written.decision_id)
