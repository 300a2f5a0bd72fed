"""Streams that are open now, and the look at whether each may still be: a client that takes nothing is no exception.

A stream looks at its session itself between slabs (gateway/streams.py). That is no help where nobody asks for a slab,
because the client is slow or stands still: what was sealed into its connection before stays readable for as long as it
likes. So every worker looks every LOOK_SECONDS at the sessions of what is open, each once, and ends what has lost its
reason: revoked, lapsed, or moved to another machine.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Hashable
from typing import Protocol

import structlog

from gateway.errors import GatewayError, SessionEnded
from gateway.facts import Facts, FactsReader
from gateway.identity.principal import Principal
from vault.errors import VaultError

LOOK_SECONDS = 2.0
ANSWER_SECONDS = 3.0  # with LOOK_SECONDS and the 5 s of what is known of a session: 10 s
StillAllowed = Callable[[], GatewayError | None]
log = structlog.get_logger(__name__)


def still_allowed(facts: FactsReader, principal: Principal, decision_id: str) -> SessionEnded | None:
    """Why the caller's session gives out nothing more; None while it does, and without one. Rows are at most 5 s old,
    but a session that seems lapsed is read again: another worker may have heard it attest a moment ago."""
    if principal.session is None:
        return None
    try:
        found = facts.gather(principal, None)
        if not _holds(principal, found) or found.elsewhere:
            facts.forget_session(principal.session.session_id)
            found = facts.gather(principal, None)
    except VaultError:
        return _ended("ReattestationRequired", decision_id)
    if found.elsewhere:
        return _ended(found.elsewhere, decision_id)
    return None if _holds(principal, found) else _ended("ReattestationRequired", decision_id)


def _holds(principal: Principal, found: Facts) -> bool:
    """An attestation ages; an identity does not, and its session gives out views until it is revoked. Which of the two
    a session is says its sealed token, never its row."""
    if principal.session is not None and principal.session.kind == "identity":
        return found.session is not None and found.session.revoked_at is None
    return found.fresh


def _ended(rule: str, decision_id: str | None) -> SessionEnded:
    return SessionEnded(
        "ReattestationRequired", "The session was revoked, moved, or its attestation is no longer fresh", rule=rule,
        decision_id=decision_id, remedy="attest again",
    )  # fmt: skip


async def _looked(still_allowed: StillAllowed) -> GatewayError | None:
    """A catalog that does not say in time that a session is good has not said it."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await asyncio.to_thread(still_allowed)
    except TimeoutError:
        return _ended("ReattestationRequired", None)


class Ending(Protocol):
    """An open stream."""

    def end(self, refusal: GatewayError) -> None:
        """Give out nothing more, and let go of the client."""


class OpenStreams:
    """`enter` and `leave` in the loop of the worker. Looks may ask the catalog, and so run on threads of their own: the
    worker's may all be waiting for a store, and their streams are the ones to be ended."""

    def __init__(self) -> None:
        self._open: dict[Ending, tuple[Hashable, StillAllowed]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def enter(self, stream: Ending, whose: Hashable, still_allowed: StillAllowed) -> None:
        """`whose`: what the answer of `still_allowed` depends on; streams that share it are looked at once."""
        self._open[stream] = (whose, still_allowed)

    def leave(self, stream: Ending) -> None:
        self._open.pop(stream, None)

    async def watch(self) -> None:
        """For as long as the worker runs."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except Exception as error:  # the outermost handler: the next look is for what this one missed
                log.exception("look at open streams failed", kind=type(error).__name__)

    async def look(self) -> None:
        """Once at everything that is open."""
        looks: dict[Hashable, StillAllowed] = {}
        streams_of: dict[Hashable, list[Ending]] = defaultdict(list)
        for stream, (whose, still_allowed) in self._open.items():
            looks[whose] = still_allowed
            streams_of[whose].append(stream)
        for whose, still_allowed in looks.items():
            refusal = await _looked(still_allowed)
            if refusal is None:
                continue
            for stream in streams_of[whose]:
                if stream in self._open:  # or it came to its end meanwhile
                    stream.end(refusal)
            log.info("streams ended", rule=refusal.rule, count=len(streams_of[whose]))
