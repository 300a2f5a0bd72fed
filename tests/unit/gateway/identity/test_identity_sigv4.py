"""The negative tables of the verifier, by name: header form, presigned form, mechanisms, transport."""

import asyncio
import dataclasses
import time
from collections.abc import Callable

import pytest

from gateway.identity.claimed import parse_claim
from gateway.identity.errors import Unauthenticated
from gateway.identity.sigv4 import PayloadKind, VerifiedRequest, Verifier
from tests.fakes.s3_client import WireRequest, signed
from tests.fakes.s3_server import ACCESS_KEY, REGION, OneKey


def verify(request: WireRequest, *, later: float = 0, secure: bool = True) -> VerifiedRequest:
    verifier = Verifier(OneKey(), region=REGION, clock=lambda: time.time() + later)
    return asyncio.run(verifier.authenticate(request.head(secure=secure)))


def refused(request: WireRequest, *, later: float = 0, secure: bool = True) -> str:
    with pytest.raises(Unauthenticated) as caught:
        verify(request, later=later, secure=secure)
    return caught.value.code


def edit(name: bytes, old: bytes, new: bytes) -> Callable[[WireRequest], None]:
    def change(request: WireRequest) -> None:
        value = dict(request.headers)[name]
        assert old in value
        request.replace_header(name, value.replace(old, new, 1))

    return change


def drop(name: bytes) -> Callable[[WireRequest], None]:
    def change(request: WireRequest) -> None:
        request.headers = [item for item in request.headers if item[0] != name]

    return change


def add(name: bytes, value: bytes) -> Callable[[WireRequest], None]:
    return lambda request: request.headers.append((name, value))


def query(old: bytes, new: bytes) -> Callable[[WireRequest], None]:
    def change(request: WireRequest) -> None:
        assert old in request.query
        request.query = request.query.replace(old, new, 1)

    return change


def without_payload_hash(request: WireRequest) -> None:
    drop(b"x-amz-content-sha256")(request)
    edit(AUTH, b"x-amz-content-sha256;", b"")(request)


AUTH = b"authorization"
HEADER_TABLE: dict[str, tuple[Callable[[WireRequest], None], str]] = {
    "anonymous": (drop(AUTH), "AccessDenied"),
    "empty authorization": (edit(AUTH, b"AWS4-HMAC-SHA256 Credential", b"Credential"), "InvalidArgument"),
    "basic": (lambda r: r.replace_header(AUTH, b"Basic Zm9vOmJhcg=="), "InvalidArgument"),
    "bearer": (lambda r: r.replace_header(AUTH, b"Bearer abc"), "InvalidArgument"),
    "signature version 2": (lambda r: r.replace_header(AUTH, b"AWS AKID:c2ln"), "InvalidRequest"),
    "other algorithm": (edit(AUTH, b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256"), "InvalidArgument"),
    "lower-case algorithm": (edit(AUTH, b"AWS4-HMAC", b"aws4-hmac"), "InvalidArgument"),
    "two authorizations": (add(AUTH, b"AWS4-HMAC-SHA256 x"), "InvalidRequest"),
    "no signature": (edit(AUTH, b", Signature=", b", Nothing="), "AuthorizationHeaderMalformed"),
    "short signature": (lambda r: r.replace_header(AUTH, dict(r.headers)[AUTH][:-1]), "AuthorizationHeaderMalformed"),
    "long signature": (lambda r: r.replace_header(AUTH, dict(r.headers)[AUTH] + b"0"), "AuthorizationHeaderMalformed"),
    "upper-case signature": (
        lambda r: r.replace_header(AUTH, dict(r.headers)[AUTH][:-64] + b"A" * 64),
        "AuthorizationHeaderMalformed",
    ),
    "zero signature": (
        lambda r: r.replace_header(AUTH, dict(r.headers)[AUTH][:-64] + b"0" * 64),
        "SignatureDoesNotMatch",
    ),
    "no credential": (edit(AUTH, b"Credential=", b"Cred="), "AuthorizationHeaderMalformed"),
    "credential of three parts": (edit(AUTH, b"/s3/aws4_request", b"/aws4_request"), "AuthorizationHeaderMalformed"),
    "empty key id": (edit(AUTH, ACCESS_KEY.encode(), b""), "AuthorizationHeaderMalformed"),
    "unknown key id": (edit(AUTH, ACCESS_KEY.encode(), b"AKIDOTHER"), "InvalidAccessKeyId"),
    "other region": (edit(AUTH, b"/de-1/", b"/fr-1/"), "AuthorizationHeaderMalformed"),
    "other service": (edit(AUTH, b"/s3/", b"/sts/"), "AuthorizationHeaderMalformed"),
    "other terminator": (edit(AUTH, b"aws4_request", b"aws5_request"), "AuthorizationHeaderMalformed"),
    "host not signed": (edit(AUTH, b"SignedHeaders=host;", b"SignedHeaders="), "AccessDenied"),
    "payload hash not signed": (edit(AUTH, b"x-amz-content-sha256;", b""), "AccessDenied"),
    "date not signed": (edit(AUTH, b";x-amz-date", b""), "AccessDenied"),
    "signed headers out of order": (
        edit(AUTH, b"host;x-amz-content-sha256", b"x-amz-content-sha256;host"),
        "AuthorizationHeaderMalformed",
    ),
    "signed header twice": (edit(AUTH, b"=host;", b"=host;host;"), "AuthorizationHeaderMalformed"),
    "signed header missing": (edit(AUTH, b";x-amz-date", b";x-amz-date;x-amz-zz"), "SignatureDoesNotMatch"),
    "added x-amz header": (add(b"x-amz-meta-role", b"admin"), "AccessDenied"),
    "added copy source": (add(b"x-amz-copy-source", b"/claims/other"), "AccessDenied"),
    "no date": (drop(b"x-amz-date"), "AccessDenied"),
    "two dates": (add(b"x-amz-date", b"20260101T000000Z"), "InvalidRequest"),
    "date that is none": (lambda r: r.replace_header(b"x-amz-date", b"yesterday"), "AccessDenied"),
    "signed payload hash taken away": (drop(b"x-amz-content-sha256"), "SignatureDoesNotMatch"),
    "no payload hash at all": (without_payload_hash, "InvalidRequest"),
    "host changed": (lambda r: r.replace_header(b"host", b"evil:9000"), "SignatureDoesNotMatch"),
    "path changed": (lambda r: setattr(r, "path", b"/claims/other"), "SignatureDoesNotMatch"),
    "slash doubled": (lambda r: setattr(r, "path", b"/claims//k"), "SignatureDoesNotMatch"),
    "query added": (lambda r: setattr(r, "query", b"acl"), "SignatureDoesNotMatch"),
    "method changed": (lambda r: setattr(r, "method", "DELETE"), "SignatureDoesNotMatch"),
    "presigned parameters beside the header": (lambda r: setattr(r, "query", b"X-Amz-Signature=00"), "InvalidArgument"),
    "credential in the query beside the header": (
        lambda r: setattr(r, "query", b"X-Amz-Credential=" + ACCESS_KEY.encode()),
        "InvalidArgument",
    ),
    "encoded name of a presigned parameter": (
        lambda r: setattr(r, "query", b"%58-Amz-Signature=00"),
        "InvalidArgument",
    ),
    "version 2 link beside the header": (lambda r: setattr(r, "query", b"AWSAccessKeyId=x"), "InvalidArgument"),
    "token in the query beside the header": (
        lambda r: setattr(r, "query", b"X-Amz-Security-Token=good-token"),
        "InvalidArgument",
    ),
}


@pytest.mark.parametrize("name", HEADER_TABLE)
def test_bad_header_signature_is_refused(name: str) -> None:
    change, code = HEADER_TABLE[name]
    request = signed("GET", "/claims/k")
    verify(request)
    change(request)
    assert refused(request) == code


PRESIGNED_TABLE: dict[str, tuple[Callable[[WireRequest], None], str]] = {
    "no algorithm": (query(b"X-Amz-Algorithm=", b"Algorithm="), "AuthorizationQueryParametersError"),
    "other algorithm": (query(b"HMAC-SHA256", b"HMAC-SHA1"), "AuthorizationQueryParametersError"),
    "no credential": (query(b"X-Amz-Credential=", b"Credential="), "AuthorizationQueryParametersError"),
    "bad credential": (query(b"%2Faws4_request", b""), "AuthorizationQueryParametersError"),
    "other region": (query(b"de-1", b"fr-1"), "AuthorizationQueryParametersError"),
    "other service": (query(b"%2Fs3%2F", b"%2Fsts%2F"), "AuthorizationQueryParametersError"),
    "unknown key": (query(ACCESS_KEY.encode(), b"AKIDOTHER"), "InvalidAccessKeyId"),
    "no date": (query(b"X-Amz-Date=", b"Date="), "AuthorizationQueryParametersError"),
    "no expires": (query(b"X-Amz-Expires=600", b"x=1"), "AuthorizationQueryParametersError"),
    "negative expires": (query(b"Expires=600", b"Expires=-1"), "AuthorizationQueryParametersError"),
    "expires that is none": (query(b"Expires=600", b"Expires=soon"), "AuthorizationQueryParametersError"),
    "expires over a week": (query(b"Expires=600", b"Expires=604801"), "AuthorizationQueryParametersError"),
    "expires changed": (query(b"Expires=600", b"Expires=601"), "SignatureDoesNotMatch"),
    "expires zero": (query(b"Expires=600", b"Expires=0"), "AccessDenied"),
    "no signed headers": (query(b"SignedHeaders=host", b"Headers=host"), "AuthorizationQueryParametersError"),
    "host not signed": (query(b"SignedHeaders=host", b"SignedHeaders=date"), "AccessDenied"),
    "no signature": (query(b"X-Amz-Signature=", b"Sig="), "AuthorizationQueryParametersError"),
    "short signature": (lambda r: setattr(r, "query", r.query[:-1]), "AuthorizationQueryParametersError"),
    "signature twice": (lambda r: setattr(r, "query", r.query + b"&X-Amz-Signature=" + b"0" * 64), "InvalidArgument"),
    "credential twice": (lambda r: setattr(r, "query", r.query + b"&X-Amz-Credential=x"), "InvalidArgument"),
    "parameter added": (lambda r: setattr(r, "query", r.query + b"&acl"), "SignatureDoesNotMatch"),
    "response type added": (
        lambda r: setattr(r, "query", r.query + b"&response-content-type=text/html"),
        "SignatureDoesNotMatch",
    ),
    "version added": (lambda r: setattr(r, "query", r.query + b"&versionId=null"), "SignatureDoesNotMatch"),
    "unsigned x-amz header": (add(b"x-amz-meta-a", b"b"), "AccessDenied"),
    "authorization beside": (add(AUTH, b"AWS4-HMAC-SHA256 Credential=x"), "InvalidArgument"),
    "method changed": (lambda r: setattr(r, "method", "PUT"), "SignatureDoesNotMatch"),
    "path changed": (lambda r: setattr(r, "path", b"/claims/other"), "SignatureDoesNotMatch"),
    "host changed": (lambda r: r.replace_header(b"host", b"evil"), "SignatureDoesNotMatch"),
    "version 2 beside": (lambda r: setattr(r, "query", r.query + b"&AWSAccessKeyId=a&Signature=b"), "InvalidArgument"),
}


@pytest.mark.parametrize("name", PRESIGNED_TABLE)
def test_bad_presigned_url_is_refused(name: str) -> None:
    change, code = PRESIGNED_TABLE[name]
    request = signed("GET", "/claims/k", presign=600)
    assert verify(request).presigned
    change(request)
    assert refused(request) == code


@pytest.mark.parametrize(
    ("expires", "later", "code"),
    [
        (600, 597, None),
        (600, 601, "AccessDenied"),
        (600, -299, None),
        (600, -302, "AccessDenied"),
        (604800, 890, None),  # a long link is honoured for our own limit, no longer
        (604800, 901, "AccessDenied"),
        (3600, 901, "AccessDenied"),
    ],
)
def test_presigned_time(expires: int, later: float, code: str | None) -> None:
    request = signed("GET", "/claims/k", presign=expires)
    if code is None:
        verify(request, later=later)
    else:
        assert refused(request, later=later) == code


@pytest.mark.parametrize(
    ("later", "code"), [(298, None), (302, "RequestTimeTooSkewed"), (-302, "RequestTimeTooSkewed")]
)
def test_header_time(later: float, code: str | None) -> None:
    request = signed("GET", "/claims/k")
    if code is None:
        verify(request, later=later)
    else:
        assert refused(request, later=later) == code


def test_wrong_secret_is_refused_and_a_session_token_counts() -> None:
    assert refused(signed("GET", "/claims/k", secret="other")) == "SignatureDoesNotMatch"
    verify(signed("GET", "/claims/k", token="good-token"))
    assert refused(signed("GET", "/claims/k", token="bad-token")) == "InvalidToken"
    request = signed("GET", "/claims/k", token="good-token")
    drop(b"x-amz-security-token")(request)
    assert refused(request) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        ("UNSIGNED-PAYLOAD", None),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", None),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", None),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", None),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", "NotImplemented"),
        ("STREAMING-NEW-FORM", "InvalidArgument"),
        ("sha256", "InvalidArgument"),
        ("E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855", "InvalidArgument"),
        ("unsigned-payload", "InvalidArgument"),
    ],
)
def test_payload_forms(stated: str, code: str | None) -> None:
    request = signed("PUT", "/claims/k", body=b"x", payload=stated)
    if code is None:
        assert verify(request).payload.kind.value == stated
    else:
        assert refused(request) == code


def test_unsigned_body_needs_tls_or_loopback() -> None:
    for stated in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"):
        request = signed("PUT", "/claims/k", body=b"x", payload=stated)
        assert refused(request, secure=False) == "AccessDenied"
    assert refused(signed("PUT", "/claims/k", presign=60), secure=False) == "AccessDenied"
    verify(signed("GET", "/claims/k", payload="UNSIGNED-PAYLOAD"), secure=False)
    hashed = verify(signed("PUT", "/claims/k", body=b"x"), secure=False)
    assert hashed.payload.kind is PayloadKind.SHA256


def test_principal_says_how_it_came(capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(signed("GET", "/claims/k")).principal.authenticator == "sigv4"
    found = verify(signed("GET", "/claims/k", presign=60))
    assert found.principal.authenticator == "presigned"
    assert found.signing_key.hex() not in repr(found)
    assert repr(found.signing_key) not in repr(found)


def test_signing_key_cache_is_bounded() -> None:
    verifier = Verifier(OneKey(), region=REGION, clock=time.time)
    for number in range(3000):
        verifier._signing_key(f"secret{number}", "20260101")
    assert len(verifier._keys) <= 1024


def test_a_claim_names_no_principal() -> None:
    claim = parse_claim(signed("GET", "/claims/k").head())
    assert "principal" not in {field.name for field in dataclasses.fields(claim)}
