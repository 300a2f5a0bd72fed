"""The broker behind its sockets: who may call what, framing, and that errors keep their kind."""

import os
import secrets
import socket
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes.broker import BrokerWorld, FakeJob
from vault.broker.client import BrokerClient
from vault.broker.methods import Role
from vault.broker.protocol import MAX_MESSAGE, receive_message, send_message
from vault.broker.server import BrokerServer
from vault.broker.types import KeyBroker
from vault.errors import Broken, Malformed, Refused, Unavailable


@pytest.fixture
def world(tmp_path: Path) -> BrokerWorld:
    return BrokerWorld(tmp_path)


@pytest.fixture
def run_dir(world: BrokerWorld, tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "run"
    sockets = {directory / "broker.sock": Role.FRONT, directory / "builder.sock": Role.BUILDER}
    with BrokerServer(world.broker, sockets):
        yield directory


@pytest.fixture
def client(run_dir: Path) -> Iterator[BrokerClient]:
    with BrokerClient(run_dir / "broker.sock") as client:
        yield client


def test_every_front_method_answers_over_the_socket_as_in_process(world: BrokerWorld, client: BrokerClient) -> None:
    as_port: KeyBroker = client
    assert as_port.hello() == world.broker.hello()
    version = secrets.token_hex(16)
    generated = client.generate(world.scope(), version, "up-1")
    session = world.attested_session()
    grant = world.grant(version, session.session_id)
    assert client.unwrap(world.scope(), version, generated.wrapped, grant) == generated.object_key
    nonce = client.challenge(world.principal_id, world.purpose, ["claims"], "de.example").nonce
    again = client.attest(nonce, "sample", world.evidence(nonce), world.jwk, world.principal_id, session.session_id)
    assert again.session_id == session.session_id


def test_refusal_crosses_the_socket_with_its_reason(world: BrokerWorld, client: BrokerClient) -> None:
    version = secrets.token_hex(16)
    generated = client.generate(world.scope(), version)
    with pytest.raises(Refused) as caught:
        client.unwrap(world.scope(), version, generated.wrapped, world.grant(version, None))
    assert caught.value.reason == "session.none"
    assert world.refusals[-1]["reason"] == "session.none"


def test_builder_methods_are_not_offered_on_the_front_socket(world: BrokerWorld, client: BrokerClient) -> None:
    version = secrets.token_hex(16)
    generated = client.generate(world.scope(), version)
    # A front worker that can write the catalog gives itself a leased job; the socket does not know the method.
    world.catalog.jobs["j"] = FakeJob("j", {"dataset_id": world.dataset.dataset_id, "version_id": version})
    with pytest.raises(Refused, match=r"broker\.method"):
        client.builder_unwrap(world.scope(), version, generated.wrapped, "j", 1)
    with pytest.raises(Refused, match=r"broker\.method"):
        client.pseudonym_key("main", "analytics", "j", 1)
    assert world.opened() == 0
    assert [record["reason"] for record in world.refusals] == ["broker.method", "broker.method"]


def test_front_methods_that_open_data_are_not_offered_on_the_builder_socket(world: BrokerWorld, run_dir: Path) -> None:
    builder = BrokerClient(run_dir / "builder.sock")
    version = secrets.token_hex(16)
    generated = builder.generate(world.scope(), version)
    world.catalog.jobs["j"] = FakeJob("j", {"dataset_id": world.dataset.dataset_id, "version_id": version})
    assert builder.builder_unwrap(world.scope(), version, generated.wrapped, "j", 1) == generated.object_key
    assert builder.pseudonym_key("main", "analytics", "j", 1) == world.broker.pseudonym_key("main", "analytics", "j", 1)
    session = world.attested_session()
    with pytest.raises(Refused, match=r"broker\.method"):
        builder.unwrap(world.scope(), version, generated.wrapped, world.grant(version, session.session_id))
    builder.close()


def test_socket_is_private_and_gone_after_close(world: BrokerWorld, tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with BrokerServer(world.broker, {path: Role.FRONT}):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.exists()


def test_peer_of_another_user_gets_no_byte(world: BrokerWorld, tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    with BrokerServer(world.broker, {path: Role.FRONT}, uid=os.getuid() + 1):
        client = BrokerClient(path)
        with pytest.raises(Unavailable):
            client.hello()
    assert [record["reason"] for record in world.refusals] == ["broker.peer"]


def test_second_broker_does_not_take_a_served_socket(world: BrokerWorld, run_dir: Path, client: BrokerClient) -> None:
    with pytest.raises(Broken):
        BrokerServer(world.broker, {run_dir / "broker.sock": Role.FRONT})
    assert client.hello() == world.broker.hello()


def test_file_that_is_no_socket_is_left_alone(world: BrokerWorld, tmp_path: Path) -> None:
    path = tmp_path / "broker.sock"
    path.write_text("precious")
    with pytest.raises(Broken):
        BrokerServer(world.broker, {path: Role.FRONT})
    assert path.read_text() == "precious"


def raw_exchange(path: Path, message: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(path))
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        with suppress(ConnectionResetError):  # the server closed with our bytes still unread
            while piece := connection.recv(65536):
                received += piece
        return received


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


@pytest.mark.parametrize(
    "message",
    [
        struct.pack(">I", 0),
        struct.pack(">I", MAX_MESSAGE + 1) + b"x" * 100,
        struct.pack(">I", 0xFFFFFFFF),
        frame(b"{"),
        frame(b"[]"),
        frame(b'{"v":2,"method":"hello","arguments":{}}'),
        frame(b'{"v":1,"v":1,"method":"hello","arguments":{}}'),
        frame(b'{"v":1,"method":"hello","arguments":{"x":1.5}}'),
        frame(b"[" * 60_000),
        frame(b"\xff\xfe"),
    ],
)
def test_broken_framing_ends_the_connection_without_an_answer(
    world: BrokerWorld, run_dir: Path, client: BrokerClient, message: bytes
) -> None:
    assert raw_exchange(run_dir / "broker.sock", message) == b""
    assert client.hello() == world.broker.hello()  # others are served on
    assert [record["reason"] for record in world.refusals] == ["broker.message"]


@pytest.mark.parametrize(
    ("payload", "kind", "reason"),
    [
        (b'{"v":1,"method":"shell","arguments":{}}', "refused", "broker.method"),
        (b'{"v":1,"method":"hello"}', "malformed", "broker.field"),
        (b'{"v":1,"method":"hello","arguments":{},"more":1}', "malformed", "broker.field"),
        (b'{"v":1,"method":"hello","arguments":{"x":1}}', "malformed", "broker.field"),
        (b'{"v":1,"method":7,"arguments":{}}', "malformed", "broker.field"),
        (b'{"v":1,"method":"generate","arguments":{"scope":{},"subject":"x","upload_id":null}}',
         "malformed", "broker.field"),
    ],
)  # fmt: skip
def test_wrong_request_is_answered_closed_and_recorded(
    world: BrokerWorld, run_dir: Path, payload: bytes, kind: str, reason: str
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        connection.connect(str(run_dir / "broker.sock"))
        connection.sendall(frame(payload))
        answer = receive_message(connection)
    assert (answer["error"]["kind"], answer["error"]["reason"]) == (kind, reason)
    assert [record["reason"] for record in world.refusals] == [reason]
    assert world.calls == []


def test_unforeseen_failure_answers_its_type_and_nothing_else(world: BrokerWorld, client: BrokerClient) -> None:
    def explode(name: str) -> None:
        raise ZeroDivisionError("key bytes 0xdeadbeef")

    world.catalog.before = explode
    with pytest.raises(Broken) as caught:
        client.generate(world.scope(), secrets.token_hex(16))
    assert caught.value.reason == "broker.internal"
    assert "deadbeef" not in str(caught.value)
    assert world.refusals[-1]["reason"] == "broker.internal"


def test_message_too_long_to_send_is_not_sent(world: BrokerWorld, client: BrokerClient) -> None:
    with pytest.raises(Malformed, match=r"broker\.size"):
        client.challenge("p" * (MAX_MESSAGE + 1), world.purpose, ["claims"], "de.example")
    assert client.hello() == world.broker.hello()


def test_client_is_thread_safe(world: BrokerWorld, client: BrokerClient) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                subject = secrets.token_hex(16)
                generated = client.generate(world.scope(), subject, "u")
                assert generated.upload_wrapped is not None
                assert len(generated.object_key) == 32
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_send_refuses_what_json_cannot_say() -> None:
    here, there = socket.socketpair()
    with here, there, pytest.raises(ValueError, match="Out of range"):
        send_message(here, {"v": 1, "ok": float("nan")})
