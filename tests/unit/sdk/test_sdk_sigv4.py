"""The signer against botocore, another implementation, over what tends to go wrong: paths, queries, tokens."""

from datetime import UTC, datetime
from typing import Any

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from demesne import sigv4
from demesne.credentials import Credentials

NOW = datetime(2026, 11, 21, 21, 0, 0, tzinfo=UTC)
SHA = "ab" * 32


def _ours(path: str, query: str, headers: dict[str, str], token: str | None) -> str:
    signed = sigv4.sign(
        method="PUT", host="127.0.0.1:9000", raw_path=path, raw_query=query, headers=headers, payload_sha256=SHA,
        credentials=Credentials("AK", "secret", token), region="de", service="s3", now=NOW,
    )  # fmt: skip
    return signed["authorization"]


def _botocore(path: str, query: str, headers: dict[str, str], token: str | None) -> str:
    """botocore's signature at NOW: `timestamp` is what its signer reads, its clock call is stepped around."""
    signer = botocore.auth.S3SigV4Auth(BotoCredentials("AK", "secret", token), "s3", "de")
    url = f"http://127.0.0.1:9000{path}" + (f"?{query}" if query else "")
    request: Any = AWSRequest("PUT", url, headers=headers)
    request.context |= {"timestamp": "20261121T210000Z", "payload_signing_enabled": True}
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    request.headers["X-Amz-Content-SHA256"] = SHA
    if token:
        request.headers["X-Amz-Security-Token"] = token
    canonical = signer.canonical_request(request)
    signature = signer.signature(signer.string_to_sign(request, canonical), request)
    names = signer.signed_headers(signer.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={signer.scope(request)}, SignedHeaders={names}, Signature={signature}"


@pytest.mark.parametrize("token", [None, "t" * 40])
@pytest.mark.parametrize("path", ["/", "/claims/part-0.parquet", "/claims/a%20b%2Bc/%C3%A9.csv", "/claims/~x/%25"])
@pytest.mark.parametrize("query", ["", "list-type=2&prefix=a%2Fb", "uploads=", "b=2&a=1&a=0"])
def test_signature_equals_botocores(path: str, query: str, token: str | None) -> None:
    headers = {"content-type": "text/csv", "x-amz-meta-note": "a  b"}
    assert _ours(path, query, headers, token) == _botocore(path, query, headers, token)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30))
def test_any_key_signs_as_botocore_does(key: str) -> None:
    path = "/claims/" + "/".join(sigv4.encode(part) for part in key.split("/"))
    assert _ours(path, "", {}, None) == _botocore(path, "", {}, None)


def test_secret_and_token_are_in_no_repr() -> None:
    text = repr(Credentials("AK", "very-secret", "very-token", NOW))
    assert "very-secret" not in text
    assert "very-token" not in text
