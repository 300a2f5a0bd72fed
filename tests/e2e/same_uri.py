"""Reads one URI with every client, unmodified: who reads is said by the environment alone. Prints what each saw.

AWS_… python same_uri.py BUCKET KEY
"""

import hashlib
import io
import json
import os
import sys
from collections.abc import Callable
from typing import Any

BUCKET, KEY = sys.argv[1:3]
URI = f"s3://{BUCKET}/{KEY}"
ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
SCHEME, _, ADDRESS = ENDPOINT.partition("://")
COLUMNS = ["email", "visits"]
CA = os.environ.get("AWS_CA_BUNDLE")


def with_boto3() -> Any:
    import boto3
    import pyarrow.parquet as pq

    got = boto3.client("s3").get_object(Bucket=BUCKET, Key=KEY)
    return pq.read_table(io.BytesIO(got["Body"].read()), columns=COLUMNS)


def with_s3fs() -> Any:
    import pyarrow.parquet as pq
    import s3fs

    with s3fs.S3FileSystem().open(URI, "rb") as file:
        return pq.read_table(file, columns=COLUMNS)


def with_pandas() -> Any:
    """pandas' own choice: pyarrow's filesystem."""
    import pandas as pd

    return pd.read_parquet(URI, columns=COLUMNS)


def with_pandas_s3fs() -> Any:
    import pandas as pd

    return pd.read_parquet(URI, columns=COLUMNS, storage_options={"anon": False})


def with_duckdb() -> Any:
    import duckdb
    import s3fs

    connection = duckdb.connect()
    connection.register_filesystem(s3fs.S3FileSystem())
    return connection.execute(f"select email, visits from read_parquet('{URI}')").fetchall()


def with_polars() -> Any:
    import polars as pl

    return pl.scan_parquet(URI).select(COLUMNS).collect()


def with_pyarrow() -> Any:
    import pyarrow.parquet as pq
    from pyarrow import fs

    options: dict[str, Any] = {"tls_ca_file_path": CA} if CA else {}
    filesystem = fs.S3FileSystem(endpoint_override=ADDRESS, scheme=SCHEME, **options)
    return pq.read_table(f"{BUCKET}/{KEY}", filesystem=filesystem, columns=COLUMNS)


def with_pyarrow_uri() -> Any:
    import pyarrow.dataset as ds

    return ds.dataset(URI, format="parquet").to_table(columns=COLUMNS)


def with_obstore() -> Any:
    import obstore
    import pyarrow.parquet as pq
    from obstore.store import S3Store

    got = obstore.get(S3Store(BUCKET), KEY)
    return pq.read_table(io.BytesIO(bytes(got.bytes())), columns=COLUMNS)


CLIENTS: dict[str, Callable[[], Any]] = {
    "boto3": with_boto3,
    "s3fs": with_s3fs,
    "pandas": with_pandas,
    "pandas-s3fs": with_pandas_s3fs,
    "duckdb": with_duckdb,
    "polars": with_polars,
    "pyarrow": with_pyarrow,
    "pyarrow-uri": with_pyarrow_uri,
    "obstore": with_obstore,
}


def rows_of(answer: Any) -> list[tuple[str, int]]:
    if isinstance(answer, list):
        return [(str(email), int(visits)) for email, visits in answer]
    columns = [answer[name].to_list() if hasattr(answer[name], "to_list") else answer[name].to_pylist()
               for name in COLUMNS]  # fmt: skip
    return list(zip(*columns, strict=True))


def seen(read: Callable[[], Any]) -> dict[str, Any]:
    try:
        rows = rows_of(read())
    except Exception as error:  # one client that fails must not hide the others
        return {"error": f"{type(error).__name__}: {error}"[:600]}
    digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
    return {"rows": len(rows), "first": rows[0][0], "sha256": digest, "visits": sum(row[1] for row in rows)}


if __name__ == "__main__":
    chosen = sys.argv[3].split(",") if len(sys.argv) > 3 else list(CLIENTS)
    print(json.dumps({name: seen(CLIENTS[name]) for name in chosen}))
