import time

import pytest

from gateway.errors import BadRequest
from gateway.s3 import ranges


@pytest.mark.parametrize(
    ("header", "size", "expected"),
    [
        (None, 10, None),
        ("bytes=0-0", 10, (0, 1)),
        ("bytes=0-9", 10, (0, 10)),
        ("bytes=0-", 10, (0, 10)),
        ("bytes=9-", 10, (9, 10)),
        ("bytes=2-100", 10, (2, 10)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-100", 10, (0, 10)),
        ("bytes=-262144", 6000, (0, 6000)),
        # not one well-formed range of bytes: the whole object
        ("bytes=0-1,3-4", 10, None),
        ("bytes=5-2", 10, None),
        ("bytes=-", 10, None),
        ("bytes=", 10, None),
        ("bytes=a-b", 10, None),
        ("bytes=1-2-3", 10, None),
        ("bytes=+1-2", 10, None),
        ("bytes=١-٢", 10, None),
        ("items=0-1", 10, None),
        ("bytes = 0-1", 10, None),
        ("bytes=0-99999999999999999999", 10, None),
    ],
)
def test_range(header: str | None, size: int, expected: tuple[int, int] | None) -> None:
    assert ranges.select(header, size) == expected


@pytest.mark.parametrize(
    ("header", "size"), [("bytes=10-", 10), ("bytes=10-12", 10), ("bytes=-0", 10), ("bytes=0-", 0)]
)
def test_unsatisfiable(header: str, size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        ranges.select(header, size)
    assert caught.value.status == 416


def test_ten_thousand_ranges_cost_nothing() -> None:
    header = "bytes=" + ",".join("0-1" for _ in range(10_000))
    started = time.perf_counter()
    assert ranges.select(header, 10) is None
    assert time.perf_counter() - started < 0.01
