"""What no message can carry to the broker is refused before it: by name, once on record, and the connection lives on.

Through the broker's real socket. A broker in this process would judge what its wire cannot even carry.
"""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gateway_world import GatewayWorld
from tests.fakes.kbs_client import Guest, KbsEndpoint
from tests.unit.gateway.api import test_api_app
from tests.unit.gateway.api.test_attempts_on_record import Caller
from vault.broker.client import BrokerClient
from vault.broker.methods import Role
from vault.broker.server import BrokerServer

_LONE = "\ud800"


def _deep(depth: int) -> dict[str, Any]:
    document: dict[str, Any] = {"a": 1}
    for _ in range(depth):
        document = {"a": document}
    return document


class FarBroker(GatewayWorld):
    """A world whose broker is asked through its socket, as front workers do."""

    def _worker(self, posture: str, registry: dict[str, Any]) -> None:
        near, path = self.broker, self.directory / "run" / "broker.sock"
        self.server = BrokerServer(near, {path: Role.FRONT})
        self.far = BrokerClient(path)
        self.broker = self.far  # type: ignore[assignment]
        super()._worker(posture, registry)

    def close(self) -> None:
        self.far.close()
        self.server.close()
        super().close()


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[KbsEndpoint]:
    world = FarBroker(tmp_path)
    yield KbsEndpoint(world)
    world.close()


def _entries(world: GatewayWorld, at: int) -> list[str]:
    return [
        entry["reason"] if entry["type"] == "broker-refusal" else entry["codes"][0]
        for entry in world.ledger.entries[at:]
        if entry["type"] == "broker-refusal" or (entry["type"] == "session" and entry.get("allow") is False)
    ]


_DEEPER = "955 deep: written by hand, since an encoder's own depth depends on who calls it"
UNCARRIED: dict[str, Any] = {
    "init data with a float": {"init-data": {"format": "toml", "body": 1.5}},
    "init data with an endless float": {"init-data": {"format": "toml", "body": 1e999}},
    "init data that is no Unicode": {"init-data": {"format": "toml", "body": _LONE}},
    "init data with a name that is no Unicode": {"init-data": {"format": "toml", _LONE: ""}},
    "init data that is deep": {"init-data": _deep(900)},
    "init data that is too deep for its encoder": {"init-data": _DEEPER},
    "a key with a float": {"key": 1.5},
    "a key that is deep": {"key": _deep(900)},
    "a key with a name that is no Unicode": {"key": {_LONE: 1}},
}


@pytest.mark.parametrize("name", UNCARRIED)
@pytest.mark.parametrize("known", [True, False])
def test_a_key_brokers_client_cannot_disturb_the_broker(endpoint: KbsEndpoint, name: str, known: bool) -> None:
    guest = Guest(endpoint, str(endpoint.ticket()["ticket"]) if known else None)
    body = guest.evidence(guest.auth())
    change = dict(UNCARRIED[name])
    if "key" in change:
        body["runtime-data"]["tee-pubkey"]["x"] = change.pop("key")
    body |= change
    at, counted = len(endpoint.world.ledger.entries), len(endpoint.counted)
    raw = json.dumps(body).replace(json.dumps(_DEEPER), '{"a":' * 955 + "1" + "}" * 955)
    reply = guest.call("POST", "attest", raw=raw.encode())
    assert (reply.status, reply.json["type"]) == (401, "urn:demesne:error:attest.malformed")
    told = _entries(endpoint.world, at)
    assert (told, endpoint.counted[counted:]) == ((["attest.malformed"], []) if known else ([], ["attest.malformed"]))
    # The same connection serves the next.
    assert base64.b64decode(guest.auth())


@pytest.fixture
def caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Caller]:
    monkeypatch.setattr(test_api_app, "GatewayWorld", FarBroker)
    made = Caller(tmp_path)
    yield made
    made.world.close()


def _sample(**changes: Any) -> dict[str, Any]:
    return {"evidence": {"kind": "sample", **changes}}


SESSIONS: dict[str, Any] = {
    "evidence with a name that is no Unicode": _sample(more={_LONE: 1}),
    "evidence with text that is no Unicode": _sample(more=[_LONE]),
    "evidence at the edge of its depth": _sample(more=_deep(29)),
    "evidence that is too deep": _sample(more=_deep(32)),
    "evidence with an endless float": _sample(more=1e999),
    "a key with a float beside it": {"key": {"use": 1.5}},
    "a key with a huge number beside it": {"key": {"alg": 1 << 60}},
    "a key with a tree beside it": {"key": {"key_ops": _deep(40)}},
    "a key with a name beside it that is no Unicode": {"key": {"key_ops": [{_LONE: 1}]}},
    "a device with a name that is no Unicode": {
        "additional": [{"kind": "nvgpu", "evidence": {"kind": "nvgpu", "a": {_LONE: 1}}}]
    },
}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_caller_cannot_disturb_the_broker_either(caller: Caller, name: str) -> None:
    proof = caller.proof()
    for field, value in SESSIONS[name].items():
        proof[field] = {**proof[field], **value} if isinstance(value, dict) else value
    at, sessions = len(caller.world.ledger.entries), len(caller.world.rows("select 1 from session"))
    reply = caller.open(**proof)
    assert reply.status in {400, 403}, reply.json
    assert len(caller.refusals(at)) == 1
    assert caller.refusals(at)[0].get("reason") not in {"broker.message", "broker.internal"}
    assert len(caller.world.rows("select 1 from session")) == sessions
    assert caller.open().status == 201
