"""Two readers with nothing but a web identity token, for what `same_uri` cannot show. Prints JSON.

AWS_… python -m tests.e2e.web_identity_clients minio BUCKET KEY
AWS_… python -m tests.e2e.web_identity_clients renew BUCKET KEY     then a line on standard input for each read more
"""

import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.e2e.s3_clients import Place, Rows, from_parquet, place


def told(rows: Rows, key: str) -> None:
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    print(json.dumps({"first": rows[0][0], "sha256": digest, "rows": len(rows), "key": key}), flush=True)


def minio(at: Place) -> None:
    """minio-py's own WebIdentityProvider, told where STS is, as it does not read that from the environment."""
    from minio import Minio
    from minio.credentials import WebIdentityProvider

    provider = WebIdentityProvider(
        jwt_provider_func=lambda: {"access_token": Path(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"]).read_text()},
        sts_endpoint=at.endpoint, duration_seconds=900, role_arn=os.environ["AWS_ROLE_ARN"],
    )  # fmt: skip
    scheme, _, address = at.endpoint.partition("://")
    client = Minio(address, credentials=provider, region=at.region, secure=scheme == "https")
    answer = client.get_object(at.bucket, at.key)
    told(from_parquet(io.BytesIO(answer.read())), provider.retrieve().access_key)
    answer.close()
    answer.release_conn()


def renew(at: Place) -> None:
    """One boto3 client. Within 15 minutes of their end botocore asks for new credentials, by the file as it is then."""
    import boto3

    client: Any = boto3.client("s3")
    while True:
        rows = from_parquet(io.BytesIO(client.get_object(Bucket=at.bucket, Key=at.key)["Body"].read()))
        told(rows, client._request_signer._credentials.get_frozen_credentials().access_key)
        if not sys.stdin.readline():
            return


if __name__ == "__main__":
    {"minio": minio, "renew": renew}[sys.argv[1]](place(*sys.argv[2:4]))
