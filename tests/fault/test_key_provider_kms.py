"""AWS KMS failing in every way there is a name for: each row a refusal, and nothing changed by it. moto behind a proxy
that fails, and behind one that answers in its place with what KMS answers. docs/spec/keys.md §3.5.
"""

import base64
import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from gateway.processes.providers import open_providers
from tests.fakes.faulty_proxy import FaultyProxy, Toxic
from tests.fakes.key_providers import kms_settings, to_loopback
from tests.fakes.kms_server import REGION, KmsServer, kms_server
from tests.fakes.lying_provider import Answer, Asked, Lie, LyingProvider, lying
from vault.errors import Refused, Unavailable, VaultError
from vault.keys.aws_kms import KmsProvider
from vault.keys.aws_kms_client import KmsClient
from vault.keys.deadline import DeadlineProvider
from vault.keys.names import EpochNames
from vault.keys.provider import EpochState, KeyClass, KeyProvider
from vault.keys.verified import VerifiedProvider
from vault.residency import Located, observe, verdict

pytestmark = pytest.mark.servers
KEY, CONTEXT = bytes(range(32)), b"main\x00de\x00context"
BUDGET = 0.6
LONGEST = 5.0  # with two test files at a time on two cores; the budget is what bounds it


@pytest.fixture(scope="module")
def kms(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KmsServer]:
    with kms_server(tmp_path_factory.mktemp("kms")) as running:
        yield running


@pytest.fixture(scope="module")
def liar(kms: KmsServer) -> Iterator[LyingProvider]:
    with lying(kms.url) as between:
        yield between


def connection(
    kms: KmsServer, *, names: KeyClass = KeyClass.RAW, credential: Path | None = None, url: str | None = None,
    seconds: float = BUDGET,
) -> KmsProvider:  # fmt: skip
    client = _client(credential or kms.credentials[names], url or kms.url, seconds)
    return KmsProvider(client, EpochNames(names, "de"), region=REGION, strength="self-reported")


@cache
def _client(credential: Path, url: str, seconds: float) -> KmsClient:
    """To make one takes boto3 half a second; it holds nothing of a test."""
    return KmsClient(credential, region=REGION, endpoint=url, dialer=to_loopback(url), seconds=seconds)


def on_the_road(provider: KeyProvider) -> DeadlineProvider:
    return DeadlineProvider(VerifiedProvider(provider), budget_seconds=BUDGET)


@dataclass
class Wrapped:
    sound: KeyProvider
    epoch: str
    wrapped: bytes

    def holds(self) -> None:
        assert self.sound.unwrap(self.epoch, self.wrapped, CONTEXT) == KEY
        assert self.sound.status(self.epoch).state is EpochState.ACTIVE


@pytest.fixture(scope="module")
def sound(kms: KmsServer) -> KeyProvider:
    return VerifiedProvider(connection(kms, seconds=10.0))


@pytest.fixture(scope="module")
def made(sound: KeyProvider) -> Wrapped:
    """One for all: no row may change it."""
    return fresh(sound)


def fresh(sound: KeyProvider) -> Wrapped:
    epoch = secrets.token_hex(16)
    sound.create_epoch(epoch, KeyClass.RAW)
    return Wrapped(sound, epoch, sound.wrap(epoch, KEY, CONTEXT))


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
    "latency above the budget": (Toxic("latency", seconds=1.0), "provider.timeout"),
    "nothing passes": (Toxic("timeout"), "provider.timeout"),
    "nobody listens": (Toxic("down"), "provider.connection"),
    "reset before a byte": (Toxic("reset_peer"), "provider.connection"),
    "end before a byte": (Toxic("limit_data"), "provider.connection"),
    "a byte now and then": (Toxic("slicer", seconds=0.05, limit=1), "provider.timeout"),
    "request held back": (Toxic("latency", seconds=1.0, upstream=True), "provider.timeout"),
}


@pytest.mark.parametrize("name", TOXICS)
def test_connection_that_fails_is_a_named_refusal_in_time(kms: KmsServer, made: Wrapped, name: str) -> None:
    with FaultyProxy(int(kms.url.rpartition(":")[2])) as proxy:
        direct = connection(kms, url=proxy.endpoint)
        direct.status(made.epoch)  # the client itself takes a moment to be made
        provider = on_the_road(direct)
        assert why(provider, made) == ""
        proxy.toxic = TOXICS[name][0]
        assert why(provider, made) == TOXICS[name][1]
        proxy.toxic = None
        assert why(provider, made) == ""
    made.holds()


def error(code: str, status: int = 400) -> Lie:
    content = json.dumps({"__type": f"com.amazonaws.kms#{code}", "message": "as KMS says it"}).encode()
    return lambda asked, answer: Answer(status, content, {"Content-Type": "application/x-amz-json-1.1"})


def body(content: bytes, status: int = 200) -> Lie:
    return lambda asked, answer: Answer(status, content, {"Content-Type": "application/x-amz-json-1.1"})


def changed(**fields: Any) -> Lie:
    def lie(asked: Asked, answer: Answer) -> Answer:
        return Answer(200, json.dumps(json.loads(answer.body) | fields).encode())

    return lie


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


OTHER_ARN = f"arn:aws:kms:{REGION}:111111111111:key/00000000-0000-0000-0000-000000000000"
OPENING_LIES: dict[str, tuple[Lie, str]] = {
    "throttled": (error("ThrottlingException"), "provider.throttled"),
    "over a limit": (error("LimitExceededException"), "provider.throttled"),
    "429": (body(b"{}", 429), "provider.throttled"),
    "internal": (error("KMSInternalException", 500), "provider.error"),
    "a key store that is away": (error("KeyUnavailableException", 500), "provider.error"),
    "a key store that is slow": (error("DependencyTimeoutException", 500), "provider.timeout"),
    "unavailable, in prose": (body(b"<html>", 503), "provider.error"),
    "redirect": (body(b"", 307), "provider.redirect"),
    "denied": (error("AccessDeniedException"), "key.class"),
    "token expired": (error("ExpiredTokenException"), "provider.credential"),
    "key unknown": (error("UnrecognizedClientException"), "provider.credential"),
    "signature": (error("InvalidSignatureException"), "provider.credential"),
    "clock": (error("SignatureDoesNotMatch", 403), "provider.credential"),
    "disabled": (error("DisabledException"), "key.disabled"),
    "invalid state, though it is active": (error("KMSInvalidStateException"), "provider.state"),
    "gone": (error("NotFoundException"), "key.destroyed"),
    "another context": (error("InvalidCiphertextException"), "key.context"),
    "another key's wrap": (error("IncorrectKeyException"), "key.context"),
    "an error nobody knows": (error("SomethingNewException"), "provider.error"),
    "not JSON": (body(b"garbage"), "provider.answer"),
    "empty": (body(b""), "provider.answer"),
    "no fields": (body(b"{}"), "provider.answer"),
    "a short key": (changed(Plaintext=b64(KEY[:16])), "provider.answer"),
    "a long key": (changed(Plaintext=b64(KEY + b"\x00")), "provider.answer"),
    "no bytes": (changed(Plaintext=""), "provider.answer"),
    "not base64": (changed(Plaintext="!"), "provider.answer"),
    "opened under another key": (changed(KeyId=OTHER_ARN), "provider.answer"),
    "another key of the right length": (changed(Plaintext=b64(bytes(32))), "key.context"),
}


def through(liar: LyingProvider, kms: KmsServer, made: Wrapped | None = None) -> DeadlineProvider:
    liar.lie = None
    direct = connection(kms, url=liar.url)
    direct.status(made.epoch if made else "e")
    liar.asked.clear()
    return on_the_road(direct)


@pytest.mark.parametrize("name", OPENING_LIES)
def test_answer_that_cannot_be_believed_opens_nothing(
    kms: KmsServer, liar: LyingProvider, made: Wrapped, name: str
) -> None:
    provider = through(liar, kms, made)
    liar.lie, liar.about = OPENING_LIES[name][0], "Decrypt"
    assert why(provider, made) == OPENING_LIES[name][1]
    assert liar.count("Decrypt") == 1
    made.holds()


WRAPPING_LIES: dict[str, Lie] = {
    "another key's ciphertext": changed(KeyId=OTHER_ARN),
    "garbage": changed(CiphertextBlob=b64(b"garbage")),
    "nothing": changed(CiphertextBlob=""),
    "a great deal": changed(CiphertextBlob=b64(bytes(5000))),
    "the plaintext": changed(CiphertextBlob=b64(KEY)),
}


@pytest.mark.parametrize("name", WRAPPING_LIES)
def test_wrap_that_would_not_open_is_never_kept(kms: KmsServer, liar: LyingProvider, made: Wrapped, name: str) -> None:
    provider = through(liar, kms, made)
    liar.lie, liar.about = WRAPPING_LIES[name], "Encrypt"
    with pytest.raises(Unavailable, match=r"provider\.answer"):
        provider.wrap(made.epoch, KEY, CONTEXT)
    made.holds()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"Arn": OTHER_ARN.replace(REGION, "us-east-1")}, "provider.region"),
        ({"MultiRegion": True}, "provider.region"),
        ({"Arn": "key/1"}, "provider.answer"),
        ({"Arn": OTHER_ARN}, "provider.answer"),  # the alias was moved to another key
        ({"KeyState": "PendingImport"}, "provider.state"),
        ({"KeyState": "PendingDeletion"}, "provider.answer"),  # without its date
    ],
)
def test_key_that_is_elsewhere_or_another_is_not_the_epoch(
    kms: KmsServer, liar: LyingProvider, made: Wrapped, fields: dict[str, Any], reason: str
) -> None:
    provider = through(liar, kms, made)

    def lie(asked: Asked, answer: Answer) -> Answer:
        return Answer(200, json.dumps({"KeyMetadata": json.loads(answer.body)["KeyMetadata"] | fields}).encode())

    liar.lie, liar.about = lie, "DescribeKey"
    with pytest.raises(Unavailable) as caught:
        provider.status(made.epoch)
    assert caught.value.reason == reason
    made.holds()


def test_key_is_named_by_its_arn_and_bound_by_class_epoch_and_context(
    kms: KmsServer, liar: LyingProvider, made: Wrapped
) -> None:
    provider = through(liar, kms, made)
    assert why(provider, made) == ""
    (asked,) = [json.loads(each.body) for each in liar.asked if "Decrypt" in each.operation]
    assert asked["KeyId"].startswith(f"arn:aws:kms:{REGION}:111111111111:key/")
    assert asked["EncryptionContext"] == {
        "demesne:class": "raw", "demesne:epoch": made.epoch, "demesne:context": b64(CONTEXT),
    }  # fmt: skip


def test_provider_itself_refuses_the_view_credential_a_raw_unwrap(kms: KmsServer, made: Wrapped) -> None:
    """boto3 with the view access key, and the raw wrap, its own context and its own key by ARN: no code of ours."""
    raw = kms.client(kms.credentials[KeyClass.RAW])
    arn = raw.describe_key(KeyId=f"alias/demesne-raw-de_{made.epoch}")["KeyMetadata"]["Arn"]
    context = {"demesne:class": "raw", "demesne:epoch": made.epoch, "demesne:context": b64(CONTEXT)}
    assert raw.decrypt(CiphertextBlob=made.wrapped[16:], EncryptionContext=context, KeyId=arn)["Plaintext"] == KEY
    view = kms.client(kms.credentials[KeyClass.VIEW])
    for named in ({}, {"KeyId": arn}):
        with pytest.raises(ClientError) as caught:
            view.decrypt(CiphertextBlob=made.wrapped[16:], EncryptionContext=context, **named)
        assert caught.value.response["Error"]["Code"] in {"AccessDeniedException", "NotFoundException"}
    with pytest.raises(ClientError):
        view.schedule_key_deletion(KeyId=arn.rpartition("/")[2])
    made.holds()


def test_adapter_with_the_view_credential_and_raw_names_opens_nothing(kms: KmsServer, made: Wrapped) -> None:
    crossed = VerifiedProvider(connection(kms, credential=kms.credentials[KeyClass.VIEW], seconds=5.0))
    with pytest.raises(Refused, match=r"key\.(class|unknown)"):
        crossed.unwrap(made.epoch, made.wrapped, CONTEXT)
    made.holds()


def test_user_without_the_action_is_denied_by_iam(kms: KmsServer, made: Wrapped) -> None:
    """moto checks IAM actions: what the policy does not name is refused to the right account too."""
    raw = kms.client(kms.credentials[KeyClass.RAW])
    with pytest.raises(ClientError, match="AccessDenied"):
        raw.list_keys()
    with pytest.raises(ClientError, match="AccessDenied"):
        raw.put_key_policy(KeyId=f"alias/demesne-raw-de_{made.epoch}", Policy="{}")


@pytest.mark.parametrize("spoilt", ["missing", "empty", "no-default", "wrong-secret"])
def test_credential_that_is_no_good_is_unavailable_and_named(
    kms: KmsServer, made: Wrapped, tmp_path: Path, spoilt: str
) -> None:
    path, good = tmp_path / "credential", kms.credentials[KeyClass.RAW].read_text()
    if spoilt != "missing":
        path.write_text({
            "empty": "", "no-default": good.replace("[default]", "[other]"), "wrong-secret": good[:-4] + "abc\n",
        }[spoilt])  # fmt: skip
    provider = connection(kms, credential=path, seconds=5.0)
    assert why(provider, Wrapped(made.sound, made.epoch, made.wrapped[16:])) == "provider.credential"
    path.write_text(good)
    assert why(provider, Wrapped(made.sound, made.epoch, made.wrapped[16:])) == ""
    made.holds()


def test_environment_has_no_say(kms: KmsServer, made: Wrapped, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "http_proxy", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "config").write_text("[default]\nregion = us-east-1\nendpoint_url = http://127.0.0.1:9\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "else")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "9")
    assert why(VerifiedProvider(connection(kms, seconds=5.0)), made) == ""


def test_deleted_key_is_unknown_and_opens_nothing(kms: KmsServer, sound: KeyProvider) -> None:
    """KMS keeps no tombstone: after the days are over, neither alias nor key is there."""
    made = fresh(sound)
    remembering = connection(kms, seconds=5.0)
    assert remembering.unwrap(made.epoch, made.wrapped[16:], CONTEXT) == KEY
    assert made.sound.destroy(made.epoch).state == "pending"
    _delete_for_good(kms, made.epoch)
    with pytest.raises(Refused, match=r"key\.(destroyed|pending)"):
        remembering.unwrap(made.epoch, made.wrapped[16:], CONTEXT)
    started = connection(kms, seconds=5.0)
    assert started.status(made.epoch).state is EpochState.UNKNOWN
    with pytest.raises(Refused, match=r"key\.unknown"):
        started.unwrap(made.epoch, made.wrapped[16:], CONTEXT)


def _delete_for_good(kms: KmsServer, epoch: str) -> None:
    """What KMS does when the date comes. moto never does: its server has a door for tests."""
    requests.post(f"{kms.url}/for-tests/delete/demesne-raw-de_{epoch}", timeout=5).raise_for_status()


def test_where_the_region_is_decides_whether_the_zone_is_open(kms: KmsServer, made: Wrapped) -> None:
    class Store:
        def location(self) -> Any:
            return type("Where", (), {"observed": "de", "strength": "self-reported", "target": "store"})()

    providers = open_providers(kms_settings(kms), seconds=5.0)
    places = [Located("store", Store()), *(Located("key-provider", each) for each in providers.values())]
    known = {"de": "de", REGION: "de"}
    assert verdict(observe(places, "de", known)).state == "open"
    closed = verdict(observe(places, "de", {"de": "de"}))
    assert (closed.state, closed.reason) == ("closed", "key-provider.unknown-location")
    moved = verdict(observe(places, "de", {"de": "de", REGION: "fr"}))
    assert (moved.state, moved.reason) == ("closed", "key-provider.elsewhere")


def test_provider_that_does_not_answer_where_it_is_closes_the_zone(kms: KmsServer) -> None:
    class Store:
        def location(self) -> Any:
            return type("Where", (), {"observed": "de", "strength": "self-reported", "target": "store"})()

    away = connection(kms, url="http://127.0.0.1:9")
    closed = verdict(observe([Located("store", Store()), Located("key-provider", away)], "de", {REGION: "de"}))
    assert (closed.state, closed.reason) == ("closed", "store.unknown-location")
    closed = verdict(observe([Located("key-provider", away), Located("store", Store())], "de", {"de": "de"}))
    assert (closed.state, closed.reason) == ("closed", "key-provider.provider.connection")
