"""DeleteObjects: up to a thousand keys in one request, each decided and answered by itself."""

from gateway.errors import BadRequest, GatewayError
from gateway.s3 import xml
from gateway.s3.body import read_document
from gateway.s3.call import Call, check_version_id
from gateway.s3.conditions import delete_condition_of
from gateway.s3.delete_object import delete_one
from gateway.s3.errors import name_refused, s3_failure
from gateway.s3.ports import DeleteCondition, Deleted
from vault.errors import Refused
from vault.ref import ObjectRef

MAX_KEYS = 1000
MAX_BYTES = 2 << 20


async def delete_objects(call: Call) -> None:
    root = xml.parse(await read_document(call, MAX_BYTES), "Delete", MAX_BYTES)
    quiet = (root.value("Quiet") or "false").strip().lower() == "true"
    targets = [_target(item) for item in root.all("Object")]
    if not 1 <= len(targets) <= MAX_KEYS:
        raise xml.malformed(f"1 to {MAX_KEYS} Object elements")
    lines = []
    for key, version_id, condition in targets:
        try:
            _check_version(version_id)
            ref = ObjectRef(call.principal.tenant, call.face.zone, call.bucket, key, version_id)
            deleted = await delete_one(call, ref, condition)
        except Refused as error:
            lines.append(_failed(key, version_id, name_refused(error)))
        except GatewayError as error:
            if s3_failure(error).code == "NoSuchBucket":
                raise
            lines.append(_failed(key, version_id, error))
        else:
            if not quiet:
                lines.append(_deleted(key, version_id, deleted))
    await call.answer.reply_xml(xml.document("DeleteResult", "".join(lines)))


def _target(item: xml.Element) -> tuple[str, str | None, DeleteCondition | None]:
    key = item.value("Key")
    if key is None:
        raise xml.malformed("an Object without a Key")
    condition = delete_condition_of(item.value("ETag"), item.value("LastModifiedTime"), item.value("Size"))
    return key, item.value("VersionId") or None, condition


def _check_version(version_id: str | None) -> None:
    """A version id that cannot be one is an absent version of that key, not a refusal of the whole request."""
    if version_id is not None:
        try:
            check_version_id(version_id)
        except BadRequest:
            raise BadRequest("NoSuchVersion", "the specified version does not exist") from None


def _deleted(key: str, version_id: str | None, deleted: Deleted) -> str:
    inner = xml.element("Key", key)
    if version_id is not None:
        inner += xml.element("VersionId", version_id)
    if deleted.delete_marker:
        inner += xml.element("DeleteMarker", True)
        if deleted.version_id is not None:
            inner += xml.element("DeleteMarkerVersionId", deleted.version_id)
    return f"<Deleted>{inner}</Deleted>"


def _failed(key: str, version_id: str | None, error: GatewayError) -> str:
    failure = s3_failure(error)
    inner = xml.element("Key", key)
    if version_id is not None:
        inner += xml.element("VersionId", version_id)
    return f"<Error>{inner}{xml.element('Code', failure.code)}{xml.element('Message', failure.message)}</Error>"
