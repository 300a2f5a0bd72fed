"""GetBucketAcl, GetObjectAcl, PutBucketAcl, PutObjectAcl: there is one list, and it never changes.

The tenant owns everything and holds FULL_CONTROL; who may read what is the doctrine's to say. Clients that ask (s3cmd,
rclone, sync tools) get that answer. What asks for this list is taken; what asks for another is refused by name.
"""

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.body import read_document
from gateway.s3.call import Call, Headers, decision_headers
from gateway.s3.list_objects import owner_line
from gateway.s3.not_implemented import refuse_acl

_MAX_BYTES = 64 << 10
_TYPED = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"'


async def get_bucket_acl(call: Call) -> None:
    await call.face.guard.head_dataset(call.principal, call.dataset_ref)
    await _reply(call, [])


async def get_object_acl(call: Call) -> None:
    await _reply(call, await _decide_about_object(call))


async def put_bucket_acl(call: Call) -> None:
    await _check_asked(call)
    await call.face.guard.head_dataset(call.principal, call.dataset_ref)
    await call.answer.reply(200, [])


async def put_object_acl(call: Call) -> None:
    """Changes nothing, so seeing the object is enough. Raises BadRequest "AccessControlListNotSupported"."""
    await _check_asked(call)
    await call.answer.reply(200, await _decide_about_object(call))


async def _decide_about_object(call: Call) -> Headers:
    """Whether there is such an object is a question about data, so it is decided and recorded as a HEAD is."""
    async with call.face.guard.open_read(
        call.principal, call.object_ref, action="head", require_view=None, request_id=call.request_id
    ) as opened:
        return decision_headers(opened.decision_id, opened.view, opened.promise)


async def _check_asked(call: Call) -> None:
    """A canned list by header (`check_write` has looked at it), or a document that says what is so already."""
    document = await read_document(call, _MAX_BYTES)
    if call.amz("x-amz-acl") is not None:
        if document.strip():
            raise BadRequest("InvalidRequest", "send either x-amz-acl or an AccessControlPolicy document, not both")
        return
    root = xml.parse(document, "AccessControlPolicy", _MAX_BYTES)
    lists = root.all("AccessControlList")
    if len(lists) != 1:
        raise xml.malformed("one AccessControlList")
    owners = [owner.value("ID") for owner in root.all("Owner")]
    grants = lists[0].all("Grant")
    own = call.principal.tenant
    if not grants or any(owner != own for owner in owners) or any(not _says_full_control(each, own) for each in grants):
        raise refuse_acl()


def _says_full_control(grant: xml.Element, own: str) -> bool:
    grantees = grant.all("Grantee")
    return len(grantees) == 1 and grantees[0].value("ID") == own and grant.value("Permission") == "FULL_CONTROL"


async def _reply(call: Call, headers: Headers) -> None:
    own = xml.element("ID", call.principal.tenant) + xml.element("DisplayName", call.principal.tenant)
    grant = f"<Grant><Grantee {_TYPED}>{own}</Grantee><Permission>FULL_CONTROL</Permission></Grant>"
    inner = f"{owner_line(call.principal.tenant)}<AccessControlList>{grant}</AccessControlList>"
    await call.answer.reply_xml(xml.document("AccessControlPolicy", inner), headers)
