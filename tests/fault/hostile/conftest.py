"""One real zone with tight bounds, for everybody who misbehaves in this folder."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.world import started, work_dir
from tests.fault.hostile.wire import BUCKET, SMALL, Target

BIG = 24 << 20
PER_PRINCIPAL = 24
REFUSALS = 40
STALL_SECONDS = 3


@pytest.fixture(scope="session")
def target() -> Iterator[Target]:
    """Zone de: `small` of 64 KiB and `big` of 24 MiB in an open dataset."""
    extra = {
        "DEMESNE_STALL_SECONDS": str(STALL_SECONDS), "DEMESNE_REQUESTS_PER_PRINCIPAL": str(PER_PRINCIPAL),
        "DEMESNE_REFUSALS_PER_MINUTE": str(REFUSALS),
    }  # fmt: skip
    with work_dir("hostile") as directory:
        with started(directory, zones=("de",), created_buckets="open", extra=extra) as running:
            s3 = running.s3()
            s3.create_bucket(Bucket=BUCKET)
            s3.put_object(Bucket=BUCKET, Key="small", Body=os.urandom(SMALL))
            s3.put_object(Bucket=BUCKET, Key="big", Body=os.urandom(BIG))
            found = Target(running)
            with ThreadPoolExecutor(10) as pool:  # every thread of the worker has its connections to the catalog
                list(pool.map(lambda _: s3.get_object(Bucket=BUCKET, Key="big")["Body"].read(), range(40)))
            yield found
