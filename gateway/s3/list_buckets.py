"""ListBuckets: the datasets this caller may know of."""

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.call import Call
from gateway.s3.times import iso_time

MAX_BUCKETS = 10_000


async def list_buckets(call: Call) -> None:
    prefix = call.parameter("prefix") or ""
    after = call.parameter("continuation-token") or ""
    limit = _limit(call.parameter("max-buckets"))
    found = sorted(await call.face.guard.list_datasets(call.principal))
    names = [(name, created) for name, created in found if name.startswith(prefix) and name > after]
    page = names[:limit]
    lines = "".join(
        f"<Bucket>{xml.element('Name', name)}<CreationDate>{iso_time(created)}</CreationDate>"
        f"{xml.element('BucketRegion', call.face.region)}</Bucket>"
        for name, created in page
    )
    owner = f"<Owner>{xml.element('ID', call.principal.tenant)}</Owner>"
    inner = f"{owner}<Buckets>{lines}</Buckets>"
    if len(names) > limit:
        inner += xml.element("ContinuationToken", page[-1][0])
    if prefix:
        inner += xml.element("Prefix", prefix)
    await call.answer.reply_xml(xml.document("ListAllMyBucketsResult", inner))


def _limit(stated: str | None) -> int:
    if stated is None:
        return MAX_BUCKETS
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 5) or not 1 <= int(stated) <= MAX_BUCKETS:
        raise BadRequest("InvalidArgument", f"max-buckets must be between 1 and {MAX_BUCKETS}")
    return int(stated)
