"""Object tags: S3's limits, the header form, the XML form. Everything that is not a tag set by the letter is refused.

Source: "Categorizing your storage using tags", S3 user guide; PutObjectTagging, S3 API reference.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from contextlib import suppress
from urllib.parse import unquote_to_bytes

from gateway.errors import BadRequest
from gateway.s3 import xml

MAX_TAGS = 10
MAX_KEY = 128  # characters
MAX_VALUE = 256
MAX_BYTES = 64 << 10  # of the document

_OTHER_CHARACTERS = frozenset("_.:/=+-@")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def check_tags(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Raises BadRequest "InvalidTag": more than ten, a key twice, too long, a character S3 does not allow."""
    found: dict[str, str] = {}
    for key, value in pairs:
        if not 1 <= len(key) <= MAX_KEY or not _allowed(key) or key.lower().startswith("aws:"):
            raise BadRequest("InvalidTag", "the TagKey you have provided is invalid")
        if len(value) > MAX_VALUE or not _allowed(value):
            raise BadRequest("InvalidTag", "the TagValue you have provided is invalid")
        if key in found:
            raise BadRequest("InvalidTag", "cannot provide multiple tags with the same key")
        found[key] = value
    if len(found) > MAX_TAGS:
        raise BadRequest("InvalidTag", f"object tags cannot be greater than {MAX_TAGS}")
    return found


def parse_tagging_header(value: str | None) -> dict[str, str] | None:
    """x-amz-tagging: tags spelled as a query string. None when the header was not sent."""
    if value is None:
        return None
    pairs = []
    for piece in value.split("&"):
        if piece:
            key, _, tag = piece.partition("=")
            pairs.append((_unquote(key), _unquote(tag)))
    return check_tags(pairs)


def parse_tagging_document(document: bytes) -> dict[str, str]:
    """The body of PutObjectTagging, or the `tagging` field of a form. Raises "MalformedXML", "InvalidTag"."""
    sets = xml.parse(document, "Tagging", MAX_BYTES).all("TagSet")
    if len(sets) != 1:
        raise xml.malformed("one TagSet")
    pairs = []
    for tag in sets[0].all("Tag"):
        key, value = tag.value("Key"), tag.value("Value")
        if key is None or value is None:
            raise xml.malformed("a Tag has a Key and a Value")
        pairs.append((key, value))
    return check_tags(pairs)


def render_tagging(tags: Mapping[str, str]) -> bytes:
    lines = "".join(
        f"<Tag>{xml.element('Key', key)}{xml.element('Value', tags[key])}</Tag>" for key in sorted(tags)
    )
    return xml.document("Tagging", f"<TagSet>{lines}</TagSet>")


def _allowed(text: str) -> bool:
    return all(char in _OTHER_CHARACTERS or unicodedata.category(char)[0] in "LZNM" for char in text)


def _unquote(text: str) -> str:
    if not _BAD_ESCAPE.search(text):
        with suppress(ValueError):
            # The header is ASCII by S3's word; bytes above it are read as the UTF-8 they were sent as.
            return unquote_to_bytes(text.replace("+", " ").encode("latin-1")).decode("utf-8")
    raise BadRequest(
        "InvalidArgument", "the header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded query parameters"
    )
