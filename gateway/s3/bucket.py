"""A bucket is a dataset of the caller's tenant: Head, Create, Delete, GetBucketLocation."""

from gateway.errors import BadRequest, Conflict
from gateway.s3 import xml
from gateway.s3.body import read_document
from gateway.s3.call import Call

_MAX_BYTES = 8192
_CONFIGURATION = "CreateBucketConfiguration"


async def head_bucket(call: Call) -> None:
    await call.face.guard.head_dataset(call.principal, call.dataset_ref)
    region = (b"x-amz-bucket-region", call.face.region.encode("ascii"))
    await call.answer.reply(200, [region, (b"content-type", b"application/xml")])


async def create_bucket(call: Call) -> None:
    """The location, if one is named, must be this zone: a dataset is made where it is asked for, or not at all.

    Making an own bucket again without naming a location succeeds, as in S3's default region; with one it is a conflict.
    """
    document = await read_document(call, _MAX_BYTES)
    location = ""
    if document.strip():
        root = xml.parse(document, _CONFIGURATION, _MAX_BYTES)
        location = (root.value("LocationConstraint") or "").strip()
        if location and location != call.face.region:
            raise BadRequest(
                "IllegalLocationConstraintException",
                f"this endpoint makes buckets in {call.face.region} only, not in '{location[:64]}'",
                remedy="ask the endpoint of that zone",
            )
    try:
        await call.face.guard.create_dataset(call.principal, call.dataset_ref, call.request_id)
    except Conflict as error:
        if error.code != "BucketAlreadyOwnedByYou" or location:
            raise
    await call.answer.reply(200, [(b"location", b"/" + call.bucket.encode("ascii"))])


async def delete_bucket(call: Call) -> None:
    await call.face.guard.delete_dataset(call.principal, call.dataset_ref, call.request_id)
    await call.answer.reply(204, [])


async def get_bucket_location(call: Call) -> None:
    location = await call.face.guard.dataset_location(call.principal, call.dataset_ref)
    await call.answer.reply_xml(xml.document("LocationConstraint", xml.escape(location)))
