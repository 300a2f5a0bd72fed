"""The SPIFFE Workload API: one call over HTTP/2 on a Unix socket, its errors, and messages of every shape."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demesne.errors import DemesneError, Invalid, Malformed, NotConfigured, Unavailable
from demesne.evidence.spiffe import WorkloadApi, socket_path
from tests.fakes.spiffe_agent import FakeAgent, framed, message

OURS, OTHER = "spiffe://example.org/train", "spiffe://example.org/other"


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    def svids(audience: str) -> list[tuple[str, str]]:
        return [(OURS, f"h.{'x' * 900}.{audience[:4]}"), (OTHER, "h.other.s")]

    with FakeAgent(tmp_path / "agent.sock", svids) as running:
        yield running


def api(tmp_path: Path, **options: str) -> WorkloadApi:
    return WorkloadApi("demesne", address=f"unix://{tmp_path}/agent.sock", seconds=5, **options)


def test_a_token_for_our_audience_arrives_whole(agent: FakeAgent, tmp_path: Path) -> None:
    assert api(tmp_path).token() == f"h.{'x' * 900}.deme"
    ((head, body),) = agent.requests
    assert head[b"workload.spiffe.io"] == b"true"
    assert body == framed(message((1, b"demesne")))


def test_one_of_several_identities_is_chosen_by_name(agent: FakeAgent, tmp_path: Path) -> None:
    assert api(tmp_path, identity=OTHER).token() == "h.other.s"
    assert agent.requests[0][1] == framed(message((1, b"demesne"), (2, OTHER.encode())))
    with pytest.raises(NotConfigured, match="not this one"):
        api(tmp_path, identity="spiffe://example.org/third").token()


@pytest.mark.parametrize(
    ("status", "kind"),
    [((7, "no identity issued"), NotConfigured), ((3, "audience"), Invalid), ((14, "starting"), Unavailable)],
)
def test_errors_of_the_agent(
    agent: FakeAgent, tmp_path: Path, status: tuple[int, str], kind: type[DemesneError]
) -> None:
    agent.status = status
    with pytest.raises(kind, match=status[1]):
        api(tmp_path).token()


def test_an_error_behind_an_empty_body_is_no_token(agent: FakeAgent, tmp_path: Path) -> None:
    agent.status, agent.early = (7, "late"), False
    with pytest.raises(Unavailable, match="no message"):
        api(tmp_path).token()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", Unavailable), (b"\1\0\0\0\0", Unavailable), (framed(b"x")[:-1], Unavailable), (framed(b""), Malformed),
        (framed(b"\x0a\xff"), Malformed), (framed(b"\x0a\xff\xff\xff\xff\xff\xff"), Malformed),
        (framed(b"\x08\x01"), Malformed), (framed(message((1, b""))), Malformed),
        (framed(message((1, message((2, b"no token"))))), Malformed),
        (framed(message((1, message((2, b"a." * 9000 + b"b"))))), Malformed),
        (framed(message((2, b"unknown"))), Malformed), (framed(message((1, b"x" * 70_000))), Unavailable),
    ],
)  # fmt: skip
def test_messages_of_another_shape(agent: FakeAgent, tmp_path: Path, raw: bytes, kind: type[DemesneError]) -> None:
    agent.raw = raw
    with pytest.raises(kind):
        api(tmp_path).token()


def test_no_socket_says_what_to_mount(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=r"agent\.sock is not here"):
        api(tmp_path).token()


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:8081", "/run/agent.sock", "unix://host/path", "unix:relative", ""]
)
def test_only_unix_sockets_are_agents(address: str) -> None:
    with pytest.raises(Invalid):
        socket_path(address)


def test_both_spellings_of_a_socket() -> None:
    assert socket_path("unix:/run/a.sock") == socket_path("unix:///run/a.sock") == Path("/run/a.sock")


def test_a_token_is_for_somebody() -> None:
    with pytest.raises(Invalid):
        WorkloadApi("", address="unix:/run/a.sock")
