"""DeleteObjects: up to a thousand keys in one request, each decided and answered by itself."""

import asyncio
from collections.abc import Iterator
from typing import TypeAlias

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
AT_ONCE = 16  # deletes of one request that are under way together: they share the ledger's commits

Target: TypeAlias = tuple[str, str | None, DeleteCondition | None]


async def delete_objects(call: Call) -> None:
    root = xml.parse(await read_document(call, MAX_BYTES), "Delete", MAX_BYTES)
    quiet = (root.value("Quiet") or "false").strip().lower() == "true"
    targets = [_target(item) for item in root.all("Object")]
    if not 1 <= len(targets) <= MAX_KEYS:
        raise xml.malformed(f"1 to {MAX_KEYS} Object elements")
    lines: list[str] = []
    for batch in _batches(targets):
        for line in await asyncio.gather(*(_answer(call, target, quiet=quiet) for target in batch)):
            if isinstance(line, GatewayError):
                raise line
            lines.append(line)
    await call.answer.reply_xml(xml.document("DeleteResult", "".join(lines)))


def _batches(targets: list[Target]) -> Iterator[list[Target]]:
    """Some at a time, because each waits for the ledger; never two of one key, which must happen in their order."""
    batch: list[Target] = []
    for target in targets:
        if len(batch) == AT_ONCE or any(target[0] == other[0] for other in batch):
            yield batch
            batch = []
        batch.append(target)
    if batch:
        yield batch


async def _answer(call: Call, target: Target, *, quiet: bool) -> str | GatewayError:
    """One line of the answer; the refusal itself when it concerns the whole request."""
    key, version_id, condition = target
    try:
        _check_version(version_id)
        ref = ObjectRef(call.principal.tenant, call.face.zone, call.bucket, key, version_id)
        deleted = await delete_one(call, ref, condition)
    except Refused as error:
        return _failed(key, version_id, name_refused(error))
    except GatewayError as error:
        return error if s3_failure(error).code == "NoSuchBucket" else _failed(key, version_id, error)
    return "" if quiet else _deleted(key, version_id, deleted)


def _target(item: xml.Element) -> Target:
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
