"""The child's view of the object: sealed bytes asked from the parent, verified here, never before.

Every body is pinned by the manifest (length, commitment); a chunk that does not authenticate ends the job,
whatever the decoder makes of the exception it sees.
"""

import json
import threading
from collections.abc import Callable, Sequence

from gateway.enforce.errors import Undecodable
from gateway.enforce.protocol import MAX_READ, SealedBody
from vault.envelope.body import BodyOpener, BodyPin
from vault.envelope.suite import CHUNK, HEADER
from vault.errors import VaultError

_SPAN = MAX_READ // 2  # plaintext per request; sealed bytes are a little more


class SealedSource:
    """Source over bodies in order. `ask(body, offset, length)` gives sealed bytes. Safe from several threads."""

    def __init__(self, bodies: Sequence[SealedBody], ask: Callable[[int, int, int], bytes]) -> None:
        self._bodies = bodies
        self._ask = ask
        self._openers: dict[int, BodyOpener] = {}
        self._starts = [sum(body.plain_length for body in bodies[:i]) for i in range(len(bodies) + 1)]
        self._turn = threading.Lock()
        self.failed = False

    @property
    def size(self) -> int:
        return self._starts[-1]

    def read_at(self, offset: int, length: int) -> bytes:
        """Exactly `length` verified bytes. Raises Undecodable("sealed.unverified"), then for ever."""
        with self._turn:
            return self._read_at(offset, length)

    def _read_at(self, offset: int, length: int) -> bytes:
        if self.failed:
            raise Undecodable("sealed.unverified")
        if offset < 0 or offset + length > self.size:
            raise EOFError
        pieces = []
        try:
            for number, start in enumerate(self._starts[:-1]):
                low, high = max(offset, start), min(offset + length, self._starts[number + 1])
                spans = ((at - start, min(high, at + _SPAN) - start) for at in range(low, high, _SPAN))
                pieces += [self._open(number, *span) for span in spans]
        except VaultError:
            self.failed = True
            raise Undecodable("sealed.unverified") from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _open(self, number: int, start: int, stop: int) -> bytes:
        opener = self._openers.get(number)
        if opener is None:
            body = self._bodies[number]
            pin = BodyPin(body.sealed_length, bytes.fromhex(body.commitment))
            header = self._ask(number, 0, HEADER)
            opener = BodyOpener(body.key, body.context, header, body.sealed_length, pin)
            self._openers[number] = opener
        where, count = opener.sealed_span(start, stop)
        return opener.open_span(start, stop, self._ask(number, where, count)) if count else b""


def read_request(body: int, offset: int, length: int) -> bytes:
    return json.dumps([body, offset, length]).encode()


assert _SPAN % CHUNK == 0
