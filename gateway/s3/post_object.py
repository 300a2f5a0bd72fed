"""POST Object: a browser's form, authenticated by its policy before. The policy's conditions are checked here."""

from collections.abc import Callable
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from gateway.errors import BadRequest
from gateway.identity import checksums
from gateway.identity.post_policy import PostPolicy
from gateway.identity.request_head import RequestHead
from gateway.s3 import xml
from gateway.s3.body import MAX_OBJECT, parse_md5
from gateway.s3.call import Call, Headers
from gateway.s3.form import FormReader
from gateway.s3.multipart import location_of
from gateway.s3.not_implemented import check_owner, check_write
from gateway.s3.object_headers import content_type_of, metadata_of
from gateway.s3.ports import NO_CHECKSUMS, Checksums, WriteDigests, Written
from gateway.s3.put_object import written_headers
from gateway.s3.tags import parse_tagging_document

# Fields that are the form's own; every other field stands for the header of its name.
_OWN = frozenset(
    ("key", "policy", "file", "bucket", "success_action_status", "success_action_redirect", "redirect", "tagging",
     "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-security-token", "submit")
)  # fmt: skip
_HEADERS = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")


async def post_object(call: Call, form: FormReader, policy: PostPolicy) -> None:
    """`call` names the bucket, the form the key. Raises GatewayError; what refuses leaves nothing visible."""
    if not call.bucket or call.key:
        raise BadRequest("MethodNotAllowed", "a form is posted to a bucket", status=405)
    fields = dict(form.fields)
    if "key" not in fields:
        raise BadRequest("UserKeyMustBeSpecified", "the form must contain a field named key before its file")
    fields["key"] = fields["key"].replace("${filename}", _base_name(form.filename))
    policy.check(fields, call.bucket)
    if not form.has_file:
        raise BadRequest("IncorrectNumberOfFilesInPostRequest", "POST requires exactly one file upload per request")
    call = _as_put(call, fields)
    stated, md5 = _stated(call), parse_md5(call.header(b"content-md5"))
    tags = parse_tagging_document(fields["tagging"].encode()) if "tagging" in fields else None
    status, redirect = _success(fields)
    low, high = policy.length_range or (0, MAX_OBJECT)
    running = {name: checksums.new_checksum(name) for name in stated}
    size = 0
    async with call.face.guard.open_write(
        call.principal, call.object_ref, content_type=content_type_of(call), user_metadata=metadata_of(call),
        condition=None, request_id=call.request_id, tags=tags,
    ) as opened:  # fmt: skip
        async for piece in form.pieces():
            size += len(piece)
            if size > min(high, MAX_OBJECT):
                raise BadRequest("EntityTooLarge", "your proposed upload exceeds the maximum allowed size")
            for each in running.values():
                each.update(piece)
            await opened.write(piece)
        if size < low:
            raise BadRequest("EntityTooSmall", "your proposed upload is smaller than the minimum allowed size")
        for name, digest in stated.items():
            if running[name].digest() != digest:
                raise BadRequest("BadDigest", f"the {name.upper()} you specified did not match what we received")
        kept = Checksums({name: checksums.spell_checksum(d) for name, d in stated.items()}, "FULL_OBJECT")
        written = await opened.commit(_check(size, md5), kept if stated else NO_CHECKSUMS)
    await _reply(call, written, status, redirect)


def _check(size: int, md5: bytes | None) -> Callable[[WriteDigests], None]:
    def check(digests: WriteDigests) -> None:
        if digests.size != size:
            raise BadRequest("IncompleteBody", "fewer bytes were stored than were sent")
        if md5 is not None and digests.md5 != md5:
            raise BadRequest("BadDigest", "the Content-MD5 you specified did not match what we received")

    return check


def _as_put(call: Call, fields: dict[str, str]) -> Call:
    """The same call with the fields in place of headers, so that a form may ask for no more than a PUT may."""
    wire = []
    for field, value in fields.items():
        name = "x-amz-acl" if field == "acl" else field
        if name in _OWN or name.startswith("x-ignore-") or not name.startswith(("x-amz-", *_HEADERS, "content-md5")):
            continue
        if not value.isprintable():
            raise BadRequest("InvalidArgument", f"the field {name[:64]} holds characters a header cannot carry")
        wire.append((name.encode("latin-1", "replace"), value.encode("utf-8")))
    head = RequestHead.parse("POST", call.head.raw_path, b"", wire, secure=call.head.secure, source=call.head.source)
    made = Call(call.face, head, call.verified, call.bucket, fields["key"], call.answer)
    check_owner(made)
    check_write(made)
    return made


def _stated(call: Call) -> dict[str, bytes]:
    found = {}
    for name in checksums.ALGORITHMS:
        value = call.header((checksums.HEADER_PREFIX + name).encode("ascii"))
        if value is not None:
            found[name] = checksums.parse_checksum(name, value)
    if len(found) > 1:
        raise BadRequest("InvalidRequest", "more than one x-amz-checksum-* was sent; send one")
    return found


def _success(fields: dict[str, str]) -> tuple[int, str | None]:
    """200, 201 or 204 (any other value means 204, as S3 has it), and where to send the browser instead."""
    stated = fields.get("success_action_status", "")
    redirect = fields.get("success_action_redirect") or fields.get("redirect")
    if redirect is not None:
        parts = urlsplit(redirect)
        if parts.scheme not in ("http", "https") or not parts.netloc or not redirect.isascii():
            redirect = None
    return (int(stated) if stated in ("200", "201") else 204), redirect


async def _reply(call: Call, written: Written, status: int, redirect: str | None) -> None:
    headers: Headers = [*written_headers(written), (b"location", location_of(call).encode("ascii"))]
    if redirect is not None:
        parts = urlsplit(redirect)
        told = [("bucket", call.bucket), ("key", call.key), ("etag", f'"{written.etag}"')]
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *told], quote_via=quote)
        target = parts._replace(query=query).geturl()
        headers = [item for item in headers if item[0] != b"location"] + [(b"location", target.encode("ascii"))]
        await call.answer.reply(303, headers)
        return
    if status != 201:
        await call.answer.reply(status, headers)
        return
    inner = xml.element("Location", location_of(call)) + xml.element("Bucket", call.bucket)
    inner += xml.element("Key", call.key) + f"<ETag>&quot;{xml.escape(written.etag)}&quot;</ETag>"
    await call.answer.reply_xml(xml.document("PostResponse", inner, namespace=False), headers, status=201)


def _base_name(filename: str) -> str:
    """Some browsers send a whole path; S3 uses the name alone."""
    return filename.replace("\\", "/").rpartition("/")[2]
