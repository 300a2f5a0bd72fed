"""AWS's published Signature V4 vectors, header and presigned form, when they are there (never committed).

The suite is for services that normalise the path and encode it twice; S3 does neither. Where a vector's canonical path
differs from what S3 signs, the verifier must refuse the request as sent, and accept it with the path the vector means.
"""

import asyncio
import datetime as dt
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.identity import canonical
from gateway.identity.claimed import parse_claim
from gateway.identity.errors import Unauthenticated
from gateway.identity.lookup import SecretKey
from gateway.identity.request_head import RequestHead
from gateway.identity.sigv4 import Verifier, signed_message
from tests.fakes.s3_server import PRINCIPAL

ROOT = Path(os.environ.get("DEMESNE_VECTORS") or Path(__file__).parents[4].parent / "shared" / "vectors") / "sigv4"
if not ROOT.is_dir():
    pytest.skip("the published SigV4 vectors are not beside this repository", allow_module_level=True)
CASES = sorted(path.name for path in ROOT.iterdir())


class VectorKey:
    async def lookup(self, access_key_id: str, security_token: str | None) -> SecretKey:
        assert access_key_id == "AKIDEXAMPLE"
        return SecretKey("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", PRINCIPAL)


def read(case: str, name: str) -> bytes:
    return (ROOT / case / name).read_bytes()


def parse(request: bytes) -> RequestHead:
    """The vector's own plain-text form of a request; folded header lines are joined as HTTP says."""
    head, _, _ = request.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = head.split(b"\n")
    method, _, rest = lines[0].partition(b" ")
    path, _, query = rest.rpartition(b" ")[0].partition(b"?")
    headers: list[tuple[bytes, bytes]] = []
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t"):
            name, value = headers[-1]
            headers[-1] = (name, value + b" " + line.strip())
        elif line:
            name, _, value = line.partition(b":")
            headers.append((name.lower(), value))
    return RequestHead.parse(method.decode(), path, query, headers)


def canonical_parts(case: str, kind: str) -> tuple[bytes, bytes, str]:
    lines = read(case, f"{kind}-canonical-request.txt").split(b"\n")
    return lines[1], lines[2], lines[-1].decode()


def with_path(head: RequestHead, path: bytes) -> RequestHead:
    return RequestHead(head.method, path, head.raw_query, head.headers, head.query)


def verifier(case: str) -> Verifier:
    context: dict[str, Any] = json.loads(read(case, "context.json"))
    moment = dt.datetime.fromisoformat(context["timestamp"])
    return Verifier(
        VectorKey(), region=context["region"], service=context["service"], clock=lambda: moment.timestamp() + 1
    )


def test_all_vectors_are_here() -> None:
    assert len(CASES) == 38


@pytest.mark.parametrize("kind", ["header", "query"])
@pytest.mark.parametrize("case", CASES)
def test_published_vector(case: str, kind: str) -> None:
    path, query, payload = canonical_parts(case, kind)
    head = parse(read(case, f"{kind}-signed-request.txt"))
    claim = parse_claim(head)
    meant = with_path(head, path)
    if (case, kind) == ("post-sts-header-after", "query"):
        # The token was added after signing. Here every parameter of a link is signed, so this must not verify.
        assert signed_message(meant, claim, payload) != read(case, "query-string-to-sign.txt").strip()
        return
    assert canonical.canonical_query(head.raw_query, without=b"X-Amz-Signature" if kind == "query" else b"") == query
    message = signed_message(meant, claim, payload)
    assert message == read(case, f"{kind}-string-to-sign.txt").strip()
    key = canonical.signing_key("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", claim.date, claim.region, claim.service)
    assert canonical.signature(key, message).encode() == read(case, f"{kind}-signature.txt").strip()
    if canonical.canonical_path(head.raw_path) != path:
        assert "normalized" in case
        assert signed_message(head, claim, payload) != message, "S3 signs the path as it was sent"


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("post-sts")])
def test_whole_verifier_on_the_session_vectors(case: str) -> None:
    """The token must be signed: AWS's 'add it after signing' form is what this gateway refuses."""
    _, _, payload = canonical_parts(case, "header")
    head = parse(read(case, "header-signed-request.txt"))
    head = RequestHead(
        head.method, head.raw_path, head.raw_query, {**head.headers, b"x-amz-content-sha256": (payload.encode(),)}
    )
    with pytest.raises(Unauthenticated) as caught:
        asyncio.run(verifier(case).authenticate(head))
    assert caught.value.code == "AccessDenied"
