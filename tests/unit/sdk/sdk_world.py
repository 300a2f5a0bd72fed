"""A live fake gateway with one small Parquet file, and sessions at it."""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import demesne
from demesne.session import Session
from tests.fakes.api import FakeGateway, StoredObject

TRAINER = {"access_key_id": "AKTRAIN", "secret_access_key": "train-secret"}
TABLE = pa.table({"name": ["Ada", "Grace"], "age": [36, 85]})


@contextmanager
def gateway_with_claims() -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        running.datasets["claims"] = {"name": "claims", "zone": "de", "synthetic": True}
        buffer = io.BytesIO()
        pq.write_table(TABLE, buffer)
        body = buffer.getvalue()
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        modified = datetime.now(UTC)
        running.objects["claims", "part-0.parquet"] = StoredObject(body, etag, "application/x-parquet", {}, modified)
        yield running


def options_for(**options: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "purpose": "claims-risk-model", "scope": ["claims"], "credentials": TRAINER, "region": "de",
        "attester": "sample", "notice": io.StringIO(),
    }  # fmt: skip
    return given | options


def attested(gateway: FakeGateway, **options: Any) -> Session:
    return demesne.session(gateway.api_endpoint, **options_for(**options))
