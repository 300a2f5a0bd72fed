"""Prometheus metrics of one worker. Labels are closed sets: no key, name or id ever becomes one."""

from prometheus_client import CollectorRegistry, Counter, generate_latest


class Metrics:
    """A registry of its own, so that two workers in one process do not share counters."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.answers = Counter("demesne_answers_total", "Answers by action and status", ["action", "status"],
                               registry=self.registry)  # fmt: skip
        self.bytes_sent = Counter("demesne_bytes_sent_total", "Plaintext bytes sent, by kind of view", ["view"],
                                  registry=self.registry)  # fmt: skip

    def render(self) -> bytes:
        return generate_latest(self.registry)
