"""Times as S3's XML writes them."""

from datetime import UTC, datetime


def iso_time(ms: int) -> str:
    """RFC 3339 with milliseconds, from ms UTC."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"
