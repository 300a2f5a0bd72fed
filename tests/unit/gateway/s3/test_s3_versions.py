"""Versioning on the wire: states, ids, delete markers, listings, deletes of one version."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import Response, call, signed


def run(app: S3App, method: str, path: str, **more: Any) -> Response:
    return asyncio.run(call(app, signed(method, path, **more)))


def switch(app: S3App, status: str) -> Response:
    body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    return run(app, "PUT", "/claims?versioning", body=body)


def test_states(app: S3App, guard: FakeGuard) -> None:
    assert "<Status>" not in run(app, "GET", "/claims?versioning").body.decode()
    for status in ("Enabled", "Suspended"):
        assert switch(app, status).status == 200
        assert f"<Status>{status}</Status>" in run(app, "GET", "/claims?versioning").body.decode()


@pytest.mark.parametrize(
    ("inner", "code"),
    [
        ("<Status>On</Status>", "MalformedXML"),
        ("", "IllegalVersioningConfigurationException"),
        ("<Status>Enabled</Status><MfaDelete>Enabled</MfaDelete>", "NotImplemented"),
        ("<Status>Enabled</Status><Status>Enabled</Status>", "MalformedXML"),
    ],
)
def test_a_bad_configuration_changes_nothing(app: S3App, guard: FakeGuard, inner: str, code: str) -> None:
    body = f"<VersioningConfiguration>{inner}</VersioningConfiguration>".encode()
    assert run(app, "PUT", "/claims?versioning", body=body).code == code
    assert guard.datasets["acme", "claims"].versioning == "off"


def test_every_write_makes_a_version_that_can_be_read(app: S3App, guard: FakeGuard) -> None:
    guard.create("claims", versioning="enabled")
    ids = [run(app, "PUT", "/claims/k", body=body).headers["x-amz-version-id"] for body in (b"1", b"2")]
    for version_id, body in zip(ids, (b"1", b"2"), strict=True):
        answer = run(app, "GET", f"/claims/k?versionId={version_id}")
        assert (answer.body, answer.headers["x-amz-version-id"]) == (body, version_id)
        assert run(app, "HEAD", f"/claims/k?versionId={version_id}").status == 200
    assert run(app, "GET", "/claims/k").body == b"2"


def test_unversioned_and_null_versions_are_not_named_by_writes(app: S3App, guard: FakeGuard) -> None:
    assert "x-amz-version-id" not in run(app, "PUT", "/claims/k", body=b"1").headers
    switch(app, "Enabled")
    switch(app, "Suspended")
    assert "x-amz-version-id" not in run(app, "PUT", "/claims/k", body=b"2").headers
    assert run(app, "GET", "/claims/k").headers["x-amz-version-id"] == "null"
    assert len(guard.datasets["acme", "claims"].keys["k"]) == 1


def test_a_delete_marker_says_what_it_is(app: S3App, guard: FakeGuard) -> None:
    guard.create("claims", versioning="enabled")
    first = run(app, "PUT", "/claims/k", body=b"1").headers["x-amz-version-id"]
    gone = run(app, "DELETE", "/claims/k")
    marker = gone.headers["x-amz-version-id"]
    assert (gone.status, gone.headers["x-amz-delete-marker"]) == (204, "true")
    for method in ("GET", "HEAD"):
        answer = run(app, method, "/claims/k")
        assert (answer.status, answer.headers["x-amz-delete-marker"]) == (404, "true")
        assert answer.headers["x-amz-version-id"] == marker
        named = run(app, method, f"/claims/k?versionId={marker}")
        assert (named.status, named.headers["x-amz-delete-marker"]) == (405, "true")
    undone = run(app, "DELETE", f"/claims/k?versionId={marker}")
    assert (undone.headers["x-amz-delete-marker"], undone.headers["x-amz-version-id"]) == ("true", marker)
    assert run(app, "GET", "/claims/k").headers["x-amz-version-id"] == first


def test_what_is_simply_absent_hides_behind_no_marker(app: S3App, guard: FakeGuard) -> None:
    for method in ("GET", "HEAD"):
        answer = run(app, method, "/claims/absent")
        # AWS leaves the header out where there is no marker; "false" would also tell of markers that are not shown.
        assert (answer.status, "x-amz-delete-marker" in answer.headers) == (404, False)


def test_deleting_one_version_is_for_good_and_repeats(app: S3App, guard: FakeGuard) -> None:
    guard.create("claims", versioning="enabled")
    first, second = (run(app, "PUT", "/claims/k", body=b).headers["x-amz-version-id"] for b in (b"1", b"2"))
    for _ in range(2):
        answer = run(app, "DELETE", f"/claims/k?versionId={second}")
        assert (answer.status, answer.headers["x-amz-version-id"]) == (204, second)
    assert run(app, "GET", f"/claims/k?versionId={second}").code == "NoSuchVersion"
    assert run(app, "GET", "/claims/k").headers["x-amz-version-id"] == first


@pytest.mark.parametrize("version_id", ["", "x", "0" * 31, "0" * 33, "A" * 32, "NULL", "..%2Fnull"])
def test_a_version_id_that_cannot_be_one(app: S3App, guard: FakeGuard, version_id: str) -> None:
    guard.put("claims", "k", b"x")
    for method in ("GET", "DELETE"):
        assert run(app, method, f"/claims/k?versionId={version_id}").code == "InvalidArgument"
    assert guard.body("claims", "k") == b"x"


def listed(app: S3App, query: str) -> str:
    return run(app, "GET", f"/claims?versions&{query}").body.decode()


def test_pages_of_versions_show_each_once_newest_first(app: S3App, guard: FakeGuard) -> None:
    guard.create("claims", versioning="enabled")
    for key in ("a", "dir/x", "dir/y", "z"):
        for _ in range(2):
            run(app, "PUT", f"/claims/{key}", body=b"x")
    run(app, "DELETE", "/claims/z")
    seen: list[tuple[str, str]] = []
    query = "max-keys=2"
    for _ in range(9):
        text = listed(app, query)
        pieces = text.split("<Key>")[1:]
        seen += [(each.partition("<")[0], each.partition("<VersionId>")[2].partition("<")[0]) for each in pieces]
        if "<IsTruncated>false" in text:
            break
        key = text.partition("<NextKeyMarker>")[2].partition("<")[0]
        version = text.partition("<NextVersionIdMarker>")[2].partition("<")[0]
        query = f"max-keys=2&key-marker={quote(key, safe='')}&version-id-marker={version}"
    made = guard.datasets["acme", "claims"].keys
    assert seen == [(key, version.version_id) for key in sorted(made) for version in made[key]]


def test_version_listing_groups_by_delimiter_and_refuses_half_a_marker(app: S3App, guard: FakeGuard) -> None:
    for key in ("a b", "dir/x", "dir/y"):
        guard.put("claims", key, b"x")
    text = listed(app, "delimiter=%2F&encoding-type=url")
    assert text.count("<CommonPrefixes>") == 1
    assert "<Key>a%20b</Key>" in text
    assert "<VersionId>null</VersionId><IsLatest>true</IsLatest>" in text
    assert run(app, "GET", "/claims?versions&version-id-marker=null").code == "InvalidArgument"
    assert "<MaxKeys>0</MaxKeys>" in listed(app, "max-keys=0")


def delete_many(app: S3App, objects: str) -> str:
    return run(app, "POST", "/claims?delete", body=f"<Delete>{objects}</Delete>".encode()).body.decode()


def test_multi_delete_answers_each_key_by_itself(app: S3App, guard: FakeGuard) -> None:
    guard.create("claims", versioning="enabled")
    first = run(app, "PUT", "/claims/k", body=b"1").headers["x-amz-version-id"]
    text = delete_many(app, "<Object><Key>k</Key></Object>")
    assert "<DeleteMarker>true</DeleteMarker>" in text
    marker = text.partition("<DeleteMarkerVersionId>")[2].partition("<")[0]
    text = delete_many(
        app,
        f"<Object><Key>k</Key><VersionId>{marker}</VersionId></Object>"
        f"<Object><Key>k</Key><VersionId>junk</VersionId></Object>"
        '<Object><Key>k</Key><ETag>"other"</ETag></Object>',
    )
    assert f"<VersionId>{marker}</VersionId><DeleteMarker>true</DeleteMarker>" in text
    assert "<Code>NoSuchVersion</Code>" in text
    assert "<Code>PreconditionFailed</Code>" in text
    assert run(app, "GET", "/claims/k").headers["x-amz-version-id"] == first


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("If-Match", '"{etag}"')], 204),
        ([("If-Match", "*")], 204),
        ([("If-Match", '"other"')], 412),
        ([("x-amz-if-match-size", "1")], 204),
        ([("x-amz-if-match-size", "2")], 412),
        ([("x-amz-if-match-size", "one")], 400),
        ([("x-amz-if-match-last-modified-time", "Mon, 21 Sep 2026 14:13:20 GMT")], 204),
        ([("x-amz-if-match-last-modified-time", "2026-09-21T14:13:20Z")], 204),
        ([("x-amz-if-match-last-modified-time", "Mon, 21 Sep 2026 14:13:19 GMT")], 412),
        ([("x-amz-if-match-last-modified-time", "yesterday")], 400),
        ([("If-Match", '"{etag}"'), ("x-amz-if-match-size", "2")], 412),
        ([("If-None-Match", "*")], 501),
    ],
)
def test_conditional_delete(app: S3App, guard: FakeGuard, headers: list[tuple[str, str]], status: int) -> None:
    etag = guard.put("claims", "k", b"x")
    answer = run(app, "DELETE", "/claims/k", headers=[(name, value.format(etag=etag)) for name, value in headers])
    assert answer.status == status
    assert (guard.body("claims", "k") is None) == (status == 204)


def test_a_key_named_twice_is_deleted_in_order_and_a_thousand_are_answered_in_theirs(
    app: S3App, guard: FakeGuard
) -> None:
    guard.create("claims", versioning="enabled")
    first = run(app, "PUT", "/claims/k", body=b"1").headers["x-amz-version-id"]
    inner = guard.delete
    done: list[str] = []

    async def slow(principal: Any, ref: Any, *more: Any) -> Any:
        if ref.version_id is None:
            await asyncio.sleep(0.01)
        deleted = await inner(principal, ref, *more)
        done.append("marker" if ref.version_id is None else "version")
        return deleted

    guard.delete = slow  # type: ignore[method-assign,assignment]
    # A marker first, then the one version below it: the other way round would leave a marker that was latest too.
    text = delete_many(
        app, f"<Object><Key>k</Key></Object><Object><Key>k</Key><VersionId>{first}</VersionId></Object>"
    )
    assert text.index("<DeleteMarkerVersionId>") < text.index(f"<VersionId>{first}</VersionId>")
    assert [version.marker for version in guard.datasets["acme", "claims"].keys["k"]] == [True]
    assert done == ["marker", "version"]
    guard.delete = inner  # type: ignore[method-assign]
    text = delete_many(app, "".join(f"<Object><Key>{i}</Key></Object>" for i in range(1000)))
    assert [piece.partition("<")[0] for piece in text.split("<Key>")[1:]] == [str(i) for i in range(1000)]
    assert "MalformedXML" in delete_many(app, "<Object><Key>x</Key></Object>" * 1001)


def test_a_bucket_that_is_not_there_refuses_the_whole_request(app: S3App) -> None:
    body = b"<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>"
    assert run(app, "POST", "/absent?delete", body=body).code == "NoSuchBucket"
