"""POST forms: what a signed policy allows to the letter, and that everything else stores nothing."""

import asyncio
import base64
import hashlib
import json
from typing import Any

import pytest

from gateway.errors import BadRequest
from gateway.identity.canonical import signature, signing_key
from gateway.identity.post_policy import parse_policy
from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard, checksum_of
from tests.fakes.post_form import encode, post, presigned_fields
from tests.fakes.s3_client import Response, call
from tests.fakes.s3_server import REGION, SECRET


def send(app: S3App, fields: dict[str, str], body: bytes | None = b"a,b\n", **more: Any) -> Response:
    piece = more.pop("piece", 65536)
    client = more.pop("client", "127.0.0.1")
    return asyncio.run(call(app, post(encode(fields, body, **more)), piece=piece, client=client))


def signed_policy(document: Any, **fields: str) -> dict[str, str]:
    """A form over any policy document, signed here by the manual's words."""
    base = presigned_fields("k")
    policy = base64.b64encode(json.dumps(document).encode()).decode()
    key = signing_key(SECRET, base["x-amz-date"][:8], REGION, "s3")
    return {**base, **fields, "policy": policy, "x-amz-signature": signature(key, policy.encode())}


@pytest.mark.parametrize("piece", [1, 7, 100, 65536])
def test_a_form_botocore_signed_is_stored(app: S3App, guard: FakeGuard, piece: int) -> None:
    body = b"a,b\r\n--form-boundary-7\r\n--form-boundary-8d" + bytes(range(256))
    answer = send(app, presigned_fields("dir/ü.csv"), body, piece=piece)
    assert (answer.status, answer.body) == (204, b"")
    assert guard.body("claims", "dir/ü.csv") == body
    assert answer.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'


def test_the_principal_is_the_signer_by_that_road(app: S3App, guard: FakeGuard) -> None:
    seen = []
    inner = guard.open_write

    def spy(principal: Any, *given: Any, **named: Any) -> Any:
        seen.append(principal)
        return inner(principal, *given, **named)

    guard.open_write = spy  # type: ignore[method-assign]
    send(app, presigned_fields("k"))
    assert (seen[0].name, seen[0].authenticator, seen[0].source) == ("analyst", "post-policy", "127.0.0.1")


def test_fields_become_metadata_type_tags_and_checksum(app: S3App, guard: FakeGuard) -> None:
    tagging = "<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value></Tag></TagSet></Tagging>"
    fields = {
        "Content-Type": "text/csv", "x-amz-meta-made": "here", "tagging": tagging, "Cache-Control": "no-store",
        "x-amz-checksum-sha256": checksum_of("sha256", b"a,b\n"),
    }  # fmt: skip
    conditions = [{name: value} for name, value in fields.items()]
    assert send(app, presigned_fields("k", fields=fields, conditions=conditions)).status == 204
    made = guard.version("claims", "k")
    assert made is not None
    assert (made.content_type, made.tags) == ("text/csv", {"a": "1"})
    assert made.user_metadata == {"made": "here", ":cache-control": "no-store"}
    assert made.checksums.values == {"sha256": checksum_of("sha256", b"a,b\n")}


@pytest.mark.parametrize(
    ("filename", "key"),
    [("x.csv", "up/x.csv"), ("C:\\docs\\x.csv", "up/x.csv"), ("../../x.csv", "up/x.csv"), ("", "up/")],
)
def test_the_name_of_the_file(app: S3App, guard: FakeGuard, filename: str, key: str) -> None:
    escaped = filename.replace("\\", "\\\\")
    send(app, presigned_fields("up/${filename}"), filename=escaped)
    assert guard.keys("claims") == [key]


@pytest.mark.parametrize(("stated", "status"), [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("x", 204)])
def test_the_status_a_form_asks_for(app: S3App, guard: FakeGuard, stated: str, status: int) -> None:
    fields = {"success_action_status": stated}
    answer = send(app, presigned_fields("k", fields=fields, conditions=[fields]))
    assert answer.status == status
    assert (b"<PostResponse>" in answer.body) == (status == 201)
    assert answer.headers["location"] == "/claims/k"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("https://example.org/done?a=1", "https://example.org/done?a=1&bucket=claims&key=k&etag=%22"),
        ("javascript:alert(1)", None),
        ("//example.org", None),
        ("https:///x", None),
    ],
)
def test_the_redirect_goes_to_a_web_address_or_nowhere(
    app: S3App, guard: FakeGuard, target: str, location: str | None
) -> None:
    fields = {"success_action_redirect": target}
    answer = send(app, presigned_fields("k", fields=fields, conditions=[fields]))
    assert answer.status == (303 if location else 204)
    assert answer.headers["location"].startswith(location or "/claims/k")


REFUSED: dict[str, tuple[dict[str, str | None], str]] = {
    "no signature": ({"x-amz-signature": None}, "InvalidArgument"),
    "no policy": ({"policy": None}, "InvalidArgument"),
    "signature bent": ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
    "signature in capitals": ({"x-amz-signature": "A" * 64}, "SignatureDoesNotMatch"),
    "other algorithm": ({"x-amz-algorithm": "AWS4-ECDSA-P256-SHA256"}, "InvalidArgument"),
    "unknown key": ({"x-amz-credential": "NOBODY/20260101/de-1/s3/aws4_request"}, "InvalidArgument"),
    "other token": ({"x-amz-security-token": "forged"}, "InvalidToken"),
    "another key": ({"key": "other"}, "AccessDenied"),
    "no key": ({"key": None}, "UserKeyMustBeSpecified"),
    "field without a condition": ({"x-amz-meta-more": "1"}, "AccessDenied"),
    "acl without a condition": ({"acl": "private"}, "AccessDenied"),
    "status without a condition": ({"success_action_status": "201"}, "AccessDenied"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bent_form_stores_nothing(app: S3App, guard: FakeGuard, name: str) -> None:
    changes, code = REFUSED[name]
    fields: dict[str, Any] = {**presigned_fields("k"), **changes}
    answer = send(app, {name: value for name, value in fields.items() if value is not None})
    assert answer.code == code, answer.body
    assert guard.keys("claims") == []


def test_ignored_and_late_fields_need_no_condition(app: S3App, guard: FakeGuard) -> None:
    fields = {"x-ignore-me": "1", **presigned_fields("k")}
    assert send(app, fields, after="x-amz-meta-late").status == 204
    made = guard.version("claims", "k")
    assert made is not None
    assert made.user_metadata == {}  # S3 ignores what follows the file


@pytest.mark.parametrize(
    ("size", "code"), [(4, "EntityTooSmall"), (5, None), (8, None), (9, "EntityTooLarge"), (1 << 20, "EntityTooLarge")]
)
def test_content_length_range(app: S3App, guard: FakeGuard, size: int, code: str | None) -> None:
    fields = presigned_fields("k", conditions=[["content-length-range", 5, 8], ["content-length-range", "1", "100"]])
    answer = send(app, fields, b"x" * size)
    assert answer.code == (code or "")
    assert (guard.body("claims", "k") is None) == (code is not None)


EXPIRES = "2999-01-01T00:00:00.000Z"
BASE = [
    {"bucket": "claims"}, {"x-amz-algorithm": "AWS4-HMAC-SHA256"}, ["starts-with", "$x-amz-credential", ""],
    ["starts-with", "$x-amz-date", ""],
]  # fmt: skip


@pytest.mark.parametrize(
    ("conditions", "fields", "code"),
    [
        ([["eq", "$key", "k"]], {}, None),
        ([["EQ", "$KEY", "k"]], {}, None),
        ([["starts-with", "$key", ""]], {}, None),
        ([["starts-with", "$key", "K"]], {}, "AccessDenied"),
        ([["eq", "$key", "k"], ["eq", "$x-amz-meta-a", "1"]], {}, "AccessDenied"),
        ([["eq", "$key", "k"], ["eq", "$x-amz-meta-a", "1"]], {"X-Amz-Meta-A": "1"}, None),
        ([["eq", "$key", "k"], ["eq", "$key", "j"]], {}, "AccessDenied"),
        (
            [["eq", "$key", "k"], ["starts-with", "$Content-Type", "image/"]],
            {"Content-Type": "image/png,image/x"}, None,
        ),
        (
            [["eq", "$key", "k"], ["starts-with", "$Content-Type", "image/"]],
            {"Content-Type": "image/png, text/html"}, "AccessDenied",
        ),
        ([["eq", "$key", "k"], {"acl": "public-read"}], {"acl": "public-read"}, "AccessControlListNotSupported"),
        ([["eq", "$key", "k"], {"x-amz-new": "1"}], {"x-amz-new": "1"}, "NotImplemented"),
    ],
)  # fmt: skip
def test_conditions(
    app: S3App, guard: FakeGuard, conditions: list[Any], fields: dict[str, str], code: str | None
) -> None:
    form = signed_policy({"expiration": EXPIRES, "conditions": [*BASE, *conditions]}, **fields)
    answer = send(app, form)
    assert answer.code == (code or ""), answer.body
    assert guard.keys("claims") == ([] if code else ["k"])


def test_a_policy_for_another_bucket(app: S3App, guard: FakeGuard) -> None:
    guard.create("other")
    answer = asyncio.run(call(app, post(encode(presigned_fields("k"), b"x"), "/other")))
    assert answer.code == "AccessDenied"
    assert guard.keys("other") == []


@pytest.mark.parametrize("expiration", ["2020-01-01T00:00:00.000Z", "2020-01-01T00:00:00Z"])
def test_an_expired_policy(app: S3App, guard: FakeGuard, expiration: str) -> None:
    form = signed_policy({"expiration": expiration, "conditions": [*BASE, {"key": "k"}]})
    assert send(app, form).code == "AccessDenied"
    assert guard.keys("claims") == []


@pytest.mark.parametrize(
    "document",
    [
        [], {}, {"expiration": EXPIRES}, {"conditions": []}, {"expiration": 1, "conditions": []},
        {"expiration": "tomorrow", "conditions": []}, {"expiration": "2999-13-01T00:00:00Z", "conditions": []},
        {"expiration": EXPIRES, "conditions": {}}, {"expiration": EXPIRES, "conditions": [1]},
        {"expiration": EXPIRES, "conditions": [{"a": 1}]},
        {"expiration": EXPIRES, "conditions": [{"a": "1", "b": "2"}]},
        {"expiration": EXPIRES, "conditions": [["eq", "key", "k"]]},
        {"expiration": EXPIRES, "conditions": [["like", "$key", "k"]]},
        {"expiration": EXPIRES, "conditions": [["eq", "$key"]]},
        {"expiration": EXPIRES, "conditions": [["content-length-range", 5]]},
        {"expiration": EXPIRES, "conditions": [["content-length-range", 5, 1]]},
        {"expiration": EXPIRES, "conditions": [["content-length-range", -1, 1]]},
        {"expiration": EXPIRES, "conditions": [["content-length-range", 1.5, 2]]},
        {"expiration": EXPIRES, "conditions": [], "more": 1},
    ],
)  # fmt: skip
def test_a_policy_that_is_none(document: Any) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_policy(base64.b64encode(json.dumps(document).encode()).decode())
    assert caught.value.code == "InvalidPolicyDocument"


@pytest.mark.parametrize("text", ["", "*", base64.b64encode(b"{").decode(), base64.b64encode(b"\xff").decode()])
def test_a_policy_that_does_not_decode(text: str) -> None:
    with pytest.raises(BadRequest):
        parse_policy(text)


def test_a_name_twice_in_a_policy_is_refused() -> None:
    twice = f'{{"expiration":"{EXPIRES}","conditions":[],"conditions":[{{"a":"b"}}]}}'
    with pytest.raises(BadRequest):
        parse_policy(base64.b64encode(twice.encode()).decode())


def test_malformed_forms(app: S3App, guard: FakeGuard) -> None:
    whole = encode(presigned_fields("k"), b"x" * 100)
    for body, code in (
        (b"", "IncompleteBody"),
        (whole[:60], "IncompleteBody"),
        (whole[:-120], "IncompleteBody"),
        (whole.replace(b"form-data; name", b"attachment; name", 1), "MalformedPOSTRequest"),
        (whole.replace(b'name="key"', b'name="policy"', 1), "MalformedPOSTRequest"),
        (b"x" * 30_000, "MalformedPOSTRequest"),
        (encode({**presigned_fields("k"), "x-ignore-a": "y" * 30_000}, b"x"), "MaxPostPreDataLengthExceeded"),
        (encode({f"x-ignore-{i}": "" for i in range(200)}, b"x"), "MaxPostPreDataLengthExceeded"),
        (encode(presigned_fields("k"), b"x\r\n--form-boundary-7dx"), "MalformedPOSTRequest"),
        (encode(presigned_fields("k"), None), "IncorrectNumberOfFilesInPostRequest"),
    ):
        assert asyncio.run(call(app, post(body))).code == code, body[:80]
    assert guard.keys("claims") == []
    assert asyncio.run(call(app, post(whole, "/claims/k"))).code == "MethodNotAllowed"


def test_a_form_is_one_mechanism_of_its_own(app: S3App, guard: FakeGuard) -> None:
    whole = encode(presigned_fields("k"), b"x")
    for path, headers in (("/claims?x=1", ()), ("/claims", ((b"authorization", b"AWS4-HMAC-SHA256 x"),))):
        assert asyncio.run(call(app, post(whole, path, headers=headers))).status in (400, 403)
    old = {"AWSAccessKeyId": "x", "signature": "y", "policy": "z", "key": "k"}
    assert send(app, old).code == "InvalidRequest"
    assert send(app, {"key": "k"}).code == "AccessDenied"
    assert guard.keys("claims") == []


def test_unsigned_bytes_do_not_travel_in_the_clear_beyond_loopback(app: S3App, guard: FakeGuard) -> None:
    assert send(app, presigned_fields("k"), client="203.0.113.9").code == "AccessDenied"
    assert guard.keys("claims") == []


def test_a_wrong_digest_stores_nothing(app: S3App, guard: FakeGuard) -> None:
    for name, value in (
        ("Content-MD5", base64.b64encode(hashlib.md5(b"other").digest()).decode()),
        ("x-amz-checksum-crc32", checksum_of("crc32", b"other")),
    ):
        fields = presigned_fields("k", fields={name: value}, conditions=[{name: value}])
        assert send(app, fields).code == "BadDigest"
    assert guard.keys("claims") == []
