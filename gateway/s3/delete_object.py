"""DeleteObject: the latest (a marker where versions are kept), or one version for good."""

from gateway.errors import NotFound
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.conditions import delete_condition
from gateway.s3.errors import s3_failure
from gateway.s3.ports import DeleteCondition, Deleted
from vault.ref import ObjectRef


async def delete_object(call: Call) -> None:
    ref = call.object_ref
    deleted = await delete_one(call, ref, delete_condition(call.head))
    headers: Headers = decision_headers(deleted.decision_id)
    if deleted.delete_marker:
        headers.append((b"x-amz-delete-marker", b"true"))
    version_id = deleted.version_id if deleted.version_id is not None else ref.version_id
    if version_id is not None:
        headers.append((b"x-amz-version-id", version_id.encode("ascii")))
    await call.answer.reply(204, headers)


async def delete_one(call: Call, ref: ObjectRef, condition: DeleteCondition | None) -> Deleted:
    """Deleting what is not there succeeds, as S3 has it (whatever its ETag was to be); an absent bucket is an error."""
    try:
        return await call.face.guard.delete(call.principal, ref, call.request_id, condition)
    except NotFound as error:
        if s3_failure(error).code in ("NoSuchKey", "NoSuchVersion"):
            return Deleted(delete_marker=False)
        raise
