"""The key broker: the only holder of provider credentials. Every method checks, then opens; refusals are recorded.

This class knows no socket; `vault.broker.server` puts it behind one, tests and fakes use it in process.
"""

import hashlib
import logging
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import rfc8785

from vault.attest.claims import Refusal, refuse
from vault.attest.verifier import Verifiers
from vault.broker.administration import Administration, AdministrationParts
from vault.broker.attestations import AttestationParts, Attestations
from vault.broker.checks import ReleaseChecks, ReleasePolicy
from vault.broker.client_certificates import SessionAuthority
from vault.broker.execution import Execution, ExecutionParts
from vault.broker.kbs import KbsOffice, KbsParts
from vault.broker.kbs_types import KbsAttested, KbsEvidence
from vault.broker.key_requests import Marks, MemoryMarks, RequestFacts, RequestSeal
from vault.broker.ports import Clock, KeyCatalog, RecordRefusal, VerifyPromise
from vault.broker.revocations import Revocations
from vault.broker.sessions import SessionSeal
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

MAX_MANIFESTS = 4
_VERSION_ID = re.compile(r"[0-9a-f]{32}")
_GROUP_ID_BYTES = 16
_ENDED_UPLOAD = "upload"
# Their subject is a principal id: keyed, as everywhere.
_OF_PRINCIPALS = frozenset(
    {"challenge", "attest", "kbs_challenge", "kbs_attest", "kbs_token", "tpm_begin", "tpm_finish"}
)
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
        place = {"tenant": parts.policy.tenant, "zone": parts.policy.zone}
        session_seal = SessionSeal(parts.secrets.derived("session-seal"), **place)
        authority = SessionAuthority(parts.secrets.derived("session-authority"), **place)
        self._hello = Hello(
            catalog_mac_key=parts.secrets.derived("catalog-mac"), token_key=parts.secrets.derived("token"),
            record_hash_key=parts.secrets.derived("record-hash"), decision_key=parts.secrets.named("decisions"),
            ledger_public_key=parts.ledger_public_key, session_authority=authority.certificate,
        )  # fmt: skip
        self._revocations = Revocations(parts.catalog, parts.marks, parts.clock)
        self._checks = ReleaseChecks(
            policy=parts.policy, catalog=parts.catalog, verify_promise=parts.verify_promise, session_seal=session_seal,
            record_hash_key=self._hello.record_hash_key, clock=parts.clock, marks=parts.marks,
            revocations=self._revocations,
        )  # fmt: skip
        self._attestations = Attestations(
            AttestationParts(
                catalog=parts.catalog, verifiers=parts.verifiers, checks=self._checks, revocations=self._revocations,
                seal=session_seal, authority=authority, tpm=parts.tpm, clock=parts.clock,
                development=parts.policy.posture == "development",
            )
        )  # fmt: skip
        self._execution, self._administration = _key_office(parts, self._ring)
        self._kbs = KbsOffice(
            KbsParts(
                catalog=parts.catalog, clock=parts.clock, judge=self._attestations.judged,
                seal=self._attestations.begun, signer=TokenSigner(parts.secrets.derived("kbs-token")),
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
            return self._attestations.challenge(principal_id, purpose, scope, gateway)

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
            return self._attestations.attest(
                nonce, kind, evidence, public_jwk, principal_id, session_id, additional, source=source,
                bind_key=bind_key,
            )  # fmt: skip

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

    def tpm_approve(self, key_name: str, policy: dict[str, Any], decision: Promised, entry: Promised) -> TpmKeyState:
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
            "subject": None if method in _OF_PRINCIPALS else subject[:128],
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
