"""Trustee's protocol 0.4.0 inside the broker: nonces of its own, its evidence, the token that says what was verified.

The same verifiers, revocations and session seal as our own protocol; only the evidence's form and what it commits to
are others. A nonce serves one protocol: evidence made for the weaker binding never opens what the stronger was asked
for. The doctrine appraises outside; so that no front worker can have a token signed for what nobody verified, the
broker gives out a sealed statement with each verification, and signs for that alone.
"""

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import rfc8785

from vault.attest.binding import Binding
from vault.attest.claims import Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.kbs.binding import PROFILE, KbsBinding
from vault.attest.kbs.evidence import TEES, check_user_data, device_forms, primary_form
from vault.attest.kbs.init_data import check_init_data
from vault.attest.kbs.keys import tee_key_thumbprint
from vault.attest.kbs.result import Verified, result_claims
from vault.broker.kbs_types import KbsAttested, KbsEvidence
from vault.broker.ports import ChallengeFacts, Clock
from vault.broker.types import Attested, Challenge
from vault.errors import Malformed, Refused
from vault.keys.token_signing import TokenSigner

CHALLENGE_MS = 120_000
STATEMENT_MS = 60_000
MAX_SCOPE = 256
BUILD = "kbs 0.4.0"
_TOKEN_ID = 64

Judge = Callable[[str, str, dict[str, Any], list[dict[str, Any]], Binding, int], dict[str, Any]]
"""(principal, kind, evidence, devices, binding, now) → the claims document, or `Refused`."""

Seal = Callable[[ChallengeFacts, str, dict[str, Any], int, str], Attested]
"""(challenge, key thumbprint, claims, now, source) → a new session's attestation, sealed."""


@dataclass(frozen=True, slots=True)
class KbsParts:
    """What the broker lends. `catalog` has `add_challenge` and `consume_challenge`."""

    catalog: Any
    clock: Clock
    judge: Judge
    seal: Seal
    signer: TokenSigner
    statement_key: bytes
    issuer: str


class KbsOffice:
    """Refusals are recorded by the broker around it."""

    def __init__(self, parts: KbsParts) -> None:
        self._parts = parts

    @property
    def public_key(self) -> dict[str, str]:
        return dict(self._parts.signer.jwk)

    def challenge(self, principal_id: str, purpose: str, scope: list[str], gateway: str) -> Challenge:
        """`Malformed` unless all of principal, purpose and scope are named, or none of them."""
        names = tuple(sorted(set(scope)))
        named = {bool(principal_id), bool(purpose), bool(names)}
        if len(named) != 1 or not gateway or len(names) > MAX_SCOPE:
            raise Malformed(
                "attest.challenge", f"a principal, a purpose and 1 to {MAX_SCOPE} datasets, or none of these"
            )
        made = Challenge(secrets.token_hex(32), self._parts.clock() + CHALLENGE_MS)
        self._parts.catalog.add_challenge(
            nonce=made.nonce, principal_id=principal_id, purpose=purpose, scope=names, gateway=gateway,
            expires_at=made.expires_at, profile=PROFILE,
        )  # fmt: skip
        return made

    def attest(self, given: KbsEvidence, principal_id: str, source: str) -> KbsAttested:
        """The nonce is consumed before anything of the evidence is looked at."""
        now = self._parts.clock()
        issued = self._parts.catalog.consume_challenge(given.nonce, now)
        if issued is None or issued.nonce != given.nonce or issued.profile != PROFILE:
            raise refuse(Refusal.NONCE, "unknown, used, expired, or of another protocol")
        if issued.principal_id != principal_id:
            raise refuse(Refusal.PRINCIPAL, "the challenge was given to another principal")
        if given.tee not in TEES:
            raise refuse(Refusal.UNKNOWN_KIND, "tee")
        thumbprint = tee_key_thumbprint(given.tee_pubkey)
        binding = KbsBinding(given.tee, given.nonce, given.tee_pubkey, given.additional)
        sent = json_object(given.primary, "primary evidence")
        kind, evidence = primary_form(given.tee, sent)
        claims = self._parts.judge(
            principal_id, kind, evidence, device_forms(given.additional), binding, now
        )  # fmt: skip
        check_user_data(given.tee, sent, claims, binding.report_data())
        init_data = "" if given.init_data is None else check_init_data(given.tee, given.init_data, claims)
        attested = (
            self._parts.seal(issued, thumbprint, claims, now, source)
            if issued.principal_id
            else Attested("", claims, now, now, {}, thumbprint, "", ())
        )
        verified = Verified(
            given.nonce, given.tee, dict(given.tee_pubkey), claims, binding.report_data().hex(), init_data, now,
            attested.session_id,
        )  # fmt: skip
        statement = rfc8785.dumps(asdict(verified))
        return KbsAttested(attested, statement, self._mac(statement))

    def token(self, statement: bytes, seal: bytes, appraisal: Mapping[str, Any], token_id: str) -> str:
        """`Refused("attest.nonce")` for a statement that is not this broker's, or older than STATEMENT_MS."""
        if not hmac.compare_digest(self._mac(statement), seal):
            raise refuse(Refusal.NONCE, "nobody verified this")
        verified, now = Verified(**json.loads(statement)), self._parts.clock()
        if not 0 <= now - verified.attested_at <= STATEMENT_MS:
            raise refuse(Refusal.EXPIRED, "verified too long ago")
        if len(token_id) != _TOKEN_ID or not token_id.isascii() or not token_id.isalnum():
            raise Refused("broker.field", "token id")
        return self._parts.signer.sign(
            result_claims(verified, appraisal, issuer=self._parts.issuer, build=BUILD, token_id=token_id, now_ms=now)
        )

    def _mac(self, statement: bytes) -> bytes:
        return hmac.new(self._parts.statement_key, b"demesne/kbs-statement/1\x00" + statement, hashlib.sha256).digest()
