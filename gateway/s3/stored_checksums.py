"""Checksums that are kept with objects and parts, as headers and XML spell them.

A whole-object value is plain base64 (FULL_OBJECT) or, of an object in parts, the checksum of the parts' checksums
with "-N" behind it (COMPOSITE). Source: "Checking object integrity", S3 user guide.
"""

import re
from collections.abc import Mapping

from gateway.errors import BadRequest
from gateway.identity.checksums import ALGORITHMS, HEADER_PREFIX, parse_checksum
from gateway.s3 import xml
from gateway.s3.call import Call, Headers
from gateway.s3.ports import NO_CHECKSUMS, Checksums

TYPES = ("COMPOSITE", "FULL_OBJECT")
_ONLY_COMPOSITE = ("sha1", "sha256")  # a digest of the whole cannot be made of the digests of its parts
_ONLY_WHOLE = ("crc64nvme",)
_COMPOSITE = re.compile(r"(.+?)(-[0-9]{1,5})?").fullmatch


def checksum_headers(checksums: Checksums) -> Headers:
    """x-amz-checksum-* and their type."""
    found: Headers = [
        ((HEADER_PREFIX + name).encode("ascii"), value.encode("ascii")) for name, value in checksums.values.items()
    ]
    if found and checksums.type:
        found.append((b"x-amz-checksum-type", checksums.type.encode("ascii")))
    return found


def checksum_values(values: Mapping[str, str]) -> str:
    return "".join(xml.element(f"Checksum{name.upper()}", value) for name, value in values.items())


def checksum_lines(checksums: Checksums) -> str:
    """Elements of a result document: the values and their type."""
    if not checksums.values:
        return ""
    return checksum_values(checksums.values) + (xml.element("ChecksumType", checksums.type) if checksums.type else "")


def upload_algorithm(call: Call) -> tuple[str, str]:
    """Algorithm (lower case) and type that CreateMultipartUpload asks for; "" and "" when it names none."""
    algorithm = (call.amz("x-amz-checksum-algorithm") or "").lower()
    kind = call.amz("x-amz-checksum-type")
    if not algorithm:
        if kind is not None:
            raise BadRequest("InvalidRequest", "x-amz-checksum-type needs x-amz-checksum-algorithm")
        return "", ""
    if algorithm not in ALGORITHMS:
        raise unsupported()
    kind = kind or ("FULL_OBJECT" if algorithm in _ONLY_WHOLE else "COMPOSITE")
    refused = _ONLY_COMPOSITE if kind == "FULL_OBJECT" else _ONLY_WHOLE
    if kind not in TYPES or algorithm in refused:
        raise BadRequest(
            "InvalidRequest", f"the {kind[:16]} checksum type cannot be used with the {algorithm} checksum algorithm"
        )
    return algorithm, kind


def completion_checksums(call: Call) -> Checksums:
    """What CompleteMultipartUpload says of the whole object. Raises BadRequest "InvalidRequest", "BadDigest"."""
    values = {}
    for algorithm in ALGORITHMS:
        stated = call.amz(HEADER_PREFIX + algorithm)
        if stated is not None:
            match = _COMPOSITE(stated)
            parse_checksum(algorithm, match[1] if match else stated)
            values[algorithm] = stated
    kind = call.amz("x-amz-checksum-type")
    if kind is not None and kind not in TYPES:
        raise BadRequest("InvalidRequest", "x-amz-checksum-type is COMPOSITE or FULL_OBJECT")
    return Checksums(values, kind or "") if values or kind else NO_CHECKSUMS


def part_checksums(part: xml.Element) -> dict[str, str]:
    """What a Part of CompleteMultipartUpload says of itself."""
    found = {}
    for algorithm in ALGORITHMS:
        stated = part.value(f"Checksum{algorithm.upper()}")
        if stated:
            parse_checksum(algorithm, stated)
            found[algorithm] = stated
    return found


def copy_algorithm(call: Call) -> str:
    """The checksum a copy is to be given; "" keeps the source's."""
    algorithm = (call.amz("x-amz-checksum-algorithm") or "").lower()
    if algorithm and algorithm not in ALGORITHMS:
        raise unsupported()
    return algorithm


def unsupported() -> BadRequest:
    names = ", ".join(name.upper() for name in ALGORITHMS)
    return BadRequest("InvalidRequest", f"checksum algorithm provided is unsupported; valid types are {names}")
