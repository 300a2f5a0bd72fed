"""The protocol without a network: its steps in order, what it does with answers, and one core under both drivers."""

import asyncio
import hashlib
import json
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import rfc8785
from joserfc import jwe
from joserfc.jwk import ECKey

from demesne import Credentials, Invalid, Malformed, Refused
from demesne._exchange import (
    Answer,
    Ask,
    Exchange,
    Facts,
    ProveDevices,
    ProveMachine,
    known_scope,
    locate,
    run,
    run_async,
)
from demesne.binding import additional_digest, canonical, device_nonce, report_data
from demesne.session_key import SessionKey
from demesne.settings import Zone

NONCE = "ab" * 32
END = "2099-01-01T00:00:00Z"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def answer(document: Any, status: int = 200) -> Answer:
    return Answer(status, {}, json.dumps(document).encode())


def sealed(key: SessionKey, **header: str) -> str:
    plain = {"access_key_id": "AK", "secret_access_key": "s", "session_token": "t", "expiration": END}
    chosen = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"} | header
    return jwe.encrypt_compact(
        chosen, json.dumps(plain).encode(), ECKey.import_key(key.public), algorithms=list(chosen.values())
    )


def opened(key: SessionKey, **more: Any) -> dict[str, Any]:
    return {
        "session_id": "5" * 32, "run_id": "6" * 32, "purpose": "p", "fresh_seconds": 900, "notice": None,
        "credentials": sealed(key),
    } | more  # fmt: skip


class Gateway:
    """Answers steps from a script and keeps what it was asked."""

    def __init__(self, key: SessionKey, devices: list[dict[str, Any]] | None = None) -> None:
        self.key = key
        self.devices = devices or []
        self.steps: list[Any] = []
        self.refreshed: Answer = answer({"fresh_seconds": 800})

    def __call__(self, step: Any) -> Any:
        self.steps.append(step)
        if isinstance(step, ProveDevices):
            return self.devices
        if isinstance(step, ProveMachine):
            return {"kind": "sample", "report_data": step.report_data.hex()}
        if step.call.path == "/v1/challenges":
            return answer({"nonce": NONCE, "gateway": "g", "expires_at": END})
        if step.call.path == "/v1/sessions":
            return answer(opened(self.key), 201)
        return self.refreshed

    async def later(self, step: Any) -> Any:
        await asyncio.sleep(0)
        return self(step)

    def names(self) -> list[str]:
        return [s.call.path if isinstance(s, Ask) else type(s).__name__ for s in self.steps]


def exchange(key: SessionKey, **more: Any) -> Exchange:
    return Exchange(key=key, **({"purpose": "p", "scope": ["b", "a"], "run": "r"} | more))


def test_devices_are_asked_before_the_machine_which_commits_to_them() -> None:
    key = SessionKey()
    devices: list[dict[str, Any]] = [{"kind": "nvidia-gpu", "evidence": {"report": "ff", "ä": [1, True, None]}}]
    gateway = Gateway(key, devices)
    run(exchange(key).open(), gateway)
    assert gateway.names() == ["/v1/challenges", "ProveDevices", "ProveMachine", "/v1/sessions"]
    bound: dict[str, Any] = {
        "v": 1,
        "nonce": NONCE,
        "gateway": "g",
        "key": key.thumbprint,
        "purpose": "p",
        "scope": ["a", "b"],
    }
    asked = hashlib.sha512(rfc8785.dumps(bound | {"additional": "device"})).digest()[:32]
    digest = hashlib.sha256(rfc8785.dumps(devices)).hexdigest()
    assert gateway.steps[1].nonce == asked
    assert gateway.steps[2].report_data == hashlib.sha512(rfc8785.dumps(bound | {"additional": digest})).digest()
    body = json.loads(gateway.steps[3].call.body)
    assert body["additional"] == devices
    assert body["kind"] == "sample"


def test_both_drivers_send_the_same() -> None:
    key = SessionKey()
    blocking, awaiting = Gateway(key), Gateway(key)
    first = run(exchange(key).open(), blocking)
    second = asyncio.run(run_async(exchange(key).open(), awaiting.later))
    assert first == second
    assert blocking.steps == awaiting.steps


def test_renewing_reattests_and_keeps_credentials() -> None:
    key = SessionKey()
    gateway = Gateway(key)
    facts = run(exchange(key).open(), gateway)
    again = run(exchange(key).renew(facts, NOW), gateway)
    assert gateway.names()[4:] == ["/v1/challenges", "ProveDevices", "ProveMachine", f"/v1/sessions/{'5' * 32}/attest"]
    assert (again.fresh_seconds, again.credentials) == (800, facts.credentials)


def facts_of(seconds: float) -> Facts:
    """A session whose credentials end in so many seconds."""
    return Facts("0" * 32, "6" * 32, "p", 900, Credentials("AK", "s", "t", NOW + timedelta(seconds=seconds)))


@pytest.mark.parametrize(("left", "known"), [(1199.0, True), (3000.0, False)])
def test_a_successor_is_opened_near_the_end_and_for_a_session_nobody_knows(left: float, known: bool) -> None:
    key = SessionKey()
    gateway = Gateway(key)
    if not known:
        gateway.refreshed = answer({"code": "NoSuchSession"}, 404)
    renewed = run(exchange(key).renew(facts_of(left), NOW), gateway)
    assert renewed.session_id == "5" * 32
    opening = next(s for s in gateway.steps if isinstance(s, Ask) and s.call.path == "/v1/sessions")
    assert json.loads(opening.call.body)["run"] == "r"
    assert (renewed.previous is not None) is known


def test_the_session_before_is_kept_fresh_as_long_as_clients_may_hold_its_credentials() -> None:
    key = SessionKey()
    gateway = Gateway(key)
    old, again = f"/v1/sessions/{'0' * 32}/attest", f"/v1/sessions/{'5' * 32}/attest"
    renewed = run(exchange(key).renew(facts_of(1100), NOW), gateway)
    assert gateway.names()[-1] == old
    renewed = run(exchange(key).renew(renewed, NOW + timedelta(seconds=1000)), gateway)
    assert [name for name in gateway.names()[-8:] if name.startswith("/v1/sessions")] == [again, old]
    renewed = run(exchange(key).renew(renewed, NOW + timedelta(seconds=1200)), gateway)
    assert renewed.previous is None
    assert gateway.names()[-1] == again


@pytest.mark.parametrize("status", [403, 404])
def test_a_session_before_that_is_refused_is_let_go(status: int) -> None:
    key = SessionKey()
    gateway = Gateway(key)
    gateway.refreshed = answer({"code": "x"}, status)
    renewed = run(exchange(key).renew(facts_of(1100), NOW), gateway)
    assert (renewed.session_id, renewed.previous) == ("5" * 32, None)


def test_ending_ends_the_session_before_too() -> None:
    key = SessionKey()
    gateway = Gateway(key)
    renewed = run(exchange(key).renew(facts_of(1100), NOW), gateway)
    gateway.steps.clear()
    run(exchange(key).end(renewed), gateway)
    assert gateway.names() == [f"/v1/sessions/{'5' * 32}", f"/v1/sessions/{'0' * 32}"]


def test_a_refusal_leaves_the_exchange_typed() -> None:
    key = SessionKey()
    gateway = Gateway(key)
    gateway.refreshed = answer({"code": "AccessDenied", "rule": "session.revoked", "remedy": "attest anew"}, 403)
    with pytest.raises(Refused, match=r"session\.revoked"):
        run(exchange(key).renew(Facts("0" * 32, "6" * 32, "p", 900, Credentials("AK", "s", "t")), NOW), gateway)


def test_ending_what_is_gone_is_no_error() -> None:
    key = SessionKey()
    gateway = Gateway(key)
    facts = run(exchange(key).open(), gateway)
    gateway.refreshed = answer({"code": "NoSuchSession"}, 404)
    run(exchange(key).end(facts), gateway)


@pytest.mark.parametrize("header", [{"alg": "ECDH-ES"}, {"enc": "A128GCM"}, {"alg": "ECDH-ES+A128KW"}])
def test_credentials_sealed_another_way_do_not_open(header: dict[str, str]) -> None:
    key = SessionKey()
    with pytest.raises(Malformed, match=r"credentials\.sealed"):
        key.unseal(sealed(key, **header))


def test_credentials_of_another_key_do_not_open() -> None:
    with pytest.raises(Malformed, match=r"credentials\.sealed"):
        SessionKey().unseal(sealed(SessionKey()))


def test_binding_is_sensitive_to_each_part_and_the_two_nonces_differ() -> None:
    given: dict[str, Any] = {"nonce": "n", "gateway": "g", "thumbprint": "k", "purpose": "p", "scope": ["a"]}
    seen = {report_data(**given), report_data(**given, additional=additional_digest([{"kind": "x", "evidence": {}}]))}
    seen |= {report_data(**(given | {name: ["z"] if name == "scope" else "z"})) for name in given}
    assert len(seen) == 7
    assert device_nonce(**given) not in {whole[:32] for whole in seen}


@pytest.mark.parametrize("value", [1.5, 2**53, -(2**60), {"deep": [{"x": 0.1}]}])
def test_numbers_with_two_spellings_are_refused(value: Any) -> None:
    with pytest.raises(Invalid, match=r"evidence\.number"):
        canonical({"n": value})


def test_names_are_ordered_as_jcs_does() -> None:
    odd: dict[str, Any] = {"\U00010000": 1, "\uffff": 2, "a": {"é": '\x01"\\', "B": []}}
    assert canonical(odd) == rfc8785.dumps(odd)


def test_where_and_what_are_asked_only_when_nobody_said() -> None:
    zone = Zone("de", "de", "http://api", "http://s3", "de")
    assert run(locate(zone), _nothing) == zone
    zones = [{"name": "fr"}, {"name": "de", "s3_endpoint": "http://there/"}]
    assert run(locate(Zone("de", "de", "http://api")), lambda _: answer(zones)).s3_endpoint == "http://there"
    listed = [{"name": "b", "synthetic": True}, {"name": "a", "synthetic": False}]
    assert run(known_scope(only_synthetic=True), lambda _: answer(listed)) == ("b",)
    with pytest.raises(Invalid, match=r"scope\.empty"):
        run(known_scope(only_synthetic=False), lambda _: answer([]))


def _nothing(step: Any) -> Any:
    raise AssertionError(step)


def test_a_step_that_fails_ends_the_exchange() -> None:
    def failing(step: Any) -> Any:
        raise Malformed("x", "y")

    steps: Generator[Any, Any, Any] = exchange(SessionKey()).open()
    with pytest.raises(Malformed):
        run(steps, failing)
