"""Who released what a machine runs: the statement that its evidence brought, or one that lies in the zone.

    "endorsement": base64(COSE_Sign1)      beside the other fields of evidence; missing or "" is none

A statement that was brought and does not hold refuses the evidence: dropped in silence, it would leave somebody in the
belief that it counted. One that lies in the zone is nobody's claim, and gives none when it does not hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import base64_field
from vault.attest.snp.reference import MAX_STATEMENT, EndorsedMeasurement, Endorser, endorsed_measurement
from vault.errors import Refused

FIELD = "endorsement"
_TEE = "sev-snp"


@dataclass(frozen=True, slots=True)
class Releases:
    """Whose statements count, by default nobody's, and those that lie in the zone, by the measurement (hex)."""

    endorsers: Sequence[Endorser] = ()
    filed: Mapping[str, Sequence[bytes]] = field(default_factory=dict)


def brought_endorsement(evidence: Mapping[str, Any]) -> bytes:
    """The statement beside a machine's evidence, b"" for none; `Refused("attest.malformed")`."""
    return base64_field(evidence, FIELD, MAX_STATEMENT) if FIELD in evidence else b""


def with_endorsement(claims: Claims, brought: bytes, releases: Releases, now_ms: int) -> Claims:
    """`claims`, and whose release the measurement is: endorsement_issuer, endorsement_feed, endorsement_svn.

    `Refused`: `endorsement` or `malformed`, where a statement was brought. No statement adds no claim.
    """
    if brought:
        found: EndorsedMeasurement | None = _held(claims, brought, releases, now_ms)
    else:
        found = _filed(claims, releases, now_ms)
    if found is None:
        return claims
    said: dict[str, Any] = {
        "endorsement_issuer": found.issuer, "endorsement_feed": found.feed, "endorsement_svn": found.svn,
    }  # fmt: skip
    return replace(claims, platform=dict(claims.platform) | said)


def _held(claims: Claims, raw: bytes, releases: Releases, now_ms: int) -> EndorsedMeasurement:
    if not releases.endorsers:  # not `no-trust`: the machine's own chain held
        raise refuse(Refusal.ENDORSEMENT, "no endorser is admitted")
    found = endorsed_measurement(raw, releases.endorsers, now_ms)
    if claims.tee != _TEE or found.measurement.hex() != claims.measurement:
        raise refuse(Refusal.ENDORSEMENT, "of another measurement")
    return found


def _filed(claims: Claims, releases: Releases, now_ms: int) -> EndorsedMeasurement | None:
    """The newest of those that hold: a release can be stated again under a higher security version."""
    held = []
    for raw in releases.filed.get(claims.measurement, ()):
        try:
            held.append(_held(claims, raw, releases, now_ms))
        except Refused:
            continue
    return max(held, key=lambda one: one.svn, default=None)
