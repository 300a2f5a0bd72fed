"""What an object is, told by its bytes; the name only chooses among kinds of text. Wrong guesses are safe:
an opaque object is readable raw or not at all, and a wrong format fails to build."""

MAGIC = b"PAR1"
HEAD_BYTES = 4096
PARQUET = "parquet"
CSV = "csv"
OPAQUE = "opaque"


def format_of(head: bytes, tail: bytes, key: str, content_type: str) -> str:
    """`head` = the first bytes (up to HEAD_BYTES), `tail` = the last four or more. parquet | csv | opaque."""
    if head.startswith(MAGIC):
        return PARQUET if tail.endswith(MAGIC) else OPAQUE
    kind = content_type.partition(";")[0].strip().lower()
    named = key.lower().endswith(".csv") or kind in {"text/csv", "application/csv"}
    return CSV if named and _is_text(head) else OPAQUE


def _is_text(head: bytes) -> bool:
    if not head or b"\x00" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut at the end of the head.
        return error.end == len(head) and len(head) - error.start < 4
    return True
