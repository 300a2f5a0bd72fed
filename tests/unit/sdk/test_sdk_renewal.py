"""When sessions renew: spread, patient with a gateway in trouble, quick in the minute that nothing is lost yet."""

import random
from collections import Counter

import pytest

from demesne.errors import DemesneError, ReattestationRequired, Refused, Unavailable
from demesne.renewal import GRACE_SECONDS, Renewal

DOWN = Unavailable("ServiceUnavailable", "down", status=503)


def test_a_thousand_sessions_of_one_start_do_not_renew_at_once() -> None:
    chance = random.Random(1)
    second = Counter[int]()
    for _ in range(1000):
        renewal, at = Renewal(900, chance.random), 0.0
        for _ in range(3):
            at += renewal.succeeded(900)
            second[int(at)] += 1
    assert max(second.values()) <= 30  # of 3000 in 900 s; all at once would be 1000
    assert max(second) <= 900


def test_two_attempts_may_fail_before_anything_lapses() -> None:
    for chance in (0.0, 0.5, 0.999):
        renewal = Renewal(900, lambda chance=chance: chance)  # type: ignore[misc]
        at = renewal.pause()
        for _ in range(2):
            pause = renewal.failed(DOWN, at)
            assert pause is not None
            at += pause
        assert at < 900 - 500


def test_a_gateway_that_was_down_is_not_stormed_when_it_is_back() -> None:
    """1000 sessions, down for an hour: tries of one second stay a small part."""
    chance = random.Random(2)
    second = Counter[int]()
    for _ in range(1000):
        renewal = Renewal(900, chance.random)
        at = renewal.pause()
        while at < 3600:
            second[int(at)] += 1
            pause = renewal.failed(DOWN, at)
            assert pause is not None
            at += pause
    steady = [count for at, count in second.items() if at > 1200]
    assert max(steady) < 60  # 1000 sessions at most a minute apart: about 22 a second


def test_in_the_grace_of_a_lapse_tries_are_close_enough_to_save_it() -> None:
    for chance in (0.0, 0.999):
        renewal, at, tries = Renewal(900, lambda chance=chance: chance), 290.0, 0  # type: ignore[misc]
        while at < 900 + GRACE_SECONDS:
            pause = renewal.failed(DOWN, at)
            assert pause is not None
            at += pause
            tries += 900 <= at < 900 + GRACE_SECONDS
        assert tries >= 5


@pytest.mark.parametrize("chance", [0.0, 0.999])
def test_the_gateways_own_word_is_obeyed(chance: float) -> None:
    busy = Unavailable("SlowDown", "busy", retry_after=42.0)
    pause = Renewal(900, lambda: chance).failed(busy, 10)
    assert pause is not None
    assert 42 <= pause <= 63
    hours = Unavailable("SlowDown", "busy", retry_after=86400.0)
    assert (Renewal(900, lambda: chance).failed(hours, 10) or 0) <= 450


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (Refused("AccessDenied", "revoked", rule="session.revoked"), False),
        (Refused("AttestationRefused", "tcb", rule="attest.tcb"), False),
        (Refused("AttestationRefused", "late", rule="attest.nonce"), True),
        (ReattestationRequired("ReattestationRequired", "lapsed"), True),
        (DOWN, True),
    ],
)
def test_only_a_refusal_of_the_session_is_final(error: DemesneError, again: bool) -> None:
    assert (Renewal(900, lambda: 0.5).failed(error, 10) is not None) is again


def test_stale_challenges_are_asked_anew_three_times() -> None:
    stale = Refused("AttestationRefused", "late", rule="attest.nonce")
    renewal = Renewal(900, lambda: 0.5)
    assert [renewal.failed(stale, 10) is not None for _ in range(4)] == [True, True, True, False]


def test_success_forgets_the_failures() -> None:
    renewal = Renewal(900, lambda: 0.0)
    first = renewal.failed(DOWN, 10)
    for _ in range(5):
        renewal.failed(DOWN, 10)
    renewal.succeeded(900)
    assert renewal.failed(DOWN, 10) == first
