"""The port of a verifier, and the closed set of those a broker admits.

A verifier is a pure function of evidence, its trust anchors, the expected binding and the time: it reaches no
network and keeps no state. It answers `Claims` or raises `Refused` with a name of `vault.attest.claims.Refusal`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vault.attest.binding import Binding
from vault.attest.claims import Claims, Refusal, refuse

MAX_DEVICES = 16


class Verifier(Protocol):
    """Evidence of one kind → claims."""

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        """Claims, or `Refused` with a reason of `Refusal`. Checks the binding itself."""


class Verifiers:
    """The kinds of evidence admitted here: of machines, and of devices inside them. Empty refuses everything.

    A device's evidence never stands alone: it proves that a device exists somewhere, and what ties it to the machine
    is that the machine's own evidence commits to it (`vault.attest.binding`).
    """

    def __init__(self, by_kind: Mapping[str, Verifier], devices: Mapping[str, Verifier] | None = None) -> None:
        self._by_kind = dict(by_kind)
        self._devices = dict(devices or {})

    def verify(self, kind: str, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        """As `Verifier.verify`, for evidence that says it is of `kind`; the claims must say the same kind."""
        return _verify(self._by_kind, kind, evidence, expected, now_ms)

    def verify_devices(
        self, additional: Sequence[Mapping[str, Any]], expected: Binding, now_ms: int
    ) -> tuple[Claims, ...]:
        """Claims of each entry `{"kind","evidence"}`, in their order; one that is refused refuses all."""
        if len(additional) > MAX_DEVICES:
            raise refuse(Refusal.MALFORMED, f"at most {MAX_DEVICES} entries of additional evidence")
        return tuple(self._device(entry, expected, now_ms) for entry in additional)

    def _device(self, entry: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        kind, evidence = entry.get("kind"), entry.get("evidence")
        if set(entry) != {"kind", "evidence"} or not isinstance(kind, str) or not isinstance(evidence, Mapping):
            raise refuse(Refusal.MALFORMED, "additional evidence has kind and evidence, and nothing else")
        return _verify(self._devices, kind, evidence, expected, now_ms)


def _verify(
    admitted: Mapping[str, Verifier], kind: str, evidence: Mapping[str, Any], expected: Binding, now_ms: int
) -> Claims:
    if not admitted:
        raise refuse(Refusal.NO_TRUST, "no verifier is admitted")
    verifier = admitted.get(kind)
    if verifier is None:
        raise refuse(Refusal.UNKNOWN_KIND)
    claims = verifier.verify(evidence, expected, now_ms)
    if claims.kind != kind:
        raise refuse(Refusal.MALFORMED, "claims of another kind")
    return claims
