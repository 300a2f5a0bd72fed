"""OpenBao Transit failing in every way there is a name for: each row a refusal, and nothing changed by it.

Every call goes the road of the broker: budget of 250 ms, one more try for a lost connection, commitments checked.
docs/spec/keys.md §3.5.
"""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.fakes.broker import BrokerWorld
from tests.fakes.faulty_proxy import FaultyProxy, Toxic
from tests.fakes.key_providers import missing, to_loopback, transit_provider
from tests.fakes.lying_provider import Answer, Asked, Lie, LyingProvider, lying
from tests.fakes.openbao import OpenBao, openbao
from vault.errors import Refused, Unavailable, VaultError
from vault.keys.deadline import BUDGET_SECONDS, DeadlineProvider
from vault.keys.names import EpochNames
from vault.keys.provider import EpochState, KeyClass, KeyProvider, ProviderLocation
from vault.keys.transit import TransitProvider
from vault.keys.transit_api import TransitApi
from vault.keys.verified import VerifiedProvider

pytestmark = [pytest.mark.servers, pytest.mark.skipif(bool(missing("transit")), reason=missing("transit"))]
KEY, CONTEXT = bytes(range(32)), b"main\x00de\x00context"
BUDGET = 0.5  # the broker's is half of that, and has a test of its own: this machine does other things too
LONGEST = 5.0  # with two test files at a time on two cores; the budget is what bounds it


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBao]:
    with openbao(tmp_path_factory.mktemp("bao")) as running:
        yield running


@dataclass
class Wrapped:
    """One epoch with one wrap, made before anything fails, and a connection that nothing fails for."""

    sound: KeyProvider
    epoch: str
    wrapped: bytes

    def holds(self) -> None:
        """What must not have changed: the key opens to itself, and is active."""
        assert self.sound.unwrap(self.epoch, self.wrapped, CONTEXT) == KEY
        assert self.sound.status(self.epoch).state is EpochState.ACTIVE


@pytest.fixture
def made(bao: OpenBao) -> Wrapped:
    sound = VerifiedProvider(transit_provider(bao, KeyClass.RAW))
    epoch = secrets.token_hex(16)
    sound.create_epoch(epoch, KeyClass.RAW)
    return Wrapped(sound, epoch, sound.wrap(epoch, KEY, CONTEXT))


def on_the_road(provider: KeyProvider) -> DeadlineProvider:
    return DeadlineProvider(VerifiedProvider(provider), budget_seconds=BUDGET)


def why(provider: KeyProvider, made: Wrapped) -> str:
    """The reason an unwrap is refused for, in time; "" when it is answered, and then rightly."""
    began = time.monotonic()
    try:
        opened = provider.unwrap(made.epoch, made.wrapped, CONTEXT)
    except VaultError as error:
        reason = error.reason
    else:
        reason = "" if opened == KEY else "another key"
    assert time.monotonic() - began < LONGEST
    return reason


TOXICS = {
    "latency above the budget": (Toxic("latency", seconds=0.9), {"provider.timeout"}),
    "nothing passes": (Toxic("timeout"), {"provider.timeout"}),
    "nobody listens": (Toxic("down"), {"provider.connection"}),
    "reset before a byte": (Toxic("reset_peer"), {"provider.connection"}),
    "reset inside the answer": (Toxic("reset_peer", limit=20), {"provider.connection"}),
    "end before a byte": (Toxic("limit_data"), {"provider.connection"}),
    "end inside the answer": (Toxic("limit_data", limit=20), {"provider.connection"}),
    "a slow line": (Toxic("bandwidth", rate=50_000), {""}),
    "a byte now and then": (Toxic("slicer", seconds=0.05, limit=1), {"provider.timeout"}),
    "request held back": (Toxic("latency", seconds=0.9, upstream=True), {"provider.timeout"}),
    "request cut": (Toxic("reset_peer", limit=10, upstream=True), {"provider.connection"}),
    "a late end": (Toxic("slow_close", seconds=1), {""}),
}


@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
@pytest.mark.parametrize("name", TOXICS)
def test_connection_that_fails_is_a_named_refusal_in_time(bao: OpenBao, made: Wrapped, name: str, warm: bool) -> None:
    toxic, reasons = TOXICS[name]
    with FaultyProxy(int(bao.url.rpartition(":")[2])) as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        provider = on_the_road(transit_provider(bao, KeyClass.RAW, url=url, seconds=BUDGET))
        if warm:
            assert why(provider, made) == ""
        proxy.toxic = toxic
        assert why(provider, made) in reasons
        proxy.toxic = None
        assert why(provider, made) == ""  # nothing of the fault is remembered
    made.holds()


def test_silent_provider_costs_a_quarter_of_a_second(bao: OpenBao, made: Wrapped) -> None:
    assert BUDGET_SECONDS == 0.25
    with FaultyProxy(int(bao.url.rpartition(":")[2])) as proxy:
        proxy.toxic = Toxic("timeout")
        provider = DeadlineProvider(transit_provider(bao, KeyClass.RAW, url=f"https://127.0.0.1:{proxy.port}"))
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"provider\.timeout"):
            provider.unwrap(made.epoch, made.wrapped, CONTEXT)
        assert 0.25 <= time.monotonic() - began < 1.0
        proxy.toxic = None


def test_idle_connection_that_was_closed_costs_no_answer(bao: OpenBao, made: Wrapped) -> None:
    with FaultyProxy(int(bao.url.rpartition(":")[2])) as proxy:
        url = f"https://127.0.0.1:{proxy.port}"
        provider = on_the_road(transit_provider(bao, KeyClass.RAW, url=url, seconds=BUDGET))
        assert why(provider, made) == ""
        proxy.toxic = Toxic("down")
        proxy.toxic = None
        assert why(provider, made) == ""  # the one try more
        assert proxy.connections == 2


def data(**fields: Any) -> Lie:
    body = json.dumps({"data": fields}).encode()
    return lambda asked, answer: Answer(200, body)


def body(content: bytes, status: int = 200, header: tuple[str, str] = ("X-Nothing", "0")) -> Lie:
    return lambda asked, answer: Answer(status, content, {"Content-Type": "application/json", header[0]: header[1]})


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


OPENING_LIES: dict[str, tuple[Lie, str]] = {
    "throttled": (body(b'{"errors":["rate limit"]}', 429), "provider.throttled"),
    "internal error": (body(b'{"errors":["boom"]}', 500), "provider.error"),
    "a gateway's own page": (body(b"<html>bad gateway</html>", 502), "provider.error"),
    "sealed": (body(b'{"errors":["Vault is sealed"]}', 503), "provider.sealed"),
    "another 503": (body(b"<html>try later</html>", 503), "provider.error"),
    "a standby": (body(b"", 473), "provider.standby"),
    "a status nobody knows": (body(b"{}", 299), "provider.error"),
    "no content": (lambda asked, answer: Answer(204, b""), "provider.answer"),
    "empty": (body(b""), "provider.answer"),
    "not JSON": (body(b"\xff\x00garbage"), "provider.answer"),
    "half a document": (body(b'{"data":{"plaintext":"'), "provider.answer"),
    "a list": (body(b"[]"), "provider.answer"),
    "no data": (body(b"{}"), "provider.answer"),
    "data that is a text": (body(b'{"data":"plaintext"}'), "provider.answer"),
    "no plaintext": (data(), "provider.answer"),
    "a plaintext that is null": (data(plaintext=None), "provider.answer"),
    "a plaintext that is a number": (data(plaintext=7), "provider.answer"),
    "a plaintext that is not base64": (data(plaintext="!!!!"), "provider.answer"),
    "no bytes": (data(plaintext=""), "provider.answer"),
    "a short key": (data(plaintext=b64(KEY[:16])), "provider.answer"),
    "one byte less": (data(plaintext=b64(KEY[:31])), "provider.answer"),
    "one byte more": (data(plaintext=b64(KEY + b"\x00")), "provider.answer"),
    "a long key": (data(plaintext=b64(KEY * 2)), "provider.answer"),
    "another key": (data(plaintext=b64(bytes(32))), "key.context"),
    "the right key in a megabyte": (
        body(json.dumps({"data": {"plaintext": b64(KEY)}, "more": "x" * (1 << 20)}).encode()), "provider.answer",
    ),
    "ten thousand brackets": (body(b"[" * 10_000 + b"]" * 10_000), "provider.answer"),
    "compressed, unasked": (body(b"\x1f\x8b garbage", header=("Content-Encoding", "gzip")), "provider.answer"),
}  # fmt: skip


@pytest.fixture(scope="module")
def liar(bao: OpenBao) -> Iterator[LyingProvider]:
    with lying(bao.url, bao.ca) as between:
        yield between


def through(liar: LyingProvider, bao: OpenBao, seconds: float = BUDGET) -> DeadlineProvider:
    liar.lie = None
    liar.asked.clear()
    return on_the_road(transit_provider(bao, KeyClass.RAW, url=liar.url, seconds=seconds))


@pytest.mark.parametrize("name", OPENING_LIES)
def test_answer_that_cannot_be_believed_opens_nothing(
    bao: OpenBao, liar: LyingProvider, made: Wrapped, name: str
) -> None:
    provider = through(liar, bao)
    liar.lie, liar.about = OPENING_LIES[name][0], "/decrypt/"
    assert why(provider, made) == OPENING_LIES[name][1]
    assert liar.count("/decrypt/") == 1  # asked once: nothing but a lost connection is worth a second try
    made.holds()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirect_is_not_followed_and_nobody_else_sees_the_token(
    bao: OpenBao, liar: LyingProvider, made: Wrapped, status: int
) -> None:
    with lying(bao.url, bao.ca) as elsewhere:
        provider = through(liar, bao)
        liar.lie = body(b"", status, ("Location", f"{elsewhere.url}/v1/transit/decrypt/x"))
        liar.about = "/decrypt/"
        assert why(provider, made) == "provider.redirect"
        assert elsewhere.asked == []
    made.holds()


def other_ciphertext(asked: Asked, answer: Answer) -> Answer:
    found = json.loads(answer.body)
    text = found["data"]["ciphertext"]
    found["data"]["ciphertext"] = text[:40] + ("A" if text[40] != "A" else "B") + text[41:]
    return Answer(200, json.dumps(found).encode())


WRAPPING_LIES: dict[str, Lie] = {
    "another ciphertext": other_ciphertext,
    "no ciphertext": data(),
    "a ciphertext of another version": data(ciphertext="vault:v2:" + "A" * 80),
    "a ciphertext with more in it": data(ciphertext="vault:v1:" + "A" * 80 + "\n"),
    "the plaintext": data(ciphertext=b64(KEY)),
    "a short one": data(ciphertext="vault:v1:AAAA"),
    "nothing": body(b""),
}


@pytest.mark.parametrize("name", WRAPPING_LIES)
def test_wrap_that_would_not_open_is_never_kept(bao: OpenBao, liar: LyingProvider, made: Wrapped, name: str) -> None:
    provider = through(liar, bao)
    liar.lie, liar.about = WRAPPING_LIES[name], "/encrypt/"
    with pytest.raises(Unavailable, match=r"provider\.answer"):
        provider.wrap(made.epoch, KEY, CONTEXT)
    made.holds()


def test_wrap_of_another_key_than_was_sent_is_never_kept(bao: OpenBao, liar: LyingProvider, made: Wrapped) -> None:
    """The provider encrypts a key of its own choosing, properly and under the right context."""
    chosen = made.sound.wrap(made.epoch, bytes(32), CONTEXT)[16:].decode()
    provider = through(liar, bao)
    liar.lie, liar.about = data(ciphertext=chosen), "/encrypt/"
    with pytest.raises(Unavailable, match=r"provider\.answer"):
        provider.wrap(made.epoch, KEY, CONTEXT)
    made.holds()


def test_key_that_is_not_what_was_asked_for_is_no_epoch(bao: OpenBao, liar: LyingProvider) -> None:
    provider = through(liar, bao)
    epoch = secrets.token_hex(16)

    def exportable(asked: Asked, answer: Answer) -> Answer:
        if asked.method == "GET" and answer.status == 200:
            return Answer(200, answer.body.replace(b'"exportable":false', b'"exportable":true'))
        return answer

    liar.lie, liar.about = exportable, "/keys/"
    with pytest.raises(Unavailable, match=r"provider\.answer"):
        provider.create_epoch(epoch, KeyClass.RAW)


def test_denied_by_the_provider_is_asked_once(bao: OpenBao, liar: LyingProvider, made: Wrapped) -> None:
    """The view credential asks for the raw key by its own name: no check of ours stands in the road."""
    liar.lie = None
    liar.asked.clear()
    view = transit_provider(bao, KeyClass.RAW, credential=bao.credentials[KeyClass.VIEW], url=liar.url)
    provider = on_the_road(view)
    assert why(provider, made) == "key.class"
    assert liar.count("/decrypt/") == 1
    for call in (
        lambda: provider.wrap(made.epoch, KEY, CONTEXT),
        lambda: provider.disable(made.epoch),
        lambda: provider.destroy(made.epoch),
        lambda: provider.create_epoch(secrets.token_hex(16), KeyClass.RAW),
    ):
        with pytest.raises(Refused, match=r"key\.class"):
            call()
    made.holds()


def test_provider_itself_refuses_the_view_token_a_raw_unwrap(bao: OpenBao, made: Wrapped) -> None:
    """By hand, without any code of ours: what OpenBao answers to the view token."""
    import requests

    token = bao.credentials[KeyClass.VIEW].read_text().strip()
    for path in ("decrypt", "encrypt", "rewrap", "export/encryption-key", "backup", "datakey/plaintext"):
        answer = requests.post(
            f"{bao.url}/v1/transit/{path}/demesne-raw-de_{made.epoch}", verify=str(bao.ca), timeout=5,
            headers={"X-Vault-Token": token}, proxies={"https": ""},
            json={"ciphertext": made.wrapped[16:].decode(), "associated_data": b64(CONTEXT)},
        )  # fmt: skip
        assert answer.status_code in {403, 404, 405}, path
        assert "plaintext" not in answer.text
    made.holds()


def test_no_credential_takes_a_key_out(bao: OpenBao, made: Wrapped) -> None:
    """Not even the one that may open: neither by policy nor, for the root token, by how the key was made."""
    import requests

    name = f"demesne-raw-de_{made.epoch}"
    for token in (bao.credentials[KeyClass.RAW].read_text().strip(), bao.root):
        for path in (f"export/encryption-key/{name}", f"backup/{name}"):
            answer = requests.get(
                f"{bao.url}/v1/transit/{path}", headers={"X-Vault-Token": token}, verify=str(bao.ca), timeout=5,
                proxies={"https": ""},
            )  # fmt: skip
            assert answer.status_code in {400, 403, 500}, answer.text


@pytest.mark.parametrize("spoilt", ["revoked", "unknown", "empty", "missing", "binary", "approle", "not-approle"])
def test_credential_that_is_no_good_is_unavailable_and_named(
    bao: OpenBao, made: Wrapped, tmp_path: Path, spoilt: str
) -> None:
    path = tmp_path / "credential"
    if spoilt == "revoked":
        token = bao.token(["demesne-raw"])
        bao.ask("POST", "auth/token/revoke", {"token": token})
        path.write_text(token)
    elif spoilt == "binary":
        path.write_bytes(b"\xff\xfe")
    elif spoilt != "missing":
        path.write_text({
            "unknown": "s.nobody", "empty": "", "approle": '{"role_id": "x", "secret_id": "y"}',
            "not-approle": '{"token": 1}',
        }[spoilt])  # fmt: skip
    provider = on_the_road(transit_provider(bao, KeyClass.RAW, credential=path))
    assert why(provider, made) == "provider.credential"
    path.write_text(bao.credentials[KeyClass.RAW].read_text())
    assert why(provider, made) == ""  # an agent may put a good one in its place
    made.holds()


def test_approle_logs_in_once_and_again_when_its_token_is_gone(
    bao: OpenBao, liar: LyingProvider, made: Wrapped
) -> None:
    liar.lie = None
    liar.asked.clear()
    provider = on_the_road(
        transit_provider(bao, KeyClass.RAW, credential=bao.approles[KeyClass.RAW], url=liar.url)
    )
    assert [why(provider, made) for _ in range(3)] == ["", "", ""]
    assert liar.count("/login") == 1
    token = next(asked.headers["X-Vault-Token"] for asked in liar.asked if "/decrypt/" in asked.path)
    bao.ask("POST", "auth/token/revoke", {"token": token})
    assert why(provider, made) == "provider.credential"  # a denial is not tried again in the same call
    assert why(provider, made) == ""
    assert liar.count("/login") == 2


def test_another_authority_is_not_trusted(bao: OpenBao, made: Wrapped, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert why(on_the_road(transit_provider(bao, KeyClass.RAW, ca=other)), made) == "provider.tls"
    # No authority named: the public ones.
    public = TransitApi(bao.url, bao.credentials[KeyClass.RAW], dialer=to_loopback(bao.url))
    names, where = EpochNames(KeyClass.RAW, "de"), ProviderLocation("de", "self-reported", "")
    assert why(on_the_road(TransitProvider(public, names, mount="transit", location=where)), made) == "provider.tls"
    made.holds()


def test_environment_has_no_say(bao: OpenBao, made: Wrapped, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY", "VAULT_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VAULT_CACERT", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "nothing.pem"))
    monkeypatch.setenv("VAULT_TOKEN", "s.of-somebody-else")
    assert why(on_the_road(transit_provider(bao, KeyClass.RAW)), made) == ""


def test_sealed_server_opens_nothing_and_closes_the_place(bao: OpenBao, made: Wrapped) -> None:
    provider = on_the_road(transit_provider(bao, KeyClass.RAW))
    bao.seal()
    try:
        assert why(provider, made) == "provider.sealed"
        for call in (
            lambda: provider.create_epoch(secrets.token_hex(16), KeyClass.RAW),
            lambda: provider.wrap(made.epoch, KEY, CONTEXT),
            lambda: provider.status(made.epoch),
            lambda: provider.destroy(made.epoch),
            provider.location,
        ):
            with pytest.raises(Unavailable, match=r"provider\.sealed"):
                call()
    finally:
        bao.unseal()
    made.holds()


def test_nothing_opens_from_memory_for_longer_than_the_cache(bao: OpenBao, tmp_path: Path) -> None:
    """Offline use is off: what was open stays open for 30 s, then the provider's silence is the answer."""
    world = BrokerWorld(tmp_path)
    provider = DeadlineProvider(VerifiedProvider(transit_provider(bao, KeyClass.RAW)), budget_seconds=1.0)
    broker = world.restarted(provider_raw=provider)
    version = secrets.token_hex(16)
    key = broker.generate(world.scope(), version)
    session = world.attested_session()
    bao.seal()
    try:
        opened = broker.unwrap(world.scope(), version, key.wrapped, world.grant(version, session.session_id))
        assert opened == key.object_key
        world.clock.advance(30_000)
        with pytest.raises(Unavailable, match=r"provider\.sealed"):
            broker.unwrap(world.scope(), version, key.wrapped, world.grant(version, session.session_id))
        with pytest.raises(Unavailable, match=r"provider\.sealed"):
            broker.generate(world.scope(), secrets.token_hex(16))
    finally:
        bao.unseal()
    opened = broker.unwrap(world.scope(), version, key.wrapped, world.grant(version, session.session_id))
    assert opened == key.object_key


@pytest.mark.parametrize("stop_before", ["_destroyed", "/config", "DELETE"])
def test_destruction_that_stopped_half_way_opens_nothing_and_goes_on(
    bao: OpenBao, liar: LyingProvider, made: Wrapped, stop_before: str
) -> None:
    provider = through(liar, bao, seconds=5.0)
    made.sound.disable(made.epoch)  # so that /config is the request that allows deletion

    class Stopped(Exception):
        pass

    def fail(asked: Asked, answer: Answer) -> Answer:
        hit = stop_before in asked.path if stop_before != "DELETE" else asked.method == "DELETE"
        return Answer(500) if hit and asked.method != "GET" else answer

    liar.lie, liar.about = fail, "/keys/"
    with pytest.raises(Unavailable):
        provider.destroy(made.epoch)
    with pytest.raises(Refused, match=r"key\.(disabled|destroyed)"):
        made.sound.unwrap(made.epoch, made.wrapped, CONTEXT)
    liar.lie = None
    assert provider.destroy(made.epoch).state == "destroyed"
    with pytest.raises(Refused, match=r"key\.destroyed"):
        made.sound.unwrap(made.epoch, made.wrapped, CONTEXT)
    with pytest.raises(Refused, match=r"key\.exists"):
        made.sound.create_epoch(made.epoch, KeyClass.RAW)
