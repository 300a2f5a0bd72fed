"""Checksums of an object that came in parts, from those of its parts: nothing is read again.

COMPOSITE is the algorithm over the parts' digests, with "-" and their number. FULL_OBJECT is what the algorithm says of
the whole object; CRCs can be combined to it, hashes cannot. Source: Amazon S3 user guide, "Checking object integrity".
"""

import base64
from collections.abc import Sequence

from gateway.errors import BadRequest
from gateway.identity.checksums import new_checksum, parse_checksum, spell_checksum
from gateway.s3.ports import NO_CHECKSUMS, Checksums, CompletedPart
from vault.catalog.rows import PartRow, UploadRow

# Bits and polynomial, lowest power first ("reflected"), of CRCs that begin and end with all ones.
_CRCS = {"crc32": (32, 0xEDB88320), "crc32c": (32, 0x82F63B78), "crc64nvme": (64, 0x9A6C9329AC4BC9B5)}
_HASHES = frozenset({"sha1", "sha256"})


def type_over_parts(algorithm: str, asked: str) -> str:
    """The type an upload will have. Raises BadRequest("InvalidRequest") where the algorithm has no such type."""
    if not algorithm:
        if asked:
            raise BadRequest("InvalidRequest", "x-amz-checksum-type needs x-amz-checksum-algorithm")
        return ""
    chosen = asked or ("FULL_OBJECT" if algorithm == "crc64nvme" else "COMPOSITE")
    impossible = {("COMPOSITE", "crc64nvme"), *(("FULL_OBJECT", name) for name in _HASHES)}
    if chosen not in {"FULL_OBJECT", "COMPOSITE"} or (chosen, algorithm) in impossible:
        raise BadRequest("InvalidRequest", f"{algorithm} has no checksum of type {chosen} over parts")
    return chosen


def combined_crc(algorithm: str, parts: Sequence[tuple[int, int]]) -> int:
    """The CRC of the whole from (CRC, length in bytes) of its parts, in order."""
    width, polynomial = _CRCS[algorithm]
    whole = 0
    for crc, length in parts:
        whole = _times(_power(8 * length, width, polynomial), whole, width, polynomial) ^ crc
    return whole


def whole_checksum(upload: UploadRow, parts: Sequence[PartRow], stated: Checksums) -> Checksums:
    """What the object's checksum is, compared with what the caller says of it. Raises BadRequest("BadDigest"),
    BadRequest("InvalidRequest") where the caller says what its parts do not allow to check."""
    algorithm, kind = upload.checksum_algorithm, upload.checksum_type
    if not algorithm and stated.values:
        algorithm = next(iter(stated.values))
        kind = stated.type or ("COMPOSITE" if "-" in stated.values[algorithm] else "FULL_OBJECT")
    if not algorithm:
        return NO_CHECKSUMS
    if stated.type and stated.type != kind:
        raise BadRequest("InvalidRequest", f"the upload was created with checksum type {kind}")
    if any(algorithm not in part.checksums for part in parts):
        raise BadRequest("InvalidRequest", f"not every part came with its {algorithm}")
    value = _composite(algorithm, parts) if kind == "COMPOSITE" else _full(algorithm, parts)
    for name, said in stated.values.items():
        if name != algorithm or said not in {value, value.partition("-")[0]}:
            raise BadRequest("BadDigest", f"the {name} you gave is not that of the object", rule="checksum.mismatch")
    return Checksums({algorithm: value}, kind)


def check_parts(listed: Sequence[CompletedPart], stored: Sequence[PartRow]) -> None:
    """Raises BadRequest("InvalidPart") where a part's checksum is not the one it came with."""
    by_number = {row.part_number: row for row in stored}
    for part in listed:
        row = by_number.get(part.number)
        if row is None:
            continue  # the list itself is checked with the parts' ETags
        for name, value in part.checksums.items():
            if row.checksums.get(name) != value:
                raise BadRequest("InvalidPart", f"part {part.number} has another {name}", rule="checksum.mismatch")


def _composite(algorithm: str, parts: Sequence[PartRow]) -> str:
    running = new_checksum(algorithm)
    for part in parts:
        running.update(base64.b64decode(part.checksums[algorithm]))
    return f"{spell_checksum(running.digest())}-{len(parts)}"


def _full(algorithm: str, parts: Sequence[PartRow]) -> str:
    if algorithm not in _CRCS:
        raise BadRequest("InvalidRequest", f"{algorithm} has no checksum of type FULL_OBJECT over parts")
    crcs = [(int.from_bytes(parse_checksum(algorithm, part.checksums[algorithm]), "big"), part.size) for part in parts]
    return spell_checksum(combined_crc(algorithm, crcs).to_bytes(_CRCS[algorithm][0] // 8, "big"))


def _times(a: int, b: int, width: int, polynomial: int) -> int:
    """a · b modulo the polynomial; the highest bit is x⁰."""
    product, bit = 0, 1 << (width - 1)
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = (b >> 1) ^ polynomial if b & 1 else b >> 1
    return product


def _power(exponent: int, width: int, polynomial: int) -> int:
    """x to that power."""
    result, square = 1 << (width - 1), 1 << (width - 2)
    while exponent:
        if exponent & 1:
            result = _times(square, result, width, polynomial)
        square = _times(square, square, width, polynomial)
        exponent >>= 1
    return result
