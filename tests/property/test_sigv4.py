"""Whatever botocore signs, we verify; whatever is changed afterwards, we refuse; whatever name was meant, we read."""

import asyncio
import os
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.identity.checksums import new_checksum
from gateway.identity.crc import crc_function
from gateway.identity.errors import Unauthenticated
from gateway.identity.request_head import percent_decode
from gateway.identity.sigv4 import Verifier
from tests.fakes.s3_client import WireRequest, quoted, signed
from tests.fakes.s3_server import REGION, OneKey

RELAXED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
KEYS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)


def verify(request: WireRequest) -> None:
    verifier = Verifier(OneKey(), region=REGION, clock=time.time)
    asyncio.run(verifier.authenticate(request.head()))


@RELAXED
@given(
    key=KEYS,
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    body=st.binary(max_size=64),
    metadata=st.dictionaries(NAMES, VALUES.map(str.strip), max_size=4),
    query=st.lists(st.tuples(NAMES, KEYS), max_size=4, unique_by=lambda pair: pair[0]),
    presign=st.sampled_from([None, 300]),
)
def test_what_botocore_signs_verifies(
    key: str,
    method: str,
    body: bytes,
    metadata: dict[str, str],
    query: list[tuple[str, str]],
    presign: int | None,
) -> None:
    target = "/claims/" + quoted(key)
    if query:
        target += "?" + "&".join(f"{quoted(n)}={quoted(v).replace('/', '%2F')}" for n, v in query)
    headers = [(f"x-amz-meta-{name}", value) for name, value in metadata.items()]
    request = signed(method, target, body=body, headers=headers, presign=presign)
    verify(request)
    assert percent_decode(request.path) == "/claims/" + key
    assert [pair for pair in request.head().query if not pair[0].startswith("X-Amz-")] == query


GOLDEN = {
    "get": lambda: signed("GET", "/claims/dir/a%20b.txt?versionId=null&x-id=GetObject"),
    "put": lambda: signed("PUT", "/claims/k", body=b"data", headers=[("x-amz-meta-role", "guest")], token="good-token"),
    "link": lambda: signed("GET", "/claims/k?response-content-type=text%2Fplain", presign=300),
}


def mutations(request: WireRequest) -> list[tuple[str, WireRequest]]:
    """Every byte of every signed part, changed to something else."""
    found = []

    def copy() -> WireRequest:
        return WireRequest(request.method, request.path, request.query, list(request.headers), request.body)

    for field in ("path", "query"):
        raw = getattr(request, field)
        for i in range(len(raw)):
            changed = copy()
            setattr(changed, field, raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :])
            found.append((f"{field}[{i}]", changed))
    signed_names = [name for name, _ in request.headers if name.startswith(b"x-amz-") or name == b"host"]
    for name in [*signed_names, b"authorization"]:
        value = dict(request.headers).get(name)
        for i in range(len(value or b"")):
            assert value is not None
            changed = copy()
            changed.replace_header(name, value[:i] + bytes([value[i] ^ 1]) + value[i + 1 :])
            found.append((f"{name.decode()}[{i}]", changed))
    for i in range(len(request.method)):
        changed = copy()
        changed.method = request.method[:i] + chr(ord(request.method[i]) ^ 1) + request.method[i + 1 :]
        found.append((f"method[{i}]", changed))
    return found


@pytest.mark.parametrize("name", GOLDEN)
def test_every_changed_byte_is_refused(name: str) -> None:
    request = GOLDEN[name]()
    verify(request)
    bent = mutations(request)
    assert len(bent) > 250
    for where, changed in bent:
        try:
            verify(changed)
        except Unauthenticated:
            continue
        pytest.fail(f"changing {where} was accepted")


@RELAXED
@given(raw=st.binary(max_size=60))
def test_a_path_decodes_to_one_name_or_is_refused(raw: bytes) -> None:
    try:
        name = percent_decode(raw)
    except Unauthenticated as error:
        assert error.code == "InvalidURI"  # noqa: PT017
    else:
        assert percent_decode(name.encode("utf-8").replace(b"%", b"%25")) == name


@RELAXED
@given(raw=st.binary(max_size=200), query=st.binary(max_size=100))
def test_any_head_is_verified_or_refused_and_never_crashes(raw: bytes, query: bytes) -> None:
    headers = [(b"host", b"h"), (b"authorization", raw), (b"x-amz-date", b"20260101T000000Z")]
    with pytest.raises(Unauthenticated):
        verify(WireRequest("GET", b"/claims/k", query, headers))


@RELAXED
@given(size=st.integers(0, 5000), cut=st.integers(0, 5000))
def test_own_crc_is_the_crc(size: int, cut: int) -> None:
    import zlib

    data = os.urandom(size)
    own = crc_function(0x04C11DB7, 32)
    assert own(data[cut:], own(data[:cut], 0)) == zlib.crc32(data)


@pytest.mark.parametrize(
    ("name", "check"),
    [("crc32", "cbf43926"), ("crc32c", "e3069283"), ("crc64nvme", "ae8b14860a799888")],
)
def test_published_check_values(name: str, check: str) -> None:
    running = new_checksum(name)
    running.update(b"12345")
    running.update(b"6789")
    assert running.digest().hex() == check
