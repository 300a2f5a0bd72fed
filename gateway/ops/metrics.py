"""Prometheus metrics of one worker. Labels are closed sets: no key, name or id ever becomes one."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

_KINDS = frozenset({"raw", "open", "writer", "none"})


class Metrics:
    """A registry of its own, so that two workers in one process do not share counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._decisions = Counter(
            "demesne_decisions_total", "Decisions by action and answer", ["action", "answer"], registry=self.registry
        )
        self._reads = Counter(
            "demesne_reads_total", "Reads by kind of view and outcome", ["view", "status"], registry=self.registry
        )
        self._bytes = Counter(
            "demesne_bytes_sent_total", "Plaintext bytes sent, by kind of view", ["view"], registry=self.registry
        )
        self._unrecorded = Counter(
            "demesne_refused_unrecorded_total", "Requests refused because the ledger took no record",
            registry=self.registry,
        )  # fmt: skip
        self._elsewhere = Counter(
            "demesne_session_elsewhere_total", "Requests with a session's credentials from where they do not count",
            ["rule"], registry=self.registry,
        )  # fmt: skip

        self._trust = Gauge(
            "demesne_trust_file", "State of the trust files: 1 for the state that is", ["file", "state"],
            registry=self.registry,
        )  # fmt: skip
        self._trust_end = Gauge(
            "demesne_trust_expires_seconds", "When the first of these trust files expires, seconds since 1970",
            ["file"], registry=self.registry,
        )  # fmt: skip

    def trusted(self, states: Mapping[str, str], ends_ms: Mapping[str, int]) -> None:
        """States and expiries of trust files, by the closed set of their names; called before each `render`."""
        self._trust.clear()
        self._trust_end.clear()
        for name, state in states.items():
            self._trust.labels(name, state).set(1)
        for name, end in ends_ms.items():
            self._trust_end.labels(name).set(end // 1000)

    def decided(self, action: str, allow: bool) -> None:
        self._decisions.labels(action, "allow" if allow else "deny").inc()

    def read(self, view: str, status: str, sent: int) -> None:
        """A plan id counts as "masked": there may be many."""
        kind = view if view in _KINDS else "masked"
        self._reads.labels(kind, status).inc()
        self._bytes.labels(kind).inc(sent)

    def elsewhere(self, rule: str) -> None:
        self._elsewhere.labels(rule).inc()

    def unrecorded(self) -> None:
        self._unrecorded.inc()

    def render(self) -> bytes:
        return generate_latest(self.registry)
