import pytest

from gateway.errors import BadRequest, PreconditionFailed
from gateway.identity.request_head import RequestHead
from gateway.s3 import conditions
from gateway.s3.conditions import Freshness
from gateway.s3.ports import WriteCondition
from tests.fakes.guard import NOW, FakeGuard, FakeOpenRead
from tests.fakes.object_model import Version

OPENED = FakeOpenRead(FakeGuard(), Version(b"x", "abc", "text/plain", {}, NOW), "open", "d")
AT = "Mon, 21 Sep 2026 14:13:20 GMT"
BEFORE = "Mon, 21 Sep 2026 14:13:19 GMT"
AFTER = "Mon, 21 Sep 2026 14:13:21 GMT"


def head(**headers: str) -> RequestHead:
    wire = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return RequestHead.parse("GET", b"/b/k", b"", wire)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Freshness.SEND),
        ({"if_match": '"abc"'}, Freshness.SEND),
        ({"if_match": '"x", "abc"'}, Freshness.SEND),
        ({"if_match": "*"}, Freshness.SEND),
        ({"if_match": '"x"'}, None),
        ({"if_unmodified_since": BEFORE}, None),
        ({"if_unmodified_since": AT}, Freshness.SEND),
        ({"if_match": '"abc"', "if_unmodified_since": BEFORE}, Freshness.SEND),
        ({"if_none_match": '"abc"'}, Freshness.NOT_MODIFIED),
        ({"if_none_match": "abc"}, Freshness.NOT_MODIFIED),
        ({"if_none_match": 'W/"abc"'}, Freshness.NOT_MODIFIED),
        ({"if_none_match": '"x"', "if_modified_since": AFTER}, Freshness.SEND),
        ({"if_modified_since": AT}, Freshness.NOT_MODIFIED),
        ({"if_modified_since": BEFORE}, Freshness.SEND),
        ({"if_modified_since": "not a date"}, Freshness.SEND),
    ],
)
def test_read_condition(headers: dict[str, str], expected: Freshness | None) -> None:
    if expected is None:
        with pytest.raises(PreconditionFailed):
            conditions.check_read(head(**headers), OPENED)
    else:
        assert conditions.check_read(head(**headers), OPENED) is expected


@pytest.mark.parametrize(
    ("if_range", "applies"),
    [(None, True), ('"abc"', True), ('"x"', False), ('W/"abc"', False), (AT, True), (BEFORE, False), ("junk", False)],
)
def test_if_range(if_range: str | None, applies: bool) -> None:
    headers = {"range": "bytes=0-0"} | ({"if_range": if_range} if if_range else {})
    assert (conditions.range_applies(head(**headers), OPENED) is not None) == applies


def test_write_condition() -> None:
    assert conditions.write_condition(head()) is None
    assert conditions.write_condition(head(if_none_match="*")) == WriteCondition(if_none_match=True)
    assert conditions.write_condition(head(if_match='"abc"')) == WriteCondition(if_match="abc")
    assert conditions.write_condition(head(if_match="*")) == WriteCondition(if_match="*")
    assert conditions.write_condition(head(if_none_match='"abc"')) == WriteCondition(if_none_match_etag="abc")
    for headers in (
        {"if_none_match": '"a","b"'},
        {"if_match": '"a","b"'},
        {"if_match": '"a"', "if_none_match": "*"},
        {"if_modified_since": AT},
    ):
        with pytest.raises(BadRequest) as caught:
            conditions.write_condition(head(**headers))
        assert caught.value.code == "NotImplemented"
