"""multipart/form-data as it arrives (RFC 7578): the fields before the file, whole and bounded; then the file, streamed.

S3 takes the file last and ignores what follows it. Nothing of the form is believed before its policy was verified.
"""

import re
from collections.abc import AsyncIterator
from email.message import Message

from gateway.errors import BadRequest
from gateway.identity.request_head import RequestHead
from gateway.s3.body import Arrival

MAX_FIELDS_BYTES = 20 << 10  # S3's limit for everything before the file
MAX_FIELDS = 100
MAX_PART_HEAD = 4096
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


def form_boundary(head: RequestHead) -> bytes | None:
    """The boundary of a form upload, or None when this request is none. Raises BadRequest "MalformedPOSTRequest"."""
    stated = head.header(b"content-type") or ""
    if head.method != "POST" or not stated.lower().startswith("multipart/form-data"):
        return None
    if b"authorization" in head.headers or head.query:
        return None  # signed as every other request is; no operation takes a form then
    boundary = _parameter(stated, "boundary")
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        raise malformed("the Content-Type names no boundary")
    return boundary.encode("ascii")


class FormReader:
    """One form. `read_fields` first; then `pieces` gives the file's bytes, if `has_file`."""

    def __init__(self, arrival: Arrival, boundary: bytes) -> None:
        self._arrival = arrival
        self._delimiter = b"\r\n--" + boundary
        self._held = bytearray(b"\r\n")  # so that the first boundary looks like every other
        self._ended = False
        self.fields: dict[str, str] = {}
        self.filename = ""
        self.file_type: str | None = None
        self.has_file = False

    async def read_fields(self) -> None:
        """Raises BadRequest "MalformedPOSTRequest", "MaxPostPreDataLengthExceeded", "RequestTimeout"."""
        spent = 0
        await self._until(self._delimiter, MAX_PART_HEAD)  # a preamble, usually nothing
        while True:
            line = await self._until(b"\r\n", 64)
            if line.strip(b" \t") == b"--":
                return
            if line.strip(b" \t"):
                raise malformed("a boundary is followed by other bytes")
            disposition, kind = _part_head(await self._until(b"\r\n\r\n", MAX_PART_HEAD))
            name, filename = _parameter(disposition, "name"), _parameter(disposition, "filename")
            if name is None:
                raise malformed("a part has no name")
            if name.lower() == "file":
                self.has_file, self.filename, self.file_type = True, filename or "", kind
                return
            value = await self._until(self._delimiter, MAX_FIELDS_BYTES)
            spent += len(name) + len(value)
            if spent > MAX_FIELDS_BYTES or len(self.fields) >= MAX_FIELDS:
                raise BadRequest(
                    "MaxPostPreDataLengthExceeded", f"the fields before the file exceed {MAX_FIELDS_BYTES} bytes"
                )
            self._keep(name.lower(), value)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes of the file. What follows it is read to the end and dropped. Raises BadRequest "IncompleteBody"."""
        keep = len(self._delimiter) - 1
        while (at := self._held.find(self._delimiter)) < 0:
            if len(self._held) > keep:
                piece = bytes(self._held[:-keep])
                del self._held[:-keep]
                yield piece
            await self._more("the form ended inside its file")
        if at:
            yield bytes(self._held[:at])
        del self._held[: at + len(self._delimiter)]
        while len(self._held) < 2:
            await self._more("the form ended inside its file")
        if not self._held.startswith((b"--", b"\r\n")):  # a file that holds its own boundary would be cut short
            raise malformed("a boundary is followed by other bytes")
        del self._held[:]
        while await self._arrival.next() is not None:
            pass

    def _keep(self, name: str, value: bytes) -> None:
        if name in self.fields:
            raise malformed(f"the field {name[:64]} stands twice")
        try:
            self.fields[name] = value.decode("utf-8")
        except UnicodeDecodeError:
            raise malformed(f"the field {name[:64]} is not UTF-8") from None

    async def _until(self, mark: bytes, limit: int) -> bytes:
        """Bytes before `mark`, which is taken too."""
        while (at := self._held.find(mark)) < 0:
            if len(self._held) > limit + len(mark):
                if limit == MAX_FIELDS_BYTES:
                    raise BadRequest(
                        "MaxPostPreDataLengthExceeded", f"the fields before the file exceed {MAX_FIELDS_BYTES} bytes"
                    )
                raise malformed("a part of the form does not end")
            await self._more("the form ended early")
        found = bytes(self._held[:at])
        del self._held[: at + len(mark)]
        return found

    async def _more(self, otherwise: str) -> None:
        data = await self._arrival.next()
        if data is None:
            raise BadRequest("IncompleteBody", otherwise)
        self._held += data


def malformed(why: str) -> BadRequest:
    return BadRequest(
        "MalformedPOSTRequest", f"the body of your POST request is not well-formed multipart/form-data ({why})"
    )


def _part_head(head: bytes) -> tuple[str, str | None]:
    """Content-Disposition and Content-Type of one part."""
    found: dict[str, str] = {}
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise malformed("the head of a part is not UTF-8") from None
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.strip().lower()
        if not colon or name in found:
            raise malformed("a header of a part does not parse, or stands twice")
        found[name] = value.strip()
    disposition = found.get("content-disposition", "")
    if not disposition.lower().startswith("form-data"):
        raise malformed("a part is not form-data")
    return disposition, found.get("content-type")


def _parameter(header: str, name: str) -> str | None:
    """One parameter of a header, unquoted."""
    message = Message()
    message["x"] = header
    value = message.get_param(name, header="x")
    return value if isinstance(value, str) else None
