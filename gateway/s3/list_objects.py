"""ListObjects, versions 1 and 2. One page is one decision; every size and ETag is the caller's view."""

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import quote

from gateway.errors import BadRequest
from gateway.s3 import xml
from gateway.s3.call import Call, decision_headers
from gateway.s3.ports import Checksums, ListedObject, Listing
from gateway.s3.times import iso_time

MAX_KEYS = 1000


@dataclass(frozen=True, slots=True)
class _Page:
    prefix: str
    delimiter: str
    after: str
    limit: int
    encode: bool

    def spell(self, text: str) -> str:
        """Keys as the client asked for them: percent-encoded with '/' kept, or as they are."""
        return spelled(text, self.encode)


async def list_objects(call: Call) -> None:
    """ListObjects (V1)."""
    marker = call.parameter("marker") or ""
    page = _page(call, after=marker)
    listing = await _list(call, page)
    lines = [
        xml.element("Name", call.bucket),
        xml.element("Prefix", page.prefix),  # never encoded in version 1: botocore does not decode it there
        xml.element("Marker", page.spell(marker)),
    ]
    if listing.truncated and page.delimiter and listing.last is not None:
        lines.append(xml.element("NextMarker", page.spell(listing.last)))
    await _reply(call, page, listing, lines, with_owner=True)


async def list_objects_v2(call: Call) -> None:
    """ListObjectsV2."""
    if call.parameter("list-type") != "2":
        raise BadRequest("InvalidArgument", "list-type must be 2")
    token = call.parameter("continuation-token")
    start_after = call.parameter("start-after")
    page = _page(call, after=_open_token(token) if token else start_after or "")
    listing = await _list(call, page)
    lines = [
        xml.element("Name", call.bucket),
        xml.element("Prefix", page.spell(page.prefix)),
        xml.element("KeyCount", str(len(listing.objects) + len(listing.common_prefixes))),
    ]
    if token is not None:
        lines.append(xml.element("ContinuationToken", token))
    if start_after is not None:
        lines.append(xml.element("StartAfter", page.spell(start_after)))
    if listing.truncated and listing.last is not None:
        lines.append(xml.element("NextContinuationToken", _seal_token(listing.last)))
    with_owner = (call.parameter("fetch-owner") or "").lower() == "true"
    await _reply(call, page, listing, lines, with_owner=with_owner)


def page_limit(call: Call, name: str, default: int = MAX_KEYS) -> int:
    """max-keys and its like: 0 to `default`; more is read as `default`. Raises BadRequest "InvalidArgument"."""
    stated = call.parameter(name)
    if stated is None or stated == "":
        return default
    if not (stated.isascii() and stated.isdigit() and len(stated) <= 10) or int(stated) > 2**31 - 1:
        raise BadRequest("InvalidArgument", f"{name} must be an integer between 0 and 2147483647")
    return min(int(stated), default)


def spelled(text: str, encode: bool) -> str:
    """A key, prefix or delimiter as encoding-type=url asks for it ('+' is %2B, a space %20), or as it is."""
    return quote(text, safe="/*") if encode else text


def encodes(call: Call) -> bool:
    stated = call.parameter("encoding-type")
    if stated not in (None, "", "url"):
        raise BadRequest("InvalidArgument", "invalid encoding method specified in request; encoding-type must be url")
    return stated == "url"


def _page(call: Call, *, after: str) -> _Page:
    return _Page(
        prefix=call.parameter("prefix") or "",
        delimiter=call.parameter("delimiter") or "",
        after=after,
        limit=page_limit(call, "max-keys"),
        encode=encodes(call),
    )


async def _list(call: Call, page: _Page) -> Listing:
    if page.limit == 0:  # still a question about the bucket, so still decided
        await call.face.guard.head_dataset(call.principal, call.dataset_ref)
        return Listing((), (), truncated=False, last=None)
    return await call.face.guard.list_objects(
        call.principal,
        call.dataset_ref,
        prefix=page.prefix,
        delimiter=page.delimiter,
        after=page.after,
        limit=page.limit,
        request_id=call.request_id,
    )


async def _reply(call: Call, page: _Page, listing: Listing, lines: list[str], *, with_owner: bool) -> None:
    lines.append(xml.element("MaxKeys", str(page.limit)))
    if page.delimiter:
        lines.append(xml.element("Delimiter", page.spell(page.delimiter)))
    lines.append(xml.element("IsTruncated", listing.truncated))
    if page.encode:
        lines.append(xml.element("EncodingType", "url"))
    owner = owner_line(call.principal.tenant) if with_owner else ""
    lines += [_contents(page, item, owner) for item in listing.objects]
    lines += [
        f"<CommonPrefixes>{xml.element('Prefix', page.spell(prefix))}</CommonPrefixes>"
        for prefix in listing.common_prefixes
    ]
    headers = decision_headers(listing.decision_id, listing.view, listing.promise)
    await call.answer.reply_xml(xml.document("ListBucketResult", "".join(lines)), headers)


def _contents(page: _Page, item: ListedObject, owner: str) -> str:
    return (
        f"<Contents>{xml.element('Key', page.spell(item.key))}"
        f"<LastModified>{iso_time(item.last_modified)}</LastModified>"
        f"<ETag>&quot;{xml.escape(item.etag)}&quot;</ETag>{checksum_names(item.checksums)}<Size>{item.size}</Size>"
        f"<StorageClass>STANDARD</StorageClass>{owner}</Contents>"
    )


def owner_line(tenant: str) -> str:
    """The tenant is the only owner there is; which of its people wrote an object is not a listing's to tell."""
    return f"<Owner>{xml.element('ID', tenant)}{xml.element('DisplayName', tenant)}</Owner>"


def checksum_names(checksums: Checksums) -> str:
    """Listings name the algorithms and the type, not the values."""
    names = "".join(xml.element("ChecksumAlgorithm", name.upper()) for name in checksums.values)
    return names + (xml.element("ChecksumType", checksums.type) if checksums.type and names else "")


def _seal_token(last: str) -> str:
    """Opaque, not secret: it names a key the client has just been shown, and is decided again when it comes back."""
    return "1" + base64.urlsafe_b64encode(last.encode("utf-8")).decode("ascii")


def _open_token(token: str) -> str:
    wrong = BadRequest("InvalidArgument", "the continuation token provided is incorrect")
    if not token.startswith("1"):
        raise wrong
    try:
        return base64.b64decode(token[1:], altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise wrong from None
