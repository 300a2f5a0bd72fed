"""Credentials that roll over while clients live: one endpoint, several attested sessions after one another."""

import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

from demesne.agent import Agent
from demesne.credentials import Credentials
from lineage.ledger.reader import LedgerReader
from tests.e2e.world import World

LIFE_SECONDS = 7.0  # what the endpoint says is left: the AWS SDKs ask again well before, each by its own rule
SPARE_SECONDS = 2.0  # for requests that were signed in the last moment
RAW = "raw"


class RollingAgent:
    """Demesne's own agent, told to hand out the present session of several, always as about to expire."""

    def __init__(self, sessions: list[Any]) -> None:
        self.sessions = sessions
        self._present = 0
        self._agent = Agent(credentials=self._credentials, reattest=None, fresh_seconds=900)

    def _credentials(self) -> Credentials:
        end = datetime.now(UTC) + timedelta(seconds=LIFE_SECONDS)
        found: Credentials = self.sessions[self._present].credentials
        return replace(found, expiration=end)

    def env(self) -> dict[str, str]:
        """A session's environment, with this endpoint in it."""
        own = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": self._agent.uri,
               "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(self._agent.token_file)}  # fmt: skip
        env: dict[str, str] = self.sessions[0].env()
        return env | own

    def roll(self) -> Credentials:
        """Hand out the next session; once no client can think that the last one's are good, revoke it."""
        before = self.sessions[self._present]
        gone: Credentials = before.credentials
        self._present += 1
        time.sleep(LIFE_SECONDS + SPARE_SECONDS)
        before.close()
        return gone

    def __enter__(self) -> Self:
        self._agent.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._agent.close()


@dataclass(frozen=True)
class Recorded:
    """What the ledger says of some sessions."""

    reads: dict[str, Counter[str]]
    """By object (its keyed hash): raw reads that were allowed, by session."""
    refused: list[dict[str, Any]]
    """Every other intent of theirs."""
    late: list[dict[str, Any]]
    """Intents after their session's revocation."""


def recorded(world: World, sessions: list[str]) -> Recorded:
    reader = LedgerReader(world.zone_dir() / "ledger")
    entries = list(reader.entries(0, reader.size))
    revoked = {entry["session"]: entry["at"] for entry in entries if entry["type"] == "revocation"}
    intents = [entry for entry in entries if entry["type"] == "intent" and entry["session"] in sessions]
    reads: dict[str, Counter[str]] = {}
    for entry in intents:
        if entry["decision"]["allow"] and entry["view"] == RAW:
            reads.setdefault(entry["object"], Counter())[entry["session"]] += 1
    return Recorded(
        reads,
        [entry for entry in intents if not entry["decision"]["allow"] or (entry["object"] and entry["view"] != RAW)],
        [entry for entry in intents if entry["at"] > revoked.get(entry["session"], "9")],
    )
