"""The port of a verifier, and the closed set of those a broker admits.

A verifier is a pure function of evidence, its trust anchors, the expected binding and the time: it reaches no
network and keeps no state. It answers `Claims` or raises `Refused` with a name of `vault.attest.claims.Refusal`.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from vault.attest.binding import ExpectedBinding
from vault.attest.claims import Claims, Refusal, refuse


class Verifier(Protocol):
    """Evidence of one kind → claims."""

    def verify(self, evidence: Mapping[str, Any], expected: ExpectedBinding, now_ms: int) -> Claims:
        """Claims, or `Refused` with a reason of `Refusal`. Checks the binding itself."""


class Verifiers:
    """The kinds of evidence admitted here. Empty refuses everything."""

    def __init__(self, by_kind: Mapping[str, Verifier]) -> None:
        self._by_kind = dict(by_kind)

    def verify(self, kind: str, evidence: Mapping[str, Any], expected: ExpectedBinding, now_ms: int) -> Claims:
        """As `Verifier.verify`, for evidence that says it is of `kind`; the claims must say the same kind."""
        if not self._by_kind:
            raise refuse(Refusal.NO_TRUST, "no verifier is admitted")
        verifier = self._by_kind.get(kind)
        if verifier is None:
            raise refuse(Refusal.UNKNOWN_KIND)
        claims = verifier.verify(evidence, expected, now_ms)
        if claims.kind != kind:
            raise refuse(Refusal.MALFORMED, "claims of another kind")
        return claims
