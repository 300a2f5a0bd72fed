"""A token for credentials, against an endpoint that reads requests and writes answers with the gateway's own STS."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl

import pytest

from demesne.errors import DemesneError, Invalid, Malformed, Refused, Unavailable
from demesne.web_identity import WebIdentity
from gateway.errors import Denied, GatewayError
from gateway.errors import Unavailable as GatewayUnavailable
from gateway.identity.request_head import RequestHead
from gateway.s3.sts import AssumedRole, render_assumed, render_error, role_request
from tests.fakes.evidence_services import Answer, LocalService

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Tokens:
    def __init__(self) -> None:
        self.read = 0

    def token(self) -> str:
        self.read += 1
        return f"head.token-{self.read}.signature"


class Zone:
    """The endpoint. `refusal` is answered instead."""

    def __init__(self) -> None:
        self.refusal: tuple[str, GatewayError, int] | None = None
        self.tokens: list[str] = []
        self.lifetime = timedelta(hours=1)
        self.clock = NOW

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        assert (method, path, headers["content-type"]) == ("POST", "/", "application/x-www-form-urlencoded")
        head = RequestHead("POST", b"/", b"", {}, secure=True, source="127.0.0.1")
        asked = role_request(head, parse_qsl(body.decode(), keep_blank_values=True))
        assert asked.role_arn == "arn:demesne:iam::main:purpose/train"
        self.tokens.append(asked.token)
        if self.refusal is not None:
            code, error, status = self.refusal
            return status, render_error(code, error, "r")
        number = len(self.tokens)
        ends = int((self.clock + self.lifetime).timestamp() * 1000)
        role = AssumedRole(f"AK{number}", "secret", "session<&>", ends, "sub", "aud", "ci", "role", "arn")
        return 200, render_assumed(role, "r")


@pytest.fixture
def zone() -> Iterator[tuple[Zone, LocalService]]:
    made = Zone()
    with LocalService(made.answer) as service:
        yield made, service


def test_credentials_are_kept_and_renewed_with_the_token_of_then(zone: tuple[Zone, LocalService]) -> None:
    made, service = zone
    tokens = Tokens()
    source = WebIdentity(tokens, s3_endpoint=service.url, purpose="train", clock=lambda: made.clock)
    first = source()
    assert (first.access_key_id, first.session_token, first.expiration) == ("AK1", "session<&>", NOW + made.lifetime)
    assert source() is first
    made.clock = NOW + timedelta(minutes=56)
    assert source().access_key_id == "AK2"
    assert made.tokens == ["head.token-1.signature", "head.token-2.signature"]
    assert "signature" not in repr(vars(source))


@pytest.mark.parametrize(
    ("code", "error", "status", "kind"),
    [
        ("AccessDenied", Denied("AccessDenied", "The token is not believed", rule="sts.issuer"), 403, Refused),
        ("InvalidIdentityToken", Denied("X", "a signature"), 400, Refused),
        ("ServiceUnavailable", GatewayUnavailable("ServiceUnavailable", "later"), 503, Unavailable),
        ("IDPCommunicationError", GatewayUnavailable("X", "the issuer is away"), 400, Unavailable),
        ("ValidationError", Denied("X", "RoleArn"), 400, Invalid),
    ],
)
def test_refusals_say_whose_they_are(
    zone: tuple[Zone, LocalService], code: str, error: GatewayError, status: int, kind: type[DemesneError]
) -> None:
    made, service = zone
    made.refusal = (code, error, status)
    with pytest.raises(kind, match=error.message) as caught:
        WebIdentity(Tokens(), s3_endpoint=service.url, purpose="train")()
    assert "signature" not in caught.value.sentence.replace("a signature", "")


@pytest.mark.parametrize("answer", [(200, b"no xml"), (200, b"<a/>"), (502, b"<html>"), (200, b"x" * 70_000)])
def test_answers_of_something_else_are_malformed(zone: tuple[Zone, LocalService], answer: Answer) -> None:
    zone[1].override = [answer]
    with pytest.raises(Malformed):
        WebIdentity(Tokens(), s3_endpoint=zone[1].url, purpose="train")()


def test_a_zone_that_is_away_is_unavailable() -> None:
    with LocalService(lambda *_: (200, b"")) as service:
        url = service.url
    with pytest.raises(Unavailable):
        WebIdentity(Tokens(), s3_endpoint=url, purpose="train", seconds=2)()


def test_an_answer_whose_entities_multiply_is_malformed(zone: tuple[Zone, LocalService]) -> None:
    """Expat refuses what grows a hundredfold; nothing of it is believed either way."""
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    document = f'<!DOCTYPE a [<!ENTITY e0 "xxxxxxxxxx">{entities}]><a>&e11;</a>'
    zone[1].override = [(200, document.encode())]
    with pytest.raises(Malformed):
        WebIdentity(Tokens(), s3_endpoint=zone[1].url, purpose="train")()
