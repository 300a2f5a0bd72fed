"""How TDX evidence arrives, and the port over the checks.

    {"kind":"tdx","version":1,"quote": base64,"event_log": base64 | ""}

Collateral is the operator's, by FMSPC: evidence brings none, and nothing here fetches any.
"""

from collections.abc import Collection, Mapping
from typing import Any

from vault.attest.binding import Binding
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import base64_field
from vault.attest.tdx.collateral import Collateral
from vault.attest.tdx.eventlog import MAX_LOG
from vault.attest.tdx.pck import ROOTS
from vault.attest.tdx.quote import MAX_QUOTE
from vault.attest.tdx.verify import KIND, TdxPolicy, claims_of, verified_quote

VERSION = 1
_FIELDS = {"kind", "version", "quote", "event_log"}


class TdxVerifier:
    """The port `Verifier` over `verify_tdx`: the quote must carry the expected binding."""

    def __init__(
        self, collateral: Mapping[bytes, Collateral], policy: TdxPolicy, roots: Collection[str] = ROOTS
    ) -> None:
        self._collateral = collateral
        self._policy = policy
        self._roots = roots

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        if set(evidence) != _FIELDS or evidence["kind"] != KIND:
            raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}")
        if type(evidence["version"]) is not int or evidence["version"] != VERSION:
            raise refuse(Refusal.UNKNOWN_VERSION, "evidence")
        log = base64_field(evidence, "event_log", MAX_LOG) or None
        quote, pck = verified_quote(base64_field(evidence, "quote", MAX_QUOTE), self._roots, now_ms)
        collateral = self._collateral.get(pck.fmspc)
        return claims_of(quote, pck, collateral, self._roots, self._policy, expected.report_data(), now_ms, log)
