"""The API client against the live fake: documents, typed errors, and what a refusal leaves alone."""

from collections.abc import Iterator

import pytest

from demesne import Client, Conflict, Credentials, Invalid, Malformed, NotFound, Refused, Unavailable
from demesne._wire import error_of
from tests.fakes.api import FakeGateway

STEWARD = Credentials("AKSTEWARD", "steward-secret")


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        yield running


@pytest.fixture
def client(gateway: FakeGateway) -> Iterator[Client]:
    with Client(gateway.api_endpoint, STEWARD, region="de") as running:
        yield running


def test_dataset_and_contract_round_trip(client: Client) -> None:
    client.create_dataset("claims", synthetic=True)
    assert client.put_contract("claims", {"v": 1, "dataset": "claims"})["contract_version"] == 1
    assert client.dataset("claims")["contract"] == {"v": 1, "dataset": "claims"}
    assert [entry["name"] for entry in client.datasets()] == ["claims"]


def test_zones_and_receipt_and_lineage(client: Client, gateway: FakeGateway) -> None:
    assert client.zones()[0]["s3_endpoint"] == gateway.s3_endpoint
    assert client.receipt("ab" * 16).startswith("c2sp.org/tlog-proof")
    assert client.lineage(dataset="claims")["edges"]


def test_taken_name_is_a_conflict_and_changes_nothing(client: Client, gateway: FakeGateway) -> None:
    client.create_dataset("claims")
    before = gateway.state()
    with pytest.raises(Conflict, match=r"dataset\.exists"):
        client.create_dataset("claims", synthetic=True)
    assert gateway.state() == before


def test_unknown_zone_carries_the_remedy(client: Client, gateway: FakeGateway) -> None:
    with pytest.raises(Invalid) as caught:
        client.create_dataset("claims", zone="it")
    assert caught.value.remedy == "use one of: de"
    assert gateway.datasets == {}


def test_absent_dataset_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound):
        client.dataset("absent")


def test_wrong_secret_is_refused(gateway: FakeGateway) -> None:
    with Client(gateway.api_endpoint, Credentials("AKSTEWARD", "wrong"), region="de") as client:
        with pytest.raises(Refused, match="SignatureDoesNotMatch"):
            client.create_dataset("claims")
    assert gateway.datasets == {}


@pytest.mark.parametrize("name", ["", "..", "a/b", "a?b", "a%2fb", "a b"])
def test_a_name_that_is_another_path_never_leaves(client: Client, gateway: FakeGateway, name: str) -> None:
    with pytest.raises(Invalid):
        client.dataset(name)
    assert gateway.requests == []


def test_reads_are_retried_and_writes_are_not(client: Client, gateway: FakeGateway) -> None:
    left = [2]

    def busy(_method: str, _path: str) -> tuple[int, str] | None:
        left[0] -= 1
        return (503, "SlowDown") if left[0] >= 0 else None

    gateway.hook_before = busy
    assert client.datasets() == []
    assert len(gateway.requests) == 3
    left[0] = 1
    with pytest.raises(Unavailable, match="SlowDown"):
        client.create_dataset("claims")
    assert gateway.datasets == {}


def test_nobody_listening_is_unavailable() -> None:
    with Client("http://127.0.0.1:9", STEWARD, region="de") as client, pytest.raises(Unavailable, match="no answer"):
        client.create_dataset("claims")


def test_a_proxy_variable_is_not_obeyed(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with Client(gateway.api_endpoint, STEWARD, region="de") as client:
        assert client.datasets() == []


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"code": 3}'])
def test_an_answer_that_is_no_problem_document_keeps_its_kind(body: bytes) -> None:
    assert isinstance(error_of(403, {"x-demesne-decision": "d1"}, body), Refused)
    assert isinstance(error_of(503, {"retry-after": "x"}, body), Unavailable)
    assert isinstance(error_of(500, {}, body), Malformed)
