"""A ledger reduced to its word: signs promises over entries, as the real one does, with a real key.

The text differs from the real promise on purpose: the broker must not depend on its spelling.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from vault.broker.ports import PromiseFacts
from vault.errors import Refused
from vault.keys.signing import ZoneSigner, verify_signature


def canonical(entry: dict[str, Any]) -> bytes:
    """RFC 8785 for the values that entries hold."""
    return json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class PromisingLedger:
    """`promise` is the ledger's side, `verify_promise` is what `gateway.app` would inject into a broker."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._signer = ZoneSigner.generate()
        self.entries: list[bytes] = []

    @property
    def public_key(self) -> bytes:
        return self._signer.public_key

    def promise(self, entry: bytes, *, at_ms: int | None = None) -> str:
        self.entries.append(entry)
        return self.spell(entry, len(self.entries) - 1, self._clock() if at_ms is None else at_ms)

    def spell(self, entry: bytes, index: int, at_ms: int) -> str:
        """One promise text, signed by this ledger's key whatever it says."""
        leaf = hashlib.sha256(b"\x00" + entry).hexdigest()
        body = f"{index}.{at_ms}.{leaf}"
        signature = base64.urlsafe_b64encode(self._signer.sign(b"fake-promise\n" + body.encode())).decode()
        return f"{body}.{signature}"

    def verify_promise(self, promise: str, entry: bytes) -> PromiseFacts:
        index, at_ms, leaf, signature = promise.split(".")
        body = f"{index}.{at_ms}.{leaf}"
        verify_signature(self.public_key, base64.urlsafe_b64decode(signature), b"fake-promise\n" + body.encode())
        if leaf != hashlib.sha256(b"\x00" + entry).hexdigest():
            raise Refused("promise.leaf")
        return PromiseFacts(int(at_ms), int(index))
