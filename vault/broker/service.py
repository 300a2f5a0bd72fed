"""The key broker: the only holder of provider credentials. Every method checks, then opens; refusals are recorded.

This class knows no socket; `vault.broker.server` puts it behind one, tests and fakes use it in process.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import rfc8785

from vault.attest.binding import Binding, ExpectedBinding, additional_digest, key_thumbprint
from vault.attest.claims import Refusal, refuse
from vault.attest.continuity import refuse_weaker
from vault.attest.verifier import Verifiers
from vault.broker.administration import Administration, AdministrationParts
from vault.broker.checks import ReleaseChecks, ReleasePolicy
from vault.broker.client_certificates import SessionAuthority
from vault.broker.execution import Execution, ExecutionParts
from vault.broker.kbs import KbsOffice, KbsParts
from vault.broker.kbs_types import KbsAttested, KbsEvidence
from vault.broker.key_requests import Marks, MemoryMarks, RequestFacts, RequestSeal
from vault.broker.ports import ChallengeFacts, Clock, KeyCatalog, RecordRefusal, SessionFacts, VerifyPromise
from vault.broker.revocations import Revocations
from vault.broker.sessions import OPENING_TIERS, SESSION_MS, SealedSession, SessionSeal
from vault.broker.tpm_office import TpmOffice
from vault.broker.types import (
    Attested,
    Challenge,
    GeneratedKey,
    Grant,
    Hello,
    KeyOrderState,
    ManifestKeys,
    Promised,
    TpmChallenge,
    TpmKeyState,
)
from vault.envelope.derive import manifest_key
from vault.envelope.wrap import WrappedKey
from vault.errors import Conflict, Malformed, NotFound, Refused, VaultError
from vault.keys.deadline import DeadlineProvider
from vault.keys.hierarchy import KeyRing, KeyScope
from vault.keys.provider import KeyClass, KeyProvider, ProviderLocation
from vault.keys.secrets import SecretBytes
from vault.keys.token_signing import TokenSigner
from vault.keys.zone_secrets import ZoneSecrets

CHALLENGE_MS = 120_000
MAX_SCOPE = 256
MAX_MANIFESTS = 4
_VERSION_ID = re.compile(r"[0-9a-f]{32}")
_GROUP_ID_BYTES = 16
_ENDED_UPLOAD = "upload"
_log = logging.getLogger("demesne.broker")


@dataclass(frozen=True, slots=True)
class BrokerParts:
    """Everything a broker is made of. `gateway.app` fills it in; nothing is looked up anywhere else."""

    policy: ReleasePolicy
    provider_raw: KeyProvider
    provider_view: KeyProvider
    secrets: ZoneSecrets
    catalog: KeyCatalog
    verifiers: Verifiers
    verify_promise: VerifyPromise
    ledger_public_key: bytes
    record: RecordRefusal
    clock: Clock
    marks: Marks = field(default_factory=MemoryMarks)
    tpm: TpmOffice | None = None
    destroy_days: int = 0
    """Between the approval of a destruction and the destruction: 0, or 7 to 30."""


class Broker:
    """Opens keys for those who may have them (`vault.broker.checks`), and remembers nothing about callers."""

    def __init__(self, parts: BrokerParts) -> None:
        self._parts = parts
        self._policy = parts.policy
        self._catalog = parts.catalog
        self._clock = parts.clock
        providers = {
            KeyClass.RAW: DeadlineProvider(parts.provider_raw),
            KeyClass.VIEW: DeadlineProvider(parts.provider_view),
        }
        self._providers = providers
        self._ring = KeyRing(providers, parts.catalog, parts.clock)
        self._session_seal = SessionSeal(
            parts.secrets.derived("session-seal"), tenant=parts.policy.tenant, zone=parts.policy.zone
        )
        self._authority = SessionAuthority(
            parts.secrets.derived("session-authority"), tenant=parts.policy.tenant, zone=parts.policy.zone
        )
        self._hello = Hello(
            catalog_mac_key=parts.secrets.derived("catalog-mac"),
            token_key=parts.secrets.derived("token"),
            record_hash_key=parts.secrets.derived("record-hash"),
            decision_key=parts.secrets.named("decisions"),
            ledger_public_key=parts.ledger_public_key,
            session_authority=self._authority.certificate,
        )
        self._revocations = Revocations(parts.catalog, parts.marks, parts.clock)
        self._checks = ReleaseChecks(
            policy=parts.policy,
            catalog=parts.catalog,
            verify_promise=parts.verify_promise,
            session_seal=self._session_seal,
            record_hash_key=self._hello.record_hash_key,
            clock=parts.clock,
            marks=parts.marks,
            revocations=self._revocations,
        )

        self._execution, self._administration = _key_office(parts, self._ring)
        self._kbs = KbsOffice(
            KbsParts(
                catalog=parts.catalog, clock=parts.clock, judge=self._judged, seal=self._begun,
                signer=TokenSigner(parts.secrets.derived("kbs-token")),
                statement_key=parts.secrets.derived("kbs-statement"),
                issuer=f"demesne:{parts.policy.tenant}/{parts.policy.zone}",
            )
        )  # fmt: skip

    def hello(self) -> Hello:
        """The zone's working secrets; none opens data."""
        return self._hello

    def generate(self, scope: KeyScope, subject: str, upload_id: str | None = None) -> GeneratedKey:
        """A fresh object key for something that does not exist yet: nothing old can be opened with it."""
        with self._recording("generate", scope, subject):
            self._checks.check_place(scope)
            object_key, wrapped = self._ring.new_object_key(scope, subject)
            if upload_id is None:
                return GeneratedKey(object_key, wrapped)
            for_upload = self._ring.wrap(scope, wrapped.group_id, f"{subject}:{upload_id}", object_key)
            return GeneratedKey(object_key, wrapped, bytes.fromhex(wrapped.group_id) + for_upload.wrapped)

    def unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey, grant: Grant) -> SecretBytes:
        """The object key of a version (raw, open) or view, for a promised decision: checks 1 to 7."""
        with self._recording("unwrap", scope, subject, session=grant.session_id):
            self._checks.check_release(scope, subject, grant)
            return self._ring.unwrap(scope, subject, wrapped)

    def manifest_keys(
        self, scope: KeyScope, subject: str, wrapped: WrappedKey, grant: Grant, manifests: Sequence[tuple[str, int]],
        copy_to: str | None = None,
    ) -> ManifestKeys:  # fmt: skip
        """Keys of manifests, (manifest id, generation) each, under a version's object key, and of nothing else: with
        them names are read and written, and no body opens. `copy_to` also wraps the object key for that new version."""
        with self._recording("manifest_keys", scope, subject, session=grant.session_id):
            self._checks.check_manifest_release(scope, subject, grant, copying=copy_to is not None)
            if not 1 <= len(manifests) <= MAX_MANIFESTS:
                raise Malformed("broker.field", f"1 to {MAX_MANIFESTS} manifests")
            object_key = self._ring.unwrap(scope, subject, wrapped)
            keys = tuple(SecretBytes(manifest_key(object_key, name, generation)) for name, generation in manifests)
            if copy_to is None:
                return ManifestKeys(keys)
            if not _VERSION_ID.fullmatch(copy_to):
                raise Refused("key.subject")
            return ManifestKeys(keys, self._ring.wrap_anew(scope, copy_to, object_key))

    def unwrap_upload(self, scope: KeyScope, subject: str, upload_id: str, upload_wrapped: bytes) -> SecretBytes:
        """The key of a multipart upload, between its parts and only while the upload is open."""
        with self._recording("unwrap_upload", scope, subject):
            self._checks.check_place(scope)
            row = self._catalog.find_upload(scope.dataset_id, upload_id)
            if row is None:
                raise NotFound("broker.upload")
            if row.state not in {"open", "completing"}:
                raise Refused("broker.upload", f"the upload is {row.state}")
            if (row.dataset_id, row.upload_id, row.version_id) != (scope.dataset_id, upload_id, subject):
                raise Refused("broker.upload", "the upload is of another version")
            if self._parts.marks.has(_ENDED_UPLOAD, _upload_mark(scope, subject, upload_id)):
                raise Refused("broker.upload", "it was aborted")
            if self._catalog.version(scope.dataset_id, subject) is not None:
                # Completed: whoever kept the wrap and set the row to `open` again would open raw data with it.
                raise Refused("broker.upload", "its version is there already")
            wrapped = WrappedKey(
                upload_wrapped[:_GROUP_ID_BYTES].hex(), scope.key_class, upload_wrapped[_GROUP_ID_BYTES:]
            )
            return self._ring.unwrap(scope, f"{subject}:{upload_id}", wrapped)

    def end_upload(self, scope: KeyScope, subject: str, upload_id: str) -> None:
        """Of an upload that is about to be aborted: for good, whatever its row is made to say afterwards."""
        with self._recording("end_upload", scope, subject):
            self._checks.check_place(scope)
            self._parts.marks.put(_ENDED_UPLOAD, _upload_mark(scope, subject, upload_id))

    def builder_unwrap(
        self, scope: KeyScope, subject: str, wrapped: WrappedKey, job_id: str, fence: int
    ) -> SecretBytes:
        """The key of the version that a leased job is about; for the builder's socket only."""
        with self._recording("builder_unwrap", scope, subject, job=job_id):
            self._checks.check_job(scope, subject, job_id, fence)
            return self._ring.unwrap(scope, subject, wrapped)

    def pseudonym_key(self, tenant: str, purpose_class: str, job_id: str, fence: int) -> SecretBytes:
        """The key of one tenant's pseudonyms in one purpose class, for the holder of a leased view job."""
        with self._recording("pseudonym_key", None, purpose_class, job=job_id):
            if tenant != self._policy.tenant:
                raise Refused("broker.place", "another tenant")
            if self._checks.check_lease(job_id, fence).kind != "view":
                raise Refused("broker.job", "not a view job")
            return self._parts.secrets.pseudonym_key(tenant, purpose_class)

    def challenge(self, principal_id: str, purpose: str, scope: list[str], gateway: str) -> Challenge:
        """A single-use nonce whose row fixes who asked, for what, over which datasets, at which gateway."""
        with self._recording("challenge", None, principal_id):
            if not principal_id or not purpose or not gateway or not 0 < len(set(scope)) <= MAX_SCOPE:
                raise Malformed("attest.challenge", f"a principal, a purpose, a gateway, 1 to {MAX_SCOPE} datasets")
            challenge = Challenge(secrets.token_hex(32), self._clock() + CHALLENGE_MS)
            self._catalog.add_challenge(
                nonce=challenge.nonce,
                principal_id=principal_id,
                purpose=purpose,
                scope=tuple(sorted(set(scope))),
                gateway=gateway,
                expires_at=challenge.expires_at,
            )
            return challenge

    def attest(
        self,
        nonce: str,
        kind: str,
        evidence: dict[str, Any],
        public_jwk: dict[str, Any],
        principal_id: str,
        session_id: str | None = None,
        additional: Sequence[Mapping[str, Any]] = (),
        *,
        source: str = "",
        bind_key: bool = False,
    ) -> Attested:
        """Evidence → a sealed attestation of a new session, or of `session_id` again. `additional` is what devices in
        the machine said, `{"kind","evidence"}` each; the machine's own evidence commits to all of it.

        The nonce is consumed before anything of the evidence is looked at: a second try needs a second
        challenge, whatever became of the first. The session's credentials are then worth something to who holds the
        attested key (`bind_key`), or who comes from `source`, the address the evidence came from.
        """
        with self._recording("attest", None, principal_id, session=session_id):
            now = self._clock()
            issued = self._catalog.consume_challenge(nonce, now)
            if issued is None or issued.nonce != nonce or issued.profile:
                raise refuse(Refusal.NONCE, "unknown, used, expired, or of another protocol")
            if issued.principal_id != principal_id:
                raise refuse(Refusal.PRINCIPAL, "the challenge was given to another principal")
            thumbprint = key_thumbprint(public_jwk)
            scope = tuple(issued.scope)
            expected = ExpectedBinding(
                nonce, issued.gateway, thumbprint, issued.purpose, scope, additional_digest(additional)
            )
            document = self._judged(principal_id, kind, evidence, additional, expected, now)
            expires_at, begun, bound_key = now + SESSION_MS, session_id is None, thumbprint if bind_key else ""
            if session_id is not None:
                row = self._check_same_session(session_id, issued, thumbprint, document)
                expires_at, bound_key = row.expires_at, row.bound_key  # what it is bound by is settled when it begins
            made = self._seal(
                session_id or secrets.token_hex(16), issued, thumbprint, document, expires_at,
                "" if bound_key else source, bound_key,
            )  # fmt: skip
            if not (bound_key and begun):
                return made
            return replace(made, certificate=self._authority.issue(public_jwk, made.session_id, now, expires_at))

    def _judged(
        self, principal_id: str, kind: str, evidence: Mapping[str, Any], additional: Sequence[Mapping[str, Any]],
        expected: Binding, now: int,
    ) -> dict[str, Any]:  # fmt: skip
        """The claims of a machine and its devices, as a session keeps them; what was revoked has none."""
        claims = self._parts.verifiers.verify(kind, evidence, expected, now)
        if self._parts.tpm is not None:
            self._parts.tpm.seen(principal_id, claims)
        devices = self._parts.verifiers.verify_devices(additional, expected, now)
        if self._policy.posture != "development" and any(found.synthetic_only for found in (claims, *devices)):
            raise refuse(Refusal.POSTURE, "such evidence is for development")
        document = claims.as_document()
        if devices:
            document["devices"] = [device.as_document() for device in devices]
            # The broker's check 6 and the doctrine look here: one device of no worth is the session's worth.
            document["synthetic_only"] = any(found.synthetic_only for found in (claims, *devices))
        if self._revocations.found(principal_id, document) is not None:
            raise refuse(Refusal.REVOKED, "principal, platform or measurement")
        return document

    def kbs_challenge(self, principal_id: str, purpose: str, scope: list[str], gateway: str) -> Challenge:
        """As `challenge`, for clients of the key-broker protocol (`vault.broker.kbs`); without a principal it leads
        to no session."""
        with self._recording("kbs_challenge", None, ""):
            return self._kbs.challenge(principal_id, purpose, scope, gateway)

    def kbs_attest(self, evidence: KbsEvidence, principal_id: str, source: str) -> KbsAttested:
        """As `attest`, for theirs. Always bound to `source`: their keys open credentials and sign nothing."""
        with self._recording("kbs_attest", None, ""):
            return self._kbs.attest(evidence, principal_id, source)

    def kbs_token(self, statement: bytes, seal: bytes, appraisal: dict[str, Any], token_id: str) -> str:
        """What was verified and how the doctrine appraised it, signed for a few minutes."""
        with self._recording("kbs_token", None, ""):
            return self._kbs.token(statement, seal, appraisal, token_id)

    def kbs_key(self) -> dict[str, str]:
        """The public key of those tokens."""
        return self._kbs.public_key

    def tpm_begin(self, principal_id: str, request: dict[str, Any]) -> TpmChallenge:
        """What the TPM of this enrolment request has to answer (`vault.broker.tpm_office`)."""
        with self._recording("tpm_begin", None, principal_id):
            return self._tpm().begin(principal_id, request)

    def tpm_finish(self, enrolment_id: str, principal_id: str, secret: bytes) -> TpmKeyState:
        """The enrolled key, when its TPM answered; each challenge takes one answer."""
        with self._recording("tpm_finish", None, principal_id):
            return self._tpm().finish(enrolment_id, principal_id, secret)

    def tpm_approve(
        self, key_name: str, policy: dict[str, Any], decision: Promised, entry: Promised
    ) -> TpmKeyState:
        """Which PCR values count for this key, by a decision about the zone."""
        with self._recording("tpm_approve", None, key_name):
            return self._tpm().approve(key_name, policy, decision, entry)

    def tpm_retire(self, key_name: str, decision: Promised, entry: Promised) -> TpmKeyState:
        """For good, by a decision about the zone."""
        with self._recording("tpm_retire", None, key_name):
            return self._tpm().retire(key_name, decision, entry)

    def revoke_session(self, session_id: str) -> None:
        """For good, and where no catalog reaches: clearing `revoked_at` in the row revives nothing here."""
        with self._recording("revoke_session", None, session_id):
            self._parts.marks.put("revoked", session_id)

    def revoke(self, what: str, value: str) -> None:
        """A principal, platform or measurement, by its digest; for good, as a session."""
        with self._recording("revoke", None, what[:32]):
            self._revocations.revoke(what, value)

    def key_order(self, order: dict[str, Any], decision: Promised, entry: Promised) -> KeyOrderState:
        """An order about keys (`vault.broker.administration`); done at once, or to be approved, or to be stepped."""
        with self._recording("key_order", None, str(order.get("action"))[:32]):
            return _told(self._administration.order(order, decision, entry))

    def key_approve(self, request_id: str, request_sha256: str, decision: Promised, entry: Promised) -> KeyOrderState:
        """By a second person, of exactly the order that hashes to `request_sha256`."""
        with self._recording("key_approve", None, request_id):
            return _told(self._administration.approve(request_id, request_sha256, decision, entry))

    def key_cancel(self, request_id: str, request_sha256: str, decision: Promised, entry: Promised) -> KeyOrderState:
        with self._recording("key_cancel", None, request_id):
            return _told(self._administration.cancel(request_id, request_sha256, decision, entry))

    def key_step(self, request_id: str, *, recorded: bool = False) -> KeyOrderState:
        """For the keeper's socket only: the next second of work on an approved order."""
        try:
            return _told(self._execution.step(request_id, recorded=recorded))
        except Conflict:  # not yet, or somebody else: asked again in a moment, and no refusal to keep
            raise
        except (Refused, Malformed) as refusal:
            self.record_refusal("key_step", refusal, subject=request_id)
            raise

    def key_location(self, key_class: str) -> ProviderLocation:
        """Where the provider of this class says it is, asked now: for who decides whether the zone is open."""
        if key_class not in set(KeyClass):
            raise Refused("key.class", "raw or view")
        return self._providers[KeyClass(key_class)].location()

    def _tpm(self) -> TpmOffice:
        if self._parts.tpm is None:
            raise refuse(Refusal.NO_TRUST, "no TPM is enrolled here")
        return self._parts.tpm

    def _check_same_session(
        self, session_id: str, issued: ChallengeFacts, thumbprint: str, claims: dict[str, Any]
    ) -> SessionFacts:
        row = self._catalog.find_session(session_id)
        if row is None or row.session_id != session_id:
            raise refuse(Refusal.SESSION, "no such session")
        self._checks.check_session_row(row)
        if (row.principal_id, row.purpose, tuple(row.scope)) != (
            issued.principal_id, issued.purpose, tuple(issued.scope),
        ):  # fmt: skip
            raise refuse(Refusal.SESSION, "another principal, purpose or scope than the session's")
        if row.key_thumbprint != thumbprint:
            raise refuse(Refusal.KEY, "another key than the session's")
        refuse_weaker(dict(row.claims), claims)
        return row

    def _begun(
        self, issued: ChallengeFacts, thumbprint: str, claims: dict[str, Any], now: int, source: str
    ) -> Attested:
        return self._seal(secrets.token_hex(16), issued, thumbprint, claims, now + SESSION_MS, source, "")

    def _seal(
        self, session_id: str, issued: ChallengeFacts, thumbprint: str, claims: dict[str, Any], expires_at: int,
        bound_source: str, bound_key: str,
    ) -> Attested:  # fmt: skip
        attested_at, scope = self._clock(), tuple(issued.scope)
        seals = {
            tier: self._session_seal.seal(
                SealedSession(
                    session_id=session_id, principal_id=issued.principal_id, purpose=issued.purpose, scope=scope,
                    kind="attested", claims=claims, key_thumbprint=thumbprint, attested_at=attested_at,
                    expires_at=expires_at, tier=tier, bound_source=bound_source, bound_key=bound_key,
                )
            )
            for tier in OPENING_TIERS
        }  # fmt: skip
        return Attested(
            session_id, claims, attested_at, expires_at, seals, thumbprint, issued.purpose, scope, bound_source,
            bound_key,
        )  # fmt: skip

    @contextmanager
    def _recording(
        self, method: str, scope: KeyScope | None, subject: str, *, session: str | None = None, job: str | None = None
    ) -> Iterator[None]:
        """Each refusal becomes a ledger entry, then goes on its way. Failing to record changes no refusal."""
        try:
            yield
        except (Refused, Malformed) as refusal:
            self.record_refusal(method, refusal, scope=scope, subject=subject, session=session, job=job)
            raise

    def record_refusal(
        self,
        method: str,
        refusal: VaultError,
        *,
        scope: KeyScope | None = None,
        subject: str = "",
        session: str | None = None,
        job: str | None = None,
    ) -> None:
        """One flat `broker-refusal` entry: names and reasons, never key material or object names."""
        now = self._clock()
        principal = method in {
            "challenge",
            "attest",
            "kbs_challenge",
            "kbs_attest",
            "kbs_token",
            "tpm_begin",
            "tpm_finish",
        }  # their subject is a principal id: keyed, as everywhere
        entry = {
            "v": 1,
            "type": "broker-refusal",
            "id": secrets.token_hex(16),
            "at": datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now % 1000:03d}Z",
            "zone": self._policy.zone,
            "tenant": self._policy.tenant,
            "method": method,
            "reason": refusal.reason,
            "dataset_id": scope.dataset_id[:64] if scope else None,
            "key_class": scope.key_class if scope else None,
            "subject": None if principal else subject[:128],
            "session": session[:64] if session else None,
            "job": job[:64] if job else None,
        }
        try:
            self._parts.record(entry)
        except VaultError as error:
            _log.error("refusal %s of %s could not be recorded: %s", refusal.reason, method, error.reason)


def _upload_mark(scope: KeyScope, subject: str, upload_id: str) -> str:
    """What a mark can be called after names of others' making."""
    named = rfc8785.dumps([scope.tenant, scope.zone, scope.dataset_id, subject, upload_id])
    return hashlib.sha256(named).hexdigest()


def _key_office(parts: BrokerParts, ring: KeyRing) -> tuple[Execution, Administration]:
    place = parts.policy
    seal = RequestSeal(parts.secrets.derived("key-request-seal"), zone=place.zone, marks=parts.marks)
    execution = Execution(
        ExecutionParts(
            tenant=place.tenant, zone=place.zone, ring=ring, catalog=parts.catalog, seal=seal, record=parts.record,
            clock=parts.clock, destroy_days=parts.destroy_days,
        )
    )  # fmt: skip
    return execution, Administration(
        AdministrationParts(
            policy=place, catalog=parts.catalog, verify_promise=parts.verify_promise, seal=seal, execution=execution,
            clock=parts.clock,
        )
    )  # fmt: skip


def _told(row: RequestFacts) -> KeyOrderState:
    return KeyOrderState(
        row.request_id, row.action, row.dataset_id, row.state, row.step, row.request_sha256, row.expires_at,
        row.execute_at, dict(row.result),
    )  # fmt: skip
