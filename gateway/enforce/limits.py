"""What one decode may cost. Counted while decoding: a footer's own claims are no evidence (anchor §5.10:
212 KB of Parquet whose footer claims 109 KB holds 2.0 GB of strings)."""

from dataclasses import dataclass

from gateway.enforce.errors import Undecodable

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Ceilings of one job; bytes unless the name says otherwise."""

    columns: int = 10_000
    row_groups: int = 100_000
    rows: int = 1_000_000_000
    decoded_base: int = 256 * MIB
    decoded_factor: int = 256
    thrift_string: int = 16 * MIB
    thrift_container: int = 1_000_000
    schema_depth: int = 32
    csv_row: int = MIB

    def decoded(self, size: int) -> int:
        """Decoded (and output) bytes allowed for an object of `size` bytes."""
        return self.decoded_base + self.decoded_factor * size


class Meter:
    """Counts what was decoded; raises Undecodable at the first byte or row too many."""

    def __init__(self, limits: Limits, size: int) -> None:
        self._rows_left = limits.rows
        self._bytes_left = limits.decoded(size)
        self.rows = 0

    def charge(self, rows: int, decoded: int) -> None:
        """Count a batch of `rows` rows that took `decoded` bytes in memory."""
        self.rows += rows
        self._rows_left -= rows
        self._bytes_left -= decoded
        if self._rows_left < 0:
            raise Undecodable("rows.limit")
        if self._bytes_left < 0:
            raise Undecodable("decoded.limit")
