"""A clock that moves when told to."""


class Clock:
    """Milliseconds since the epoch; starts at a fixed instant."""

    def __init__(self, now_ms: int = 1_790_000_000_000) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def advance(self, ms: int) -> None:
        self.now_ms += ms
