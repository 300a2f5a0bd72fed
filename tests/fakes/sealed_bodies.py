"""Objects sealed with real keys, in memory, as the decoder child gets them."""

from collections.abc import Sequence

from gateway.enforce.protocol import SealedBody
from vault.envelope.body import BodySealer
from vault.envelope.context import BodyContext


class SealedBodies:
    """`data` sealed as one body per part. `read(body, offset, length)` serves it and counts."""

    def __init__(self, *parts: bytes) -> None:
        self.stored: list[bytearray] = []
        self.bodies: tuple[SealedBody, ...] = ()
        self.reads: list[tuple[int, int, int]] = []
        for number, part in enumerate(parts):
            key = bytes([number + 1]) * 32
            context = BodyContext("main", "de", "d" * 32, f"{number:032x}", number).encode()
            sealer = BodySealer(key, context)
            sealed = bytearray(sealer.header + bytes(sealer.update(part)) + sealer.finalize())
            self.stored.append(sealed)
            body = SealedBody(key, context, len(sealed), len(part), sealer.commitment.hex())
            self.bodies = (*self.bodies, body)

    def read(self, body: int, offset: int, length: int) -> bytes:
        self.reads.append((body, offset, length))
        return bytes(self.stored[body][offset : offset + length])


class PlainSource:
    """A Source over bytes; for renderers without a sandbox."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        return len(self._data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self._data[offset : offset + length]


def columns(**actions: str | tuple[str, dict[str, object]]) -> dict[str, object]:
    """An effect from `name="action"` or `name=("action", {params})`."""
    rules: Sequence[tuple[str, str, dict[str, object]]] = [
        (name, action, {}) if isinstance(action, str) else (name, *action) for name, action in actions.items()
    ]
    return {"columns": [{"name": name, "action": action, "params": params} for name, action, params in rules]}
