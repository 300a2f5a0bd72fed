"""DeleteObject."""

from gateway.errors import NotFound
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.conditions import write_condition
from gateway.s3.errors import s3_failure
from gateway.s3.not_implemented import refuse
from gateway.s3.ports import Deleted
from vault.ref import ObjectRef


async def delete_object(call: Call) -> None:
    if write_condition(call.head) is not None:
        raise refuse("a conditional delete")
    deleted = await delete_one(call, call.object_ref)
    headers: Headers = decision_headers(deleted.decision_id)
    if deleted.delete_marker:
        headers.append((b"x-amz-delete-marker", b"true"))
    if deleted.version_id is not None:
        headers.append((b"x-amz-version-id", deleted.version_id.encode("ascii")))
    await call.answer.reply(204, headers)


async def delete_one(call: Call, ref: ObjectRef) -> Deleted:
    """Deleting what is not there succeeds, as S3 has it; a bucket that is not there is still an error."""
    try:
        return await call.face.guard.delete(call.principal, ref, call.request_id)
    except NotFound as error:
        if s3_failure(error).code in ("NoSuchKey", "NoSuchVersion"):
            return Deleted(delete_marker=False)
        raise
