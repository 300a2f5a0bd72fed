"""A PKCS#11 token failing in every way there is a name for: each row a refusal, and nothing changed by it. SoftHSM2.

docs/spec/keys.md §3.5. What one credential can do is shown in processes of their own: a login is a process's, not a
session's, so that two credentials in one process prove nothing about one.
"""

import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

from tests.fakes.key_providers import in_a_process, loaded, missing
from tests.fakes.softhsm import SoftHsm, add_token, softhsm
from vault.errors import NotFound, Refused, Unavailable, VaultError
from vault.keys.deadline import DeadlineProvider
from vault.keys.names import EpochNames
from vault.keys.pkcs11_module import Pkcs11Module, Pkcs11Token
from vault.keys.pkcs11_token import Pkcs11Provider
from vault.keys.provider import EpochState, KeyClass, KeyProvider, ProviderLocation
from vault.keys.verified import VerifiedProvider

pytestmark = [
    pytest.mark.servers, pytest.mark.skipif(bool(missing("pkcs11")), reason=missing("pkcs11")),
    # A session that is gone cannot end its operation: the library says so where nobody can catch it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]  # fmt: skip
KEY, CONTEXT = bytes(range(32)), b"main\x00de\x00context"
WHERE = ProviderLocation("de", "self-reported", "hsm")


@dataclass
class Token:
    """A token of its own for each test, its provider, and one epoch with one wrap."""

    hsm: SoftHsm
    module: Pkcs11Module
    epoch: str
    wrapped: bytes
    provider: Pkcs11Provider
    road: KeyProvider

    @property
    def name(self) -> str:
        return f"demesne-raw-de_{self.epoch}"

    @property
    def pin(self) -> str:
        return self.hsm.pins[KeyClass.RAW].read_text().strip()

    def folder(self) -> Path:
        """Where SoftHSM keeps the raw token."""
        label = self.hsm.labels[KeyClass.RAW].encode()
        return next(each for each in self.hsm.tokens.iterdir() if label in (each / "token.object").read_bytes())

    def holds(self) -> None:
        assert self.road.unwrap(self.epoch, self.wrapped, CONTEXT) == KEY
        assert self.road.status(self.epoch).state is EpochState.ACTIVE


@pytest.fixture(scope="module")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    made = softhsm(tmp_path_factory.mktemp("hsm"), suffix="-first")
    with loaded(made):
        yield made


@pytest.fixture
def token(hsm: SoftHsm) -> Token:
    add_token(hsm, KeyClass.RAW, f"-{secrets.token_hex(4)}")
    pkcs11.lib(str(hsm.module)).reinitialize()
    module = Pkcs11Module(hsm.module)
    provider = connect(hsm, module, KeyClass.RAW)
    provider.initialise()
    road = DeadlineProvider(VerifiedProvider(provider), budget_seconds=1.0)
    epoch = secrets.token_hex(16)
    road.create_epoch(epoch, KeyClass.RAW)
    return Token(hsm, module, epoch, road.wrap(epoch, KEY, CONTEXT), provider, road)


def connect(
    hsm: SoftHsm, module: Pkcs11Module, key_class: KeyClass, *, label: str | None = None, pin: Path | None = None
) -> Pkcs11Provider:
    at = Pkcs11Token(module, label or hsm.labels[key_class], pin or hsm.pins[key_class])
    return Pkcs11Provider(at, EpochNames(key_class, "de"), WHERE)


def why(provider: KeyProvider, token: Token) -> str:
    try:
        opened = provider.unwrap(token.epoch, token.wrapped, CONTEXT)
    except VaultError as error:
        return error.reason
    return "" if opened == KEY else "another key"


ALONE = """
import sys, pkcs11
from pkcs11 import Attribute, GCMParams, Mechanism, exceptions
module, token, pin, name, wrapped, context = sys.argv[1:]
lib = pkcs11.lib(module)
try:
    with lib.get_token(token_label=token).open(rw=True, user_pin=pin or None) as session:
        found = list(session.get_objects({Attribute.LABEL: name}))
        if not found:
            print("no such key")
        for key in found:
            blob = bytes.fromhex(wrapped)
            opened = key.decrypt(blob[13:], mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(
                blob[1:13], b"demesne/pkcs11/1\\x00" + bytes.fromhex(context), 128))
            print("opened", opened.hex())
except exceptions.PKCS11Error as error:
    print(type(error).__name__)
"""


def alone(token: Token, label: str, pin: str) -> str:
    """What a process with this PIN and this token, and nothing else, makes of the raw wrap."""
    return in_a_process(
        ALONE, str(token.hsm.module), label, pin, token.name, token.wrapped[16:].hex(), CONTEXT.hex(),
        SOFTHSM2_CONF=str(token.hsm.configuration),
    )  # fmt: skip


def test_token_itself_refuses_the_view_pin_a_raw_unwrap(token: Token) -> None:
    raw, view = (token.hsm.labels[key_class] for key_class in KeyClass)
    view_pin = token.hsm.pins[KeyClass.VIEW].read_text().strip()
    assert alone(token, raw, token.pin) == f"opened {KEY.hex()}"  # the program works, with the right PIN
    assert alone(token, raw, view_pin) == "PinIncorrect"
    assert alone(token, view, view_pin) == "no such key"
    assert alone(token, raw, "") == "no such key"  # private objects show themselves to nobody who is not logged in
    token.holds()


def test_key_leaves_the_token_for_nobody(token: Token) -> None:
    def look(session: pkcs11.Session) -> None:
        (key,) = session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: token.name})
        for attribute, value in {
            Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.NEVER_EXTRACTABLE: True,
            Attribute.ALWAYS_SENSITIVE: True, Attribute.PRIVATE: True, Attribute.LOCAL: True,
            Attribute.WRAP: False, Attribute.UNWRAP: False, Attribute.SIGN: False, Attribute.DERIVE: False,
        }.items():  # fmt: skip
            assert key[attribute] is value, attribute
        with pytest.raises(pkcs11.AttributeSensitive):
            key[Attribute.VALUE]
        for attribute, value in {Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}.items():
            with pytest.raises(pkcs11.PKCS11Error):
                key[attribute] = value
        wrapping: Any = session.generate_key(KeyType.AES, 256, capabilities=pkcs11.MechanismFlag.WRAP)
        with pytest.raises(pkcs11.PKCS11Error):
            wrapping.wrap_key(key)

    token.provider._token.run(look)
    token.holds()


def test_disabled_key_is_refused_by_the_token_to_whoever_held_it_before(token: Token) -> None:
    sealed = token.wrapped[16:]

    def held(session: pkcs11.Session) -> Any:
        (key,) = session.get_objects({Attribute.LABEL: token.name})
        return key

    key: Any = token.provider._token.run(held)
    token.road.disable(token.epoch)
    with pytest.raises(pkcs11.PKCS11Error):
        key.decrypt(sealed[13:], mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(
            sealed[1:13], b"demesne/pkcs11/1\x00" + CONTEXT, 128))  # fmt: skip
    assert why(token.road, token) == "key.disabled"
    token.road.enable(token.epoch)
    token.holds()


def test_session_that_was_lost_is_opened_again_in_the_same_call(token: Token) -> None:
    token.provider._token._session.close()  # the token was reset, or the module restarted, under us
    token.holds()


def test_session_lost_again_and_again_is_unavailable(token: Token, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def lost(*_: object) -> object:
        tried.append(1)
        raise pkcs11.DeviceRemoved

    with monkeypatch.context() as patched:
        patched.setattr(token.provider._token, "_open", lost)
        assert why(token.road, token) == "provider.connection"
    assert len(tried) == 2  # one more, and no third
    token.holds()


def test_token_that_was_taken_out_is_unavailable_and_comes_back_with_the_module(token: Token) -> None:
    folder = token.folder()
    away = folder.with_name("away")
    aside = folder.parent.parent / f"aside-{secrets.token_hex(4)}"
    shutil.move(folder, aside)
    try:
        assert why(token.road, token) in {"provider.token", "provider.error", "provider.connection"}
        for call in (
            lambda: token.road.create_epoch(secrets.token_hex(16), KeyClass.RAW),
            lambda: token.road.status(secrets.token_hex(16)),
            lambda: token.road.destroy(token.epoch),
            token.road.location,
        ):
            with pytest.raises(Unavailable):
                call()
    finally:
        shutil.move(aside, folder)
    assert not away.exists()
    token.module._reloaded -= 60  # a minute later
    assert why(token.road, token) in {"", "provider.error", "provider.token"}
    token.holds()


def test_token_that_was_never_set_up_for_the_zone_is_not_taken_for_empty(token: Token) -> None:
    """A new token of the old name knows no key: it must not look as if there had never been one."""
    add_token(token.hsm, KeyClass.VIEW, f"-{secrets.token_hex(4)}")
    pkcs11.lib(str(token.hsm.module)).reinitialize()
    fresh = connect(token.hsm, token.module, KeyClass.VIEW)
    for call in (
        lambda: fresh.status("e1"),
        lambda: fresh.unwrap("e1", token.wrapped, CONTEXT),
        lambda: fresh.create_epoch("e1", KeyClass.VIEW),
        fresh.location,
    ):
        with pytest.raises(Unavailable, match=r"provider\.token"):
            call()
    fresh.initialise()
    fresh.initialise()
    with pytest.raises(NotFound, match=r"key\.unknown"):
        fresh.unwrap("e1", token.wrapped, CONTEXT)
    assert fresh.location().observed == "de"


def test_token_of_another_name_is_unavailable(token: Token) -> None:
    absent = connect(token.hsm, token.module, KeyClass.RAW, label="nobody")
    assert why(absent, token) == "provider.token"
    token.holds()


def test_wrong_pin_is_tried_once_and_never_again(token: Token, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three wrong ones lock a token for everybody."""
    token.provider._token._drop()
    pin = tmp_path / "pin"
    pin.write_text("00000000")
    tried = []
    opening = token.module.open

    def counted(label: str, text: str) -> object:
        tried.append(text)
        return opening(label, text)

    monkeypatch.setattr(token.module, "open", counted)
    wrong = VerifiedProvider(connect(token.hsm, token.module, KeyClass.RAW, pin=pin))
    assert [why(wrong, token) for _ in range(5)] == ["provider.credential"] * 5
    assert tried == ["00000000"]
    pin.write_text(token.pin)  # another one may be tried
    assert why(wrong, token) == ""


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_pin_file_that_is_no_good_is_named(token: Token, tmp_path: Path, content: bytes | None) -> None:
    pin = tmp_path / "pin"
    if content is not None:
        pin.write_bytes(content)
    assert why(connect(token.hsm, token.module, KeyClass.RAW, pin=pin), token) == "provider.credential"
    token.holds()


def test_module_that_is_not_there_is_unavailable(token: Token, tmp_path: Path) -> None:
    for path in (tmp_path / "nothing.so", Path(__file__)):
        provider = connect(token.hsm, Pkcs11Module(path), KeyClass.RAW)
        assert why(provider, token) == "provider.error"
    token.holds()


def test_token_that_hangs_is_a_timeout_then_busy_and_others_go_on_later(token: Token) -> None:
    road = DeadlineProvider(VerifiedProvider(token.provider), budget_seconds=0.2, calls_at_once=2)
    release = threading.Event()
    hanging = threading.Thread(target=lambda: token.provider._token.run(lambda _: release.wait(20)))
    hanging.start()
    try:
        began = time.monotonic()
        assert [why(road, token) for _ in range(3)] == ["provider.timeout", "provider.timeout", "provider.busy"]
        assert time.monotonic() - began < 2
    finally:
        release.set()
        hanging.join(10)
    token.holds()


def test_two_objects_of_one_label_are_no_epoch(token: Token) -> None:
    """PKCS#11 allows it: whoever may write to the token could put a key of theirs beside ours."""

    def plant(session: pkcs11.Session) -> None:
        session.generate_key(KeyType.AES, 256, label=token.name, store=True)

    token.provider._token.run(plant)
    assert why(token.road, token) == "key.ambiguous"
    with pytest.raises(Refused, match=r"key\.ambiguous"):
        token.road.wrap(token.epoch, KEY, CONTEXT)


def test_key_of_somebody_else_under_our_name_opens_nothing(token: Token) -> None:
    """The epoch's object is replaced: the new one authenticates nothing that the old one sealed."""

    def swap(session: pkcs11.Session) -> None:
        (key,) = session.get_objects({Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.LABEL: token.name})
        key.destroy()
        session.generate_key(KeyType.AES, 256, label=token.name, store=True)

    token.provider._token.run(swap)
    assert why(token.road, token) == "key.context"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda blob: b"\x02" + blob[1:], lambda blob: blob[:1] + bytes(12) + blob[13:], lambda blob: blob[:-1],
        lambda blob: blob + b"\x00", lambda blob: blob[:-1] + bytes([blob[-1] ^ 1]), lambda blob: b"",
    ],
    ids=["version", "nonce", "short", "long", "tag", "empty"],
)  # fmt: skip
def test_changed_wrap_is_a_context_refusal_and_costs_no_session(token: Token, spoil: object) -> None:
    changed = spoil(token.wrapped[16:])  # type: ignore[operator]
    session = token.provider._token._session
    with pytest.raises(Refused, match=r"key\.context"):
        token.provider.unwrap(token.epoch, changed, CONTEXT)
    assert token.provider._token._session is session
    token.holds()


def test_wrap_of_a_provider_that_answers_short_or_long_is_refused(
    token: Token, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answered in (b"", bytes(31), bytes(33), bytes(64)):
        with monkeypatch.context() as patched:
            patched.setattr(token.provider._token, "run", lambda _, it=answered: it)
            assert why(token.road, token) == "provider.answer"
            with pytest.raises(Unavailable, match=r"provider\.answer"):
                token.road.wrap(token.epoch, KEY, CONTEXT)
    token.holds()
