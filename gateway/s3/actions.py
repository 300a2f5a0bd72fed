"""Which operation a verified request asks for. One table; what is not in it is not implemented.

The authenticator of every action is the same and ran before: SigV4 by header or presigned. No action is reachable
without it, because `choose` takes a Call and a Call holds a VerifiedRequest.
"""

from collections.abc import Awaitable, Callable

from gateway.errors import BadRequest
from gateway.s3.acl import get_bucket_acl, get_object_acl, put_bucket_acl, put_object_acl
from gateway.s3.bucket import create_bucket, delete_bucket, get_bucket_location, head_bucket
from gateway.s3.bucket_versioning import get_bucket_versioning, put_bucket_versioning
from gateway.s3.call import Call
from gateway.s3.copy_object import copy_object, upload_part_copy
from gateway.s3.delete_object import delete_object
from gateway.s3.delete_objects import delete_objects
from gateway.s3.get_object import get_object
from gateway.s3.head_object import head_object
from gateway.s3.list_buckets import list_buckets
from gateway.s3.list_objects import list_objects, list_objects_v2
from gateway.s3.list_uploads import list_multipart_uploads, list_parts
from gateway.s3.list_versions import list_object_versions
from gateway.s3.multipart import (
    abort_multipart_upload,
    complete_multipart_upload,
    create_multipart_upload,
    upload_part,
)
from gateway.s3.not_implemented import SUBRESOURCES, check_no_customer_key, check_owner, check_write, not_implemented
from gateway.s3.object_attributes import get_object_attributes
from gateway.s3.object_tagging import delete_object_tagging, get_object_tagging, put_object_tagging
from gateway.s3.put_object import put_object

Action = Callable[[Call], Awaitable[None]]

# (level, method, subresources that must be present): exactly these, or the table has no answer.
_TABLE: dict[tuple[str, str, frozenset[str]], Action] = {
    ("service", "GET", frozenset()): list_buckets,
    ("bucket", "HEAD", frozenset()): head_bucket,
    ("bucket", "PUT", frozenset()): create_bucket,
    ("bucket", "DELETE", frozenset()): delete_bucket,
    ("bucket", "GET", frozenset()): list_objects,
    ("bucket", "GET", frozenset(("list-type",))): list_objects_v2,
    ("bucket", "GET", frozenset(("location",))): get_bucket_location,
    ("bucket", "GET", frozenset(("uploads",))): list_multipart_uploads,
    ("bucket", "GET", frozenset(("versions",))): list_object_versions,
    ("bucket", "GET", frozenset(("versioning",))): get_bucket_versioning,
    ("bucket", "PUT", frozenset(("versioning",))): put_bucket_versioning,
    ("bucket", "GET", frozenset(("acl",))): get_bucket_acl,
    ("bucket", "PUT", frozenset(("acl",))): put_bucket_acl,
    ("bucket", "POST", frozenset(("delete",))): delete_objects,
    ("object", "GET", frozenset()): get_object,
    ("object", "HEAD", frozenset()): head_object,
    ("object", "PUT", frozenset()): put_object,
    ("object", "DELETE", frozenset()): delete_object,
    ("object", "GET", frozenset(("acl",))): get_object_acl,
    ("object", "PUT", frozenset(("acl",))): put_object_acl,
    ("object", "GET", frozenset(("attributes",))): get_object_attributes,
    ("object", "GET", frozenset(("tagging",))): get_object_tagging,
    ("object", "PUT", frozenset(("tagging",))): put_object_tagging,
    ("object", "DELETE", frozenset(("tagging",))): delete_object_tagging,
    ("object", "GET", frozenset(("uploadId",))): list_parts,
    ("object", "PUT", frozenset(("uploadId",))): upload_part,
    ("object", "DELETE", frozenset(("uploadId",))): abort_multipart_upload,
    ("object", "POST", frozenset(("uploadId",))): complete_multipart_upload,
    ("object", "POST", frozenset(("uploads",))): create_multipart_upload,
}
# The same request with x-amz-copy-source is another operation.
_COPIES: dict[Action, Action] = {put_object: copy_object, upload_part: upload_part_copy}
_VERSIONED_WRITES = frozenset((delete_object, put_object_acl, put_object_tagging, delete_object_tagging))
_SELECTORS = {"service": SUBRESOURCES, "bucket": SUBRESOURCES | {"list-type"}, "object": SUBRESOURCES}
_METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


def choose(call: Call) -> Action:
    """Raises GatewayError: a method S3 does not have, a write that asks for what is not kept."""
    level = "object" if call.key else "bucket" if call.bucket else "service"
    method = call.head.method
    if method not in _METHODS:
        raise BadRequest("MethodNotAllowed", "the specified method is not allowed against this resource", status=405)
    selected = frozenset(name for name, _ in call.head.query if name in _SELECTORS[level])
    action = _TABLE.get((level, method, selected))
    if action is None:
        return not_implemented
    if method == "PUT" and level == "object" and call.amz("x-amz-copy-source") is not None:
        action = _COPIES.get(action, action)
    check_owner(call)
    check_no_customer_key(call)
    if method in ("PUT", "POST", "DELETE"):
        check_write(call, copies=action in _COPIES.values(), deletes=action is delete_object)
        if action not in _VERSIONED_WRITES and call.parameter("versionId") is not None:
            raise BadRequest("InvalidArgument", "this operation does not take a versionId")
    return action
