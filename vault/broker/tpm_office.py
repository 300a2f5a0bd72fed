"""Enrolment of TPM attestation keys, by credential activation; approval of what they boot, and their retirement.

    begin     endorsement certificate, endorsement key, attestation key → checked → a secret that only this TPM, with
              that very key in it, can give back
    finish    the secret, once and within two minutes → the row: the key is a TPM's, and nothing it boots is approved
    approve   by a decision about the zone: which PCR values count
    retire    by a decision about the zone: for good

The secret is computed again from the challenge's row, so that any gateway of the zone finishes what another began.
Nothing of an enrolment opens data: with no policy a key's evidence says that nobody approved its boot.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.tpm.credential import SECRET
from vault.attest.tpm.enrolment import EndorsementTrust, check_request, parse_request
from vault.broker.checks import CLOCK_SLACK_MS, PROMISE_MAX_AGE_MS, ReleasePolicy
from vault.broker.entry import ZoneIntent, parse_key_entry, parse_zone_intent
from vault.broker.ports import ChallengeFacts, Clock, VerifyPromise
from vault.broker.tpm_keys import EnrolledTpmKeys, TpmKeyFacts, policy_sha256
from vault.broker.types import Promised, TpmChallenge, TpmKeyState
from vault.errors import Refused, VaultError

PROFILE = "tpm-enrolment"
CHALLENGE_MS = 120_000
ACTION = "administer"
ENTRY = "tpm-key"
_SAID = frozenset({"event", "key", "policy_sha256", "principal", "intent", "reason"})


class ChallengeCatalog(Protocol):
    """Challenges, single-use and shared by the zone's gateways."""

    def add_challenge(
        self, *, nonce: str, principal_id: str, purpose: str, scope: tuple[str, ...], gateway: str, expires_at: int,
        profile: str = "",
    ) -> None: ...  # fmt: skip

    def consume_challenge(self, nonce: str, now_ms: int) -> ChallengeFacts | None: ...


@dataclass(frozen=True, slots=True)
class TpmParts:
    """`trust(now)`: whose endorsement certificates count now. `secret`: the zone's, of which challenges are made."""

    policy: ReleasePolicy
    catalog: ChallengeCatalog
    keys: EnrolledTpmKeys
    trust: Callable[[int], EndorsementTrust]
    secret: bytes
    verify_promise: VerifyPromise
    clock: Clock
    random: Callable[[int], bytes]


class TpmOffice:
    """Raises `Refused`, `Malformed`, `Conflict`, `NotFound`; what is refused changes nothing but uses its challenge."""

    def __init__(self, parts: TpmParts) -> None:
        self._parts = parts

    def seen(self, principal_id: str, claims: Claims) -> None:
        """After evidence held: as `EnrolledTpmKeys.seen`."""
        self._parts.keys.seen(principal_id, claims)

    def begin(self, principal_id: str, request: Mapping[str, Any]) -> TpmChallenge:
        """A challenge for the TPM of a checked request. `Refused`: those of `check_request`."""
        parts, now = self._parts, self._parts.clock()
        candidate = check_request(parse_request(request), parts.trust(now), now)
        nonce, expires_at = parts.random(32).hex(), now + CHALLENGE_MS
        about = (candidate.key_name, candidate.ek_sha256)
        credential = candidate.challenge(self._secret(nonce, principal_id, about), parts.random)
        parts.catalog.add_challenge(
            nonce=nonce, principal_id=principal_id, purpose=PROFILE, scope=about, gateway=PROFILE,
            expires_at=expires_at, profile=PROFILE,
        )  # fmt: skip
        return TpmChallenge(nonce, candidate.key_name, credential.blob, credential.secret, expires_at)

    def finish(self, enrolment_id: str, principal_id: str, secret: bytes) -> TpmKeyState:
        """The key, enrolled. The challenge is used up before the answer is looked at."""
        parts, now = self._parts, self._parts.clock()
        issued = parts.catalog.consume_challenge(enrolment_id, now)
        if issued is None or issued.nonce != enrolment_id or issued.profile != PROFILE:
            raise refuse(Refusal.NONCE, "unknown, used, expired, or of another protocol")
        if issued.principal_id != principal_id:
            raise refuse(Refusal.PRINCIPAL, "the challenge was given to another principal")
        key_name, ek_sha256 = issued.scope
        if not hmac.compare_digest(secret, self._secret(enrolment_id, principal_id, (key_name, ek_sha256))):
            raise refuse(Refusal.BINDING, "not what the challenge protects: another TPM, or another key in it")
        return _told(parts.keys.enrol(key_name, ek_sha256, principal_id, now))

    def approve(self, key_name: str, policy: Mapping[str, Any], decision: Promised, entry: Promised) -> TpmKeyState:
        """Admit exactly these PCR values."""
        self._decided("approved", key_name, policy_sha256(policy), decision, entry)
        return _told(self._parts.keys.approve(key_name, policy))

    def retire(self, key_name: str, decision: Promised, entry: Promised) -> TpmKeyState:
        """The key is no TPM's of ours any more."""
        self._decided("retired", key_name, "", decision, entry)
        return _told(self._parts.keys.retire(key_name, self._parts.clock()))

    def _secret(self, nonce: str, principal_id: str, about: tuple[str, str]) -> bytes:
        """What the TPM has to give back; made of all that the challenge is about."""
        message = "\x00".join(("demesne/tpm-enrolment/1", nonce, principal_id, *about)).encode()
        return hmac.new(self._parts.secret, message, hashlib.sha256).digest()[:SECRET]

    def _decided(self, event: str, key_name: str, policy: str, decision: Promised, entry: Promised) -> None:
        """Allow, of an administrator of this zone, promised just now; and an entry of the same that names all of it."""
        intent, place = parse_zone_intent(decision.entry), self._parts.policy
        self._check_promise(decision)
        if (intent.tenant, intent.zone) != (place.tenant, place.zone):
            raise Refused("broker.place", "another tenant or zone")
        if not intent.allow:
            raise Refused("broker.denied", "the decision was Deny")
        if intent.action != ACTION:
            raise Refused("broker.action", f"takes a decision about {ACTION}")
        self._check_said(parse_key_entry(entry.entry, ENTRY, _SAID), intent, (event, key_name, policy))
        self._check_promise(entry)

    def _check_said(self, said: Mapping[str, Any], intent: ZoneIntent, about: tuple[str, str, str]) -> None:
        if (said["tenant"], said["zone"]) != (intent.tenant, intent.zone):
            raise Refused("broker.entry-scope", "the entry is of another tenant or zone")
        if (said["intent"], said["principal"]) != (intent.entry_id, intent.principal_hash):
            raise Refused("tpm.entry-decision", "the entry is of another decision or person")
        if (said["event"], said["key"], said["policy_sha256"]) != about:
            raise Refused("tpm.entry", "the entry is about something else")

    def _check_promise(self, promised: Promised) -> None:
        try:
            facts = self._parts.verify_promise(promised.promise, promised.entry)
        except (VaultError, ValueError) as error:
            raise Refused("broker.promise", "the ledger did not promise this entry") from error
        age = self._parts.clock() - facts.at_ms
        if not -CLOCK_SLACK_MS <= age <= PROMISE_MAX_AGE_MS:
            raise Refused("broker.promise-age", f"{age} ms; at most {PROMISE_MAX_AGE_MS}")


def _told(row: TpmKeyFacts) -> TpmKeyState:
    return TpmKeyState(
        row.key_name, row.principal_id, row.ek_sha256, dict(row.pcr_policy), dict(row.last_clock), row.enrolled_at,
        row.retired_at,
    )  # fmt: skip
