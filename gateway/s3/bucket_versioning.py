"""GetBucketVersioning and PutBucketVersioning. MFA delete is not offered: nobody here holds an AWS MFA device."""

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.body import read_document
from gateway.s3.call import Call
from gateway.s3.not_implemented import refuse

_MAX_BYTES = 8192
_STATES = {"Enabled": "enabled", "Suspended": "suspended"}
_NAMES = {state: name for name, state in _STATES.items()}


async def get_bucket_versioning(call: Call) -> None:
    """A dataset that never had versions answers an empty document, as S3 does."""
    state = await call.face.guard.get_versioning(call.principal, call.dataset_ref)
    inner = xml.element("Status", _NAMES[state]) if state in _NAMES else ""
    await call.answer.reply_xml(xml.document("VersioningConfiguration", inner))


async def put_bucket_versioning(call: Call) -> None:
    """Raises BadRequest "MalformedXML", "IllegalVersioningConfigurationException", "NotImplemented"."""
    root = xml.parse(await read_document(call, _MAX_BYTES), "VersioningConfiguration", _MAX_BYTES)
    if (root.value("MfaDelete") or "Disabled").strip() != "Disabled":
        raise refuse("MFA delete")
    status = root.value("Status")
    if status is None:
        raise BadRequest("IllegalVersioningConfigurationException", "the Versioning element must be specified")
    state = _STATES.get(status.strip())
    if state is None:
        raise xml.malformed("Status is Enabled or Suspended")
    await call.face.guard.set_versioning(call.principal, call.dataset_ref, state, call.request_id)
    await call.answer.reply(200, [])
