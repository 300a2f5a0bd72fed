"""Access control lists: one answer, and nobody who asks for another is told that it was granted."""

import asyncio
import time
from typing import Any

import pytest

from gateway.errors import Denied
from gateway.identity.sigv4 import Verifier
from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_client import Response, call, signed
from tests.fakes.s3_server import REGION, OneKey

FULL = "<Grant><Grantee><ID>acme</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>"


def run(app: S3App, method: str, path: str, **more: Any) -> Response:
    return asyncio.run(call(app, signed(method, path, **more)))


def policy(grants: str, owner: str = "acme") -> bytes:
    inner = f"<Owner><ID>{owner}</ID></Owner><AccessControlList>{grants}</AccessControlList>"
    return f"<AccessControlPolicy>{inner}</AccessControlPolicy>".encode()


@pytest.fixture
def open_app(guard: FakeGuard) -> S3App:
    """The face of a development zone with open buckets."""
    verifier = Verifier(OneKey(), region=REGION, clock=time.time)
    return S3App(guard, verifier.authenticate, zone="de", region=REGION, ignores_acls=True)


@pytest.mark.parametrize("path", ["/claims?acl", "/claims/k?acl", "/claims/k?acl&versionId=null"])
def test_the_tenant_owns_all_and_alone(app: S3App, guard: FakeGuard, path: str) -> None:
    guard.put("claims", "k", b"x")
    answer = run(app, "GET", path)
    assert answer.status == 200
    text = answer.body.decode()
    assert text.count("<Grant>") == 1
    assert text.count("<ID>acme</ID>") == 2
    assert "<Permission>FULL_CONTROL</Permission>" in text


@pytest.mark.parametrize("path", ["/claims?acl", "/claims/k?acl"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_what_is_absent_or_refused_has_no_list(app: S3App, guard: FakeGuard, method: str, path: str) -> None:
    body = policy(FULL) if method == "PUT" else b""
    absent = path.replace("claims", "absent")
    assert run(app, method, absent, body=body).code == "NoSuchBucket"
    assert run(app, method, "/claims/absent?acl", body=body).code == "NoSuchKey"
    guard.put("claims", "k", b"x")
    guard.deny = Denied("access.none", "no role of yours permits this")
    answer = run(app, method, path, body=body)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    assert b"acme" not in answer.body


@pytest.mark.parametrize("path", ["/claims?acl", "/claims/k?acl"])
def test_what_is_so_already_may_be_asked_for(app: S3App, guard: FakeGuard, path: str) -> None:
    guard.put("claims", "k", b"x")
    for canned in ("private", "bucket-owner-full-control"):
        assert run(app, "PUT", path, headers=[("x-amz-acl", canned)]).status == 200
    assert run(app, "PUT", path, body=policy(FULL)).status == 200
    assert guard.body("claims", "k") == b"x"


REFUSED = {
    "a stranger": (policy(FULL.replace("acme", "other")), "AccessControlListNotSupported"),
    "a stranger beside the owner": (policy(FULL + FULL.replace("acme", "other")), "AccessControlListNotSupported"),
    "a group": (
        policy("<Grant><Grantee><URI>u</URI></Grantee><Permission>FULL_CONTROL</Permission></Grant>"),
        "AccessControlListNotSupported",
    ),
    "less": (policy(FULL.replace("FULL_CONTROL", "READ")), "AccessControlListNotSupported"),
    "nothing at all": (policy(""), "AccessControlListNotSupported"),
    "another owner": (policy(FULL, owner="other"), "AccessControlListNotSupported"),
    "no list": (b"<AccessControlPolicy/>", "MalformedXML"),
    "another document": (b"<Tagging/>", "MalformedXML"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("path", ["/claims?acl", "/claims/k?acl"])
def test_another_list_is_refused_even_where_canned_ones_are_taken(
    app: S3App, open_app: S3App, guard: FakeGuard, path: str, name: str
) -> None:
    guard.put("claims", "k", b"x")
    document, code = REFUSED[name]
    for face in (app, open_app):
        assert run(face, "PUT", path, body=document).code == code
    assert guard.body("claims", "k") == b"x"


def test_a_public_list_is_taken_in_an_open_development_zone_only(app: S3App, open_app: S3App, guard: FakeGuard) -> None:
    guard.put("claims", "k", b"x")
    public = [("x-amz-acl", "public-read")]
    for path in ("/claims?acl", "/claims/k?acl"):
        assert run(app, "PUT", path, headers=public).code == "AccessControlListNotSupported"
        assert run(open_app, "PUT", path, headers=public).status == 200
        assert run(open_app, "PUT", path, headers=[("x-amz-acl", "public-ready")]).status == 400
        grant = [("x-amz-grant-read", "id=other")]
        assert run(open_app, "PUT", path, headers=grant).code == "AccessControlListNotSupported"
        assert run(open_app, "GET", path).body.count(b"<Grant>") == 1


def test_one_of_header_and_document(app: S3App, guard: FakeGuard) -> None:
    guard.put("claims", "k", b"x")
    both = run(app, "PUT", "/claims/k?acl", headers=[("x-amz-acl", "private")], body=policy(FULL))
    assert both.code == "InvalidRequest"
    assert run(app, "PUT", "/claims/k?acl").code == "MalformedXML"
