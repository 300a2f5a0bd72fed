import time

import pytest

from gateway.identity.sigv4 import Verifier
from gateway.s3.router import S3App
from tests.fakes.guard import FakeGuard
from tests.fakes.s3_server import REGION, OneKey


@pytest.fixture
def guard() -> FakeGuard:
    guard = FakeGuard(REGION)
    guard.create("claims")
    return guard


@pytest.fixture
def app(guard: FakeGuard) -> S3App:
    verifier = Verifier(OneKey(), region=REGION, clock=time.time)
    return S3App(
        guard,
        verifier.authenticate,
        zone="de",
        region=REGION,
        host_aliases=("localhost", "s3.localhost"),
        authenticate_form=verifier.authenticate_form,
    )
