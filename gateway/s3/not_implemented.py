"""What this dialect does not do, said properly, and before anything is written.

A subresource or header that is quietly ignored is worse than a refusal: `PUT key?acl` would overwrite the object,
a copy would store an empty one, a tag would be lost.
"""

import re
from typing import Final

from gateway.errors import BadRequest, Denied
from gateway.s3.call import Call

# Query parameters that select another operation of S3. Present on any request that does not implement it: 501.
SUBRESOURCES: Final = frozenset(
    (
        "abac", "accelerate", "acl", "analytics", "annotation", "annotations", "attributes", "cors", "delete",
        "encryption", "intelligent-tiering", "inventory", "legal-hold", "lifecycle", "location", "logging",
        "metadataAnnotationTable", "metadataConfiguration", "metadataInventoryTable", "metadataJournalTable",
        "metadataTable", "metrics", "notification", "object-lock", "ownershipControls", "policy", "policyStatus",
        "publicAccessBlock", "renameObject", "replication", "requestPayment", "restore", "retention", "select",
        "session", "tagging", "torrent", "uploadId", "uploads", "versioning", "versions", "website",
    )
)  # fmt: skip

_WRITE_PARAMETERS = frozenset(
    ("x-id", "uploadId", "partNumber", "uploads", "delete", "versionId", "tagging", "versioning", "acl")
)
_WRITE_HEADERS = re.compile(
    r"x-amz-(meta-.*|checksum-(crc32|crc32c|crc64nvme|sha1|sha256|algorithm|type)|content-sha256|date|security-token"
    r"|api-version|decoded-content-length|trailer|te|sdk-checksum-algorithm|user-agent|request-payer|mp-object-size"
    r"|acl|storage-class|server-side-encryption|expected-bucket-owner|bucket-region|tagging|bypass-governance-retention"
    r"|bucket-object-lock-enabled"
    r"|algorithm|credential|expires|signedheaders|signature)"
)
# What only one operation takes; on another write it would be lost, so there it refuses.
_COPY_HEADERS = re.compile(
    r"x-amz-(copy-source(-range|-if-(match|none-match|modified-since|unmodified-since))?"
    r"|metadata-directive|tagging-directive|source-expected-bucket-owner)"
)
_DELETE_HEADERS = re.compile(r"x-amz-if-match-(last-modified-time|size)")
_PRIVATE_ACLS = (None, "private", "bucket-owner-full-control")
_CANNED_ACLS = ("public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read")


def refuse(what: str) -> BadRequest:
    return BadRequest("NotImplemented", f"{what} is not implemented here; see docs/spec/s3-subset.md", status=501)


async def not_implemented(call: Call) -> None:
    """Any other operation of S3."""
    names = sorted({name for name, _ in call.head.query if name in SUBRESOURCES})
    what = f"{call.head.method} ?{names[0]}" if names else f"{call.head.method} on this resource"
    raise refuse(what)


def check_owner(call: Call) -> None:
    """x-amz-expected-bucket-owner, and of a copy's source: the caller's own tenant is the only owner there is."""
    for name in ("x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"):
        expected = call.amz(name)
        if expected is not None and expected != call.principal.tenant:
            raise Denied("AccessDenied", "the bucket is not owned by the expected owner")


def check_no_customer_key(call: Call) -> None:
    """SSE-C on a read, too: whoever sends a key believes that the object was sealed with it."""
    if any("server-side-encryption-customer" in name for name in call.amz_names()):
        raise refuse("encryption with a key of the client (SSE-C)")


def check_write(call: Call, *, copies: bool = False, deletes: bool = False) -> None:
    """Refuse a write that asks for more than this dialect keeps. Closed: an unknown name refuses."""
    for name, _ in call.head.query:
        if name not in _WRITE_PARAMETERS and not name.lower().startswith("x-amz-"):
            raise refuse(f"the query parameter '{name[:64]}' on a write")
    for name in call.amz_names():
        if name.startswith("x-amz-grant-"):
            raise refuse_acl()
        known = _WRITE_HEADERS.fullmatch(name)
        if not (known or (copies and _COPY_HEADERS.fullmatch(name)) or (deletes and _DELETE_HEADERS.fullmatch(name))):
            raise refuse(f"the header {name[:64]}")
    acl = call.amz("x-amz-acl")
    if acl not in _PRIVATE_ACLS and not (call.face.ignores_acls and acl in _CANNED_ACLS):
        raise refuse_acl()
    if call.amz("x-amz-server-side-encryption") not in (None, "AES256"):
        raise refuse("another encryption than the sealing every object has")
    if (call.amz("x-amz-bucket-object-lock-enabled") or "false").lower() != "false":  # rclone sends false
        raise refuse("object lock")
    if call.amz("x-amz-storage-class") not in (None, "STANDARD"):
        raise BadRequest("InvalidStorageClass", "the only storage class is STANDARD")


def refuse_acl() -> BadRequest:
    """Whoever asks for a public or shared object must hear that it is not."""
    return BadRequest(
        "AccessControlListNotSupported", "the bucket does not allow ACLs; the doctrine alone decides who may read"
    )
