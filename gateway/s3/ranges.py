"""The Range header of S3: one range of bytes, or the whole. Parsed by hand, in one pass (CVE-2025-62727)."""

from gateway.errors import BadRequest


def select(header: str | None, size: int) -> tuple[int, int] | None:
    """[start, stop) inside `size`, or None for the whole object.

    Several ranges, another unit, or a header that does not parse is ignored, as RFC 9110 lets a server do.
    Raises BadRequest "InvalidRange" (416) for one well-formed range that no byte satisfies.
    """
    if header is None or len(header) > 64 or not header.startswith("bytes="):
        return None
    first, dash, last = header[6:].strip().partition("-")
    if not dash or not _digits(first) or not _digits(last) or not (first or last):
        return None
    if first:
        start = int(first)
        if last and int(last) < start:
            return None
        if start >= size:
            raise unsatisfiable(size)
        return start, min(int(last) + 1, size) if last else size
    length = min(int(last), size)
    if length == 0:
        raise unsatisfiable(size)
    return size - length, size


def _digits(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) <= 19)


def unsatisfiable(size: int) -> BadRequest:
    return BadRequest("InvalidRange", f"the range is not satisfiable; the object has {size} bytes", status=416)
