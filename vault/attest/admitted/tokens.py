"""How tokens arrive as evidence, one form for all services, and the port over their checks.

    {"kind": "maa" | "confidential-space" | "nras" | "trust-authority" | "ear", "version": 1, "token": text}

The text is a compact JWS; of `nras` the JSON of the detached EAT. The issuers, with their keys, are the operator's.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vault.attest.binding import Binding
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.tokens import confidential_space, ear, maa, nras, trust_authority
from vault.attest.trust.issuers import TokenIssuer
from vault.errors import Refused

VERSION = 1
MAX_TEXT = 256 * 1024
DEVICE_KINDS = frozenset({nras.KIND})
KINDS = frozenset({maa.KIND, confidential_space.KIND, nras.KIND, trust_authority.KIND, ear.KIND})
_FIELDS = {"kind", "version", "token"}
_NOT_THIS_ONE = {Refusal.CHAIN.value, Refusal.ALGORITHM.value, Refusal.SIGNATURE.value}


def token_of(evidence: Mapping[str, Any], kind: str) -> str:
    """The text of evidence in our form; `malformed` or `unknown-version`."""
    if set(evidence) != _FIELDS or evidence["kind"] != kind:
        raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}")
    if type(evidence["version"]) is not int or evidence["version"] != VERSION:
        raise refuse(Refusal.UNKNOWN_VERSION, "evidence")
    text = evidence["token"]
    if not isinstance(text, str) or not text.isascii() or len(text) > MAX_TEXT:
        raise refuse(Refusal.MALFORMED, "token")
    return text


class TokenVerifier:
    """The port `Verifier` over the token checks of one kind: the token must carry the expected binding.

    `roots`: what Confidential Space's certificates end in, instead of the issuer's own (roots of development).
    """

    def __init__(self, kind: str, issuers: Sequence[TokenIssuer], roots: Collection[str] | None = None) -> None:
        self._kind = kind
        self._issuers = issuers
        self._roots = roots

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        text = token_of(evidence, self._kind)
        if not self._issuers:
            raise refuse(Refusal.NO_TRUST, "no issuer is trusted")
        bound = expected.device_nonce() if self._kind in DEVICE_KINDS else expected.report_data()
        failed: Refused | None = None
        for issuer in self._issuers:
            try:
                return self._by(issuer, text, bound, now_ms)
            except Refused as refused:
                if refused.reason not in _NOT_THIS_ONE:
                    raise
                failed = failed or refused
        assert failed is not None
        raise failed

    def _by(self, issuer: TokenIssuer, text: str, bound: bytes, now_ms: int) -> Claims:
        check = _CHECKS[self._kind]
        if self._roots is not None:
            issuer = replace(issuer, roots=frozenset(self._roots), keys=())
        return check(issuer, text, bound, now_ms)


def _maa(issuer: TokenIssuer, text: str, bound: bytes, now_ms: int) -> Claims:
    assert isinstance(issuer.policy, maa.MaaPolicy)
    return maa.verify_maa(text, {issuer.iss: issuer.keys}, issuer.policy, bound, now_ms)


def _space(issuer: TokenIssuer, text: str, bound: bytes, now_ms: int) -> Claims:
    assert isinstance(issuer.policy, confidential_space.SpacePolicy)
    trust = confidential_space.SpaceTrust(issuer.roots, issuer.keys)
    return confidential_space.verify_confidential_space(text, trust, issuer.policy, bound, now_ms)


def _nras(issuer: TokenIssuer, text: str, bound: bytes, now_ms: int) -> Claims:
    assert isinstance(issuer.policy, nras.NrasPolicy)
    return nras.verify_nras(text, issuer.keys, issuer.policy, bound, now_ms)


def _trust_authority(issuer: TokenIssuer, text: str, bound: bytes, now_ms: int) -> Claims:
    assert isinstance(issuer.policy, trust_authority.TrustAuthorityPolicy)
    return trust_authority.verify_trust_authority(
        text, issuer.keys, issuer.policy, bound, now_ms, issuer.algorithms
    )  # fmt: skip


def _ear(issuer: TokenIssuer, text: str, bound: bytes, now_ms: int) -> Claims:
    assert isinstance(issuer.policy, ear.EarPolicy)
    return ear.verify_ear(text, issuer.keys, issuer.algorithms, issuer.policy, bound, now_ms)


_CHECKS: Mapping[str, Callable[[TokenIssuer, str, bytes, int], Claims]] = {
    maa.KIND: _maa,
    confidential_space.KIND: _space,
    nras.KIND: _nras,
    trust_authority.KIND: _trust_authority,
    ear.KIND: _ear,
}
