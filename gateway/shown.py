"""What an answer shows of a row: a version's name, when it was modified, its checksums; and what is not there."""

from gateway.errors import BadRequest, GatewayError, NotFound
from gateway.guard import Admission
from gateway.identity.principal import Principal
from gateway.s3.ports import NO_CHECKSUMS, Checksums
from vault.broker.types import Grant
from vault.catalog.rows import DatasetRow, VersionRow, ViewRow


def here(admission: Admission) -> DatasetRow:
    """The dataset of an admission. Raises NotFound("NoSuchBucket")."""
    row = admission.facts.dataset
    if row is None:
        raise NotFound("NoSuchBucket", "No dataset of that name is here for you", decision_id=admission.decision_id)
    return row


def grant_of(principal: Principal, admission: Admission) -> Grant:
    """What the broker is shown for a key: the promised intent."""
    return Grant(
        entry=admission.entry, promise=admission.promise.encode(),
        session_id=principal.session.session_id if principal.session else None,
    )  # fmt: skip


def shown_version(dataset: DatasetRow, version: VersionRow) -> str | None:
    """None where the dataset shows no versions, "null" for the null version, else the id."""
    if dataset.versioning == "off" and version.is_null:
        return None
    return "null" if version.is_null else version.version_id


def modified(row: VersionRow | ViewRow) -> int:
    """ms; a view is as new as its rendering."""
    return (row.ready_at or row.created_at) if isinstance(row, ViewRow) else row.created_at


def kept_checksums(row: VersionRow | ViewRow) -> Checksums:
    """Of the object as it was written. A view has none: they would tell whose bytes it was made of."""
    if isinstance(row, ViewRow) or not row.checksums:
        return NO_CHECKSUMS
    values = dict(row.checksums)
    return Checksums(values, values.pop("type", ""))


def absent(admission: Admission, version_id: str | None) -> GatewayError:
    """Why there is nothing to read: no key, no such version, or a delete marker, as S3 tells them apart."""
    facts = admission.facts
    marker = facts.marker
    if marker is None or facts.dataset is None or admission.allow.view == "masked":
        code = "NoSuchKey" if version_id is None else "NoSuchVersion"
        return NotFound(code, "No object of that key is here", decision_id=admission.decision_id)
    headers = {"x-amz-delete-marker": "true", "x-amz-version-id": shown_version(facts.dataset, marker) or "null"}
    if version_id is None:
        return NotFound(
            "NoSuchKey", "This object is deleted", decision_id=admission.decision_id, headers=headers,
            remedy="its older versions can be read by their ids",
        )  # fmt: skip
    return BadRequest(
        "MethodNotAllowed", "A delete marker has nothing to read", status=405, decision_id=admission.decision_id,
        headers=headers,
    )  # fmt: skip
