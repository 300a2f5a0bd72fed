"""Durable delivery of lineage events: at least once, in order, a cursor for each sink."""

from typing import Protocol

from lineage.graph import GraphWriter

BATCH = 200


class Transport(Protocol):
    """Somewhere events go. `send` returns when they are safe there, and raises Unavailable when they are not."""

    name: str

    def send(self, events: list[str]) -> None: ...


class Outbox:
    """Moves events from the graph's outgoing table to one transport."""

    def __init__(self, graph: GraphWriter, transport: Transport) -> None:
        self._graph = graph
        self._transport = transport

    def deliver(self) -> int:
        """Send everything waiting; returns how many. Raises Unavailable and keeps the place it had reached."""
        cursor = f"sink:{self._transport.name}"
        sent = 0
        while waiting := self._graph.outgoing(self._graph.cursor(cursor), BATCH):
            self._transport.send([event for _, event in waiting])
            # Sent, and then remembered: a crash between the two sends a batch twice, never not at all.
            self._graph.set_cursor(cursor, waiting[-1][0])
            sent += len(waiting)
        return sent
