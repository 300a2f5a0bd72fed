"""The launcher's socket: its limits, its errors, and a token that the gateway's verifier takes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from demesne.errors import DemesneError, Invalid, Malformed, NotConfigured, Unavailable
from demesne.evidence.confidential_space import ConfidentialSpaceAttester
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_tokens import FakeIssuer, space_claims
from tests.fakes.evidence_services import LocalService, space_launcher
from vault.attest.binding import ExpectedBinding
from vault.attest.tokens.confidential_space import SpacePolicy, SpaceTrust, verify_confidential_space
from vault.errors import Refused

EXPECTED = ExpectedBinding("ab" * 32, "gateway", "thumbprint", "train", ("claims",))
BOUND = EXPECTED.report_data()
GOOGLE = FakeIssuer()
AUDIENCE = "https://gateway.example"


def token(asked: dict[str, Any]) -> str:
    return GOOGLE.sign(space_claims(aud=asked["audience"], eat_nonce=asked["nonces"][0]))


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[tuple[LocalService, Path]]:
    socket = tmp_path / "teeserver.sock"
    with space_launcher(socket, token) as running:
        yield running, socket


def test_a_token_verifies_at_the_gateway(launcher: tuple[LocalService, Path]) -> None:
    service, socket = launcher
    evidence = json.loads(json.dumps(ConfidentialSpaceAttester(AUDIENCE, path=socket).evidence(BOUND)))
    policy = SpacePolicy(audiences=frozenset({AUDIENCE}))
    assert set(evidence) == {"kind", "version", "token"}
    claims = verify_confidential_space(evidence["token"], SpaceTrust((), GOOGLE.keys), policy, BOUND, NOW_MS)
    assert claims.platform["bound"] is True
    with pytest.raises(Refused, match=r"attest\.binding"):
        verify_confidential_space(evidence["token"], SpaceTrust((), GOOGLE.keys), policy, bytes(64), NOW_MS)
    (request,) = service.requests
    assert json.loads(request[3])["token_type"] == "PKI"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ((400, b"nonce length"), Invalid), ((500, b""), Unavailable), ((200, b""), Malformed),
        ((200, b"x" * 17_000 + b".."), Malformed), ((200, "é.é.é".encode()), Malformed),
    ],
)  # fmt: skip
def test_the_launcher_fails(
    launcher: tuple[LocalService, Path], answer: tuple[int, bytes], kind: type[DemesneError]
) -> None:
    service, socket = launcher
    service.override = [answer]
    with pytest.raises(kind):
        ConfidentialSpaceAttester(AUDIENCE, path=socket).evidence(BOUND)


def test_no_socket_is_no_confidential_space(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="no Confidential Space"):
        ConfidentialSpaceAttester(AUDIENCE, path=tmp_path / "absent").evidence(BOUND)


def test_a_launcher_that_went_away_is_unavailable(tmp_path: Path) -> None:
    socket = tmp_path / "teeserver.sock"
    with space_launcher(socket, token):
        pass
    with pytest.raises(Unavailable):
        ConfidentialSpaceAttester(AUDIENCE, path=socket, seconds=2).evidence(BOUND)


def test_a_token_is_for_somebody() -> None:
    with pytest.raises(Invalid, match="DEMESNE_EVIDENCE_AUDIENCE"):
        ConfidentialSpaceAttester("")
