"""The port `Verifier` over TPM quotes, each judged by the policy its own key was enrolled with."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vault.attest.binding import Binding
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.tpm.quote import load_key
from vault.attest.tpm.verify import TpmPolicy, key_name, parse_evidence, verify_tpm
from vault.attest.trust.tpm_keys import EnrolledKey

FindKey = Callable[[str], EnrolledKey | None]
"""An enrolled key by its name, that is not retired; None for one that is not enrolled."""


class EnrolledTpmVerifier:
    """Claims say besides: `enrolled` (always true), `pcr_policy` (the PCRs that were compared; none = nobody approved
    this boot) and `principal` ("" = anybody's key)."""

    def __init__(self, keys: Mapping[str, EnrolledKey], find: FindKey | None = None) -> None:
        self._keys = keys
        self._find = find

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:  # noqa: ARG002
        presented = parse_evidence(evidence)
        if not self._keys and self._find is None:
            raise refuse(Refusal.NO_TRUST, "no attestation key is enrolled")
        name = key_name(load_key(presented.key))
        key = self._keys.get(name) or (self._find(name) if self._find else None)
        if key is None or key.name != name:
            raise refuse(Refusal.CHAIN, "attestation key is not enrolled")
        boots = {} if key.last is None else {name: key.last}
        claims = verify_tpm(presented, {name}, TpmPolicy(key.pcrs, boots), expected.report_data())
        enrolled = {"enrolled": True, "pcr_policy": sorted(key.pcrs), "principal": key.principal_id}
        return replace(claims, platform=dict(claims.platform) | enrolled)
