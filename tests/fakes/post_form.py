"""Browser forms: policy and signature as botocore makes them, the oracle; the body as multipart/form-data."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import boto3
from botocore.config import Config

from tests.fakes.s3_client import WireRequest
from tests.fakes.s3_server import ACCESS_KEY, REGION, SECRET

BOUNDARY = "form-boundary-7d"


def presigned_fields(
    key: str, *, conditions: Sequence[Any] = (), fields: Mapping[str, str] | None = None, expires: int = 300,
    token: str | None = None, region: str = REGION, secret: str = SECRET,
) -> dict[str, str]:  # fmt: skip
    """What `generate_presigned_post` tells a browser to send."""
    connect: Any = boto3.client
    s3 = connect(
        "s3", endpoint_url="http://127.0.0.1:9", region_name=region, aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=secret, aws_session_token=token, config=Config(signature_version="s3v4"),
    )  # fmt: skip
    made = s3.generate_presigned_post(
        "claims", key, Fields=dict(fields or {}), Conditions=list(conditions), ExpiresIn=expires
    )
    found: dict[str, str] = made["fields"]
    return found


def encode(fields: Mapping[str, str], body: bytes | None, *, filename: str = "f.csv", after: str = "") -> bytes:
    """The fields, then the file, then `after` as one more field behind it."""
    lines = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    out = "".join(lines).encode()
    if body is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
        out += head.encode() + b"Content-Type: text/csv\r\n\r\n" + body + b"\r\n"
    if after:
        out += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{after}"\r\n\r\nx\r\n'.encode()
    return out + f"--{BOUNDARY}--\r\n".encode()


def post(body: bytes, path: str = "/claims", *, headers: Sequence[tuple[bytes, bytes]] = ()) -> WireRequest:
    wire = [
        (b"host", b"127.0.0.1:9000"),
        (b"content-type", b"multipart/form-data; boundary=" + BOUNDARY.encode()),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    path, _, query = path.partition("?")
    return WireRequest("POST", path.encode(), query.encode(), wire, body)


def stamp(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
