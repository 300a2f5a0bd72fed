"""A live fake gateway with one small Parquet file, and sessions at it."""

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import demesne
from demesne.session import Session
from tests.fakes.api import FakeGateway, StoredObject

TRAINER = {"access_key_id": "AKTRAIN", "secret_access_key": "train-secret"}
TABLE = pa.table({"name": ["Ada", "Grace"], "age": [36, 85]})


@contextmanager
def gateway_with_claims(dataset: str = "claims", key: str = "part-0.parquet") -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        running.datasets[dataset] = {"name": dataset, "zone": "de", "synthetic": True}
        buffer = io.BytesIO()
        pq.write_table(TABLE, buffer)
        body = buffer.getvalue()
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        modified = datetime.now(UTC)
        running.objects[dataset, key] = StoredObject(body, etag, "application/x-parquet", {}, modified)
        yield running


def environment_of(gateway: FakeGateway, root: Path) -> dict[str, str]:
    """What a job's environment holds: the gateway, and the job's own key."""
    return {
        "PATH": os.environ["PATH"], "DEMESNE_ENDPOINT": gateway.api_endpoint, "AWS_REGION": "de",
        "DEMESNE_S3_ENDPOINT": gateway.s3_endpoint, "AWS_ACCESS_KEY_ID": "AKTRAIN",
        "AWS_SECRET_ACCESS_KEY": "train-secret", "PYTHONPATH": f"{root}:{root}/sdk/src",
    }  # fmt: skip


def options_for(**options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "purpose": "claims-risk-model", "scope": ["claims"], "credentials": TRAINER, "region": "de",
        "attester": "sample", "notice": io.StringIO(),
    }  # fmt: skip
    return given | options


def attested(gateway: FakeGateway, **options: Any) -> Session:
    return demesne.session(gateway.api_endpoint, **options_for(**options))
