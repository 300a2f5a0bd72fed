"""When to attest again: pure, so that a thousand sessions' behaviour can be computed in a test.

A session re-attests after 60 to 100 % of a third of its freshness, at random: jobs that start together do not renew
together, and two attempts may fail before anything lapses. After a failure the pause doubles from one second, with
jitter, never sooner than the gateway's Retry-After. In the minute after a lapse, in which the gateway answers 503 and
nothing is lost yet, tries stand at most ten seconds apart.
"""

from collections.abc import Callable

from demesne.errors import DemesneError, ReattestationRequired, Refused

GRACE_SECONDS = 60.0  # docs/spec/attested-session.md: 503 for so long, then 403 ReattestationRequired
FIRST_RETRY, LONGEST_RETRY, LONGEST_IN_GRACE, LONGEST_WAIT = 1.0, 60.0, 10.0, 300.0
# Refusals of one challenge, not of the session: evidence that took too long, an answer that was lost on the way.
_PASSING = frozenset({"attest.nonce", "attestation.nonce"})
_PASSING_TRIES = 3


class Renewal:
    """The schedule of one session. `random` gives numbers in [0, 1)."""

    def __init__(self, fresh_seconds: float, random: Callable[[], float], *, first_retry: float = FIRST_RETRY) -> None:
        self._random = random
        self._first_retry = first_retry
        self._fresh_seconds = fresh_seconds
        self._failures = 0

    def succeeded(self, fresh_seconds: float) -> float:
        """Seconds until the next attestation."""
        self._fresh_seconds, self._failures = fresh_seconds, 0
        return self.pause()

    def pause(self) -> float:
        return self._fresh_seconds / 3 * (0.6 + 0.4 * self._random())

    def failed(self, error: DemesneError, since_success: float) -> float | None:
        """Seconds until the next try; None when trying again cannot help. `since_success`: since the last attestation.

        Only a refusal is final, and not that of a stale challenge: for this a new one is asked, at most three times.
        """
        self._failures += 1
        if self.is_final(error):
            return None
        lapsed_for = since_success - self._fresh_seconds
        longest = LONGEST_IN_GRACE if 0 <= lapsed_for < GRACE_SECONDS else LONGEST_RETRY
        longest = min(longest, max(self._fresh_seconds / 3, self._first_retry))
        doubled: float = self._first_retry * 2.0 ** min(self._failures - 1, 16)
        if lapsed_for < 0:  # no pause may leap over the grace
            longest = min(longest, LONGEST_IN_GRACE - lapsed_for)
        pause = min(longest, doubled) * (0.5 + 0.5 * self._random())
        asked = min(error.retry_after or 0.0, LONGEST_WAIT)
        return max(pause, asked * (1.0 + 0.5 * self._random()))

    def is_final(self, error: DemesneError) -> bool:
        if not isinstance(error, Refused) or isinstance(error, ReattestationRequired):
            return False
        return error.rule not in _PASSING or self._failures > _PASSING_TRIES
