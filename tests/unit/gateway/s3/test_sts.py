"""STS on the S3 endpoint: from a token to credentials that read a masked view, and every way in which it says no."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gateway_world import CSV, MASKED
from tests.fakes.identity_provider import IdentityProvider
from tests.fakes.sts_world import StsWorld


@pytest.fixture
def world(tmp_path: Path) -> Iterator[StsWorld]:
    made = StsWorld(tmp_path)
    yield made
    made.close()


@pytest.fixture
def provider(world: StsWorld) -> IdentityProvider:
    made = IdentityProvider()
    world.trusts(made.issuer())
    return made


def token(world: StsWorld, provider: IdentityProvider, **claims: Any) -> str:
    return provider.token(provider.claims(world.now, **claims))


def test_a_token_becomes_credentials_that_read_the_masked_view(world: StsWorld, provider: IdentityProvider) -> None:
    world.build(world.put("a.csv", CSV))
    answer = world.assume(token(world, provider))
    assert answer.status == 200, answer.response.body
    assert answer.parsed["SubjectFromWebIdentityToken"] == "ci"
    read = world.get(answer.credentials, "claims/a.csv")
    assert (read.status, read.body) == (200, MASKED), read.body
