"""What stands between the broker and any provider: a budget, one more try for a lost connection, and commitments."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fakes.broker import CountingProvider
from vault.errors import Refused, Unavailable, VaultError
from vault.keys.deadline import DeadlineProvider
from vault.keys.local import LocalProvider
from vault.keys.provider import KeyClass, KeyProvider
from vault.keys.verified import MAX_WRAP, VerifiedProvider

KEY, OTHER, CONTEXT = bytes(range(32)), bytes(32), b"context"


@pytest.fixture
def calls() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def provider(tmp_path: Path, calls: list[tuple[str, str]]) -> CountingProvider:
    LocalProvider.initialise(tmp_path / "keys", "de")
    made = CountingProvider(LocalProvider.connect(tmp_path / "keys", KeyClass.RAW), "raw", calls)
    made.create_epoch("e1", KeyClass.RAW)
    calls.clear()
    return made


class Failing:
    """Raises the first `times` operations with `error`, before or after they had their effect."""

    def __init__(self, times: int, error: VaultError) -> None:
        self.left = times
        self.error = error
        self.seen: list[str] = []

    def __call__(self, operation: str) -> None:
        self.seen.append(operation)
        if self.left:
            self.left -= 1
            raise self.error


LOST = Unavailable("provider.connection")


def test_lost_connection_is_tried_once_more(provider: CountingProvider) -> None:
    wrapped = provider.wrap("e1", KEY, CONTEXT)
    provider.before = failing = Failing(1, LOST)
    assert DeadlineProvider(provider, budget_seconds=5).unwrap("e1", wrapped, CONTEXT) == KEY
    assert failing.seen == ["unwrap", "unwrap"]


def test_and_not_a_third_time(provider: CountingProvider) -> None:
    provider.before = failing = Failing(9, LOST)
    with pytest.raises(Unavailable, match=r"provider\.connection"):
        DeadlineProvider(provider, budget_seconds=5).unwrap("e1", b"", CONTEXT)
    assert len(failing.seen) == 2


@pytest.mark.parametrize(
    "error",
    [
        Refused("key.class"), Refused("key.context"), Refused("key.destroyed"), Unavailable("provider.timeout"),
        Unavailable("provider.throttled"), Unavailable("provider.credential"), Unavailable("provider.redirect"),
        Unavailable("provider.answer"), Unavailable("provider.sealed"), Unavailable("provider.tls"),
    ],
    ids=lambda error: error.reason,
)  # fmt: skip
def test_nothing_else_is_tried_again(provider: CountingProvider, error: VaultError) -> None:
    provider.before = failing = Failing(1, error)
    with pytest.raises(VaultError) as caught:
        DeadlineProvider(provider, budget_seconds=5).unwrap("e1", b"", CONTEXT)
    assert caught.value.reason == error.reason
    assert failing.seen == ["unwrap"]


def test_making_an_epoch_is_never_sent_twice(provider: CountingProvider) -> None:
    """The connection is lost after the effect: a second try would call our own epoch somebody else's."""
    provider.after = failing = Failing(1, LOST)
    with pytest.raises(Unavailable, match=r"provider\.connection"):
        DeadlineProvider(provider, budget_seconds=5).create_epoch("e2", KeyClass.RAW)
    assert failing.seen == ["create_epoch"]


@pytest.mark.parametrize(
    "call",
    [
        lambda road: road.disable("e1"), lambda road: road.enable("e1"), lambda road: road.destroy("e1"),
        lambda road: road.schedule_destruction("e1", 7, 1_800_000_000_000),
    ],
    ids=["disable", "enable", "destroy", "schedule"],
)  # fmt: skip
def test_what_may_be_repeated_survives_a_lost_answer(
    provider: CountingProvider, call: Callable[[KeyProvider], object]
) -> None:
    provider.after = Failing(1, LOST)
    call(DeadlineProvider(provider, budget_seconds=5))


def test_no_second_try_once_the_caller_has_gone(provider: CountingProvider) -> None:
    gone, seen = threading.Event(), list[str]()

    def slow(operation: str) -> None:
        seen.append(operation)
        gone.wait(5)
        raise LOST

    provider.before = slow
    road = DeadlineProvider(provider, budget_seconds=0.05)
    with pytest.raises(Unavailable, match=r"provider\.timeout"):
        road.unwrap("e1", b"", CONTEXT)
    gone.set()
    time.sleep(0.1)
    assert seen == ["unwrap"]


def test_commitment_is_bound_to_key_and_context(provider: CountingProvider) -> None:
    verified = VerifiedProvider(provider)
    wrapped = verified.wrap("e1", KEY, CONTEXT)
    assert verified.unwrap("e1", wrapped, CONTEXT) == KEY
    assert wrapped[:16] != verified.wrap("e1", OTHER, CONTEXT)[:16]
    assert wrapped[:16] != verified.wrap("e1", KEY, b"another")[:16]
    assert wrapped[:16] == verified.wrap("e1", KEY, CONTEXT)[:16]  # no secret of its own
    for place in range(16):
        changed = bytearray(wrapped)
        changed[place] ^= 1
        with pytest.raises(Refused, match=r"key\.context"):
            verified.unwrap("e1", bytes(changed), CONTEXT)


def test_wraps_of_two_keys_are_not_exchanged(provider: CountingProvider) -> None:
    """Both are genuine wraps under one epoch and context: only the commitment tells them apart."""
    verified = VerifiedProvider(provider)
    one, two = verified.wrap("e1", KEY, CONTEXT), verified.wrap("e1", OTHER, CONTEXT)
    with pytest.raises(Refused, match=r"key\.context"):
        verified.unwrap("e1", one[:16] + two[16:], CONTEXT)


def test_wrap_that_fails_on_the_way_back_is_unavailable_not_kept(provider: CountingProvider) -> None:
    verified = VerifiedProvider(provider)
    provider.before = lambda operation: None if operation == "wrap" else _raise(Refused("key.context"))
    with pytest.raises(Unavailable, match=r"provider\.answer"):
        verified.wrap("e1", KEY, CONTEXT)


@pytest.mark.parametrize("length", [0, 1, 15, 16, MAX_WRAP + 1])
def test_wrap_of_an_impossible_length_is_refused_unsent(
    provider: CountingProvider, calls: list[tuple[str, str]], length: int
) -> None:
    with pytest.raises(Refused, match=r"key\.context"):
        VerifiedProvider(provider).unwrap("e1", bytes(length), CONTEXT)
    assert calls == []


def _raise(error: Exception) -> None:
    raise error
