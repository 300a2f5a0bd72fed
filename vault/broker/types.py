"""What goes in and out of the broker. Values that hold keys do not show them in their repr."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from vault.envelope.wrap import WrappedKey
from vault.keys.hierarchy import KeyScope
from vault.keys.secrets import SecretBytes


@dataclass(frozen=True, slots=True)
class Hello:
    """What front workers need to work at all; none of these opens data."""

    catalog_mac_key: SecretBytes
    token_key: SecretBytes
    record_hash_key: SecretBytes
    decision_key: SecretBytes
    ledger_public_key: bytes
    session_authority: bytes
    """Certificate (DER) of who signs client certificates for attested keys."""


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A fresh object key and its wraps. `upload_wrapped` is only for `unwrap_upload` of that one upload."""

    object_key: SecretBytes
    wrapped: WrappedKey
    upload_wrapped: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class ManifestKeys:
    """Data keys of the manifests that were asked for, in that order; for a copy the object key's wrap for it."""

    keys: tuple[SecretBytes, ...]
    wrapped: WrappedKey | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """Why a key may be opened: the ledger intent as its canonical bytes, the ledger's promise, the session."""

    entry: bytes
    promise: str
    session_id: str | None


@dataclass(frozen=True, slots=True)
class Promised:
    """A ledger entry as its canonical bytes, and the ledger's promise of it."""

    entry: bytes
    promise: str


@dataclass(frozen=True, slots=True)
class KeyOrderState:
    """How far an order about keys is. `result` names epochs and what became of them; no key material anywhere."""

    request_id: str
    action: str
    dataset_id: str
    state: str
    step: str
    request_sha256: str
    expires_at: int
    execute_at: int
    result: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Challenge:
    """`nonce` is 32 random bytes in hex; `expires_at` in milliseconds."""

    nonce: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Attested:
    """A verified attestation, to be stored in the session row as it is, with the seal of the tier that the doctrine
    gives it: `seals` has one for each tier that opens anything, over every other field and that tier.

    A seal also covers principal, purpose, scope (as the challenge had it) and kind "attested": purpose and scope
    come back, so that nobody opens a session for others than the evidence was made for. A session ends at
    `expires_at` (ms), however often it is attested again. `bound_source` and `bound_key` say where its credentials
    count; with the latter comes a client certificate (PEM) for the attested key.
    """

    session_id: str
    claims: dict[str, Any]
    attested_at: int
    expires_at: int
    seals: Mapping[str, bytes]
    key_thumbprint: str
    purpose: str
    scope: tuple[str, ...]
    bound_source: str = ""
    bound_key: str = ""
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class TpmChallenge:
    """What a TPM has to answer to have a key enrolled: contents of TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET."""

    enrolment_id: str
    key_name: str
    blob: bytes
    secret: bytes
    expires_at: int


@dataclass(frozen=True, slots=True)
class TpmKeyState:
    """An enrolled attestation key. `pcr_policy`: PCR → admitted values, hex; empty: nobody approved a boot yet."""

    key_name: str
    principal_id: str
    ek_sha256: str
    pcr_policy: dict[str, Any]
    last_clock: dict[str, Any]
    enrolled_at: int
    retired_at: int | None


class KeyBroker(Protocol):
    """The broker as its callers see it: `BrokerClient` over the socket, `Broker` itself in one process.

    Every method raises `Refused` (a rule says no; it was recorded), `Malformed`, or `Unavailable`.
    """

    def hello(self) -> Hello: ...

    def generate(self, scope: KeyScope, subject: str, upload_id: str | None = None) -> GeneratedKey: ...

    def unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey, grant: Grant) -> bytes: ...

    def manifest_keys(
        self, scope: KeyScope, subject: str, wrapped: WrappedKey, grant: Grant, manifests: Sequence[tuple[str, int]],
        copy_to: str | None = None,
    ) -> ManifestKeys: ...  # fmt: skip

    def unwrap_upload(self, scope: KeyScope, subject: str, upload_id: str, upload_wrapped: bytes) -> bytes: ...

    def end_upload(self, scope: KeyScope, subject: str, upload_id: str) -> None: ...

    def builder_unwrap(self, scope: KeyScope, subject: str, wrapped: WrappedKey, job_id: str, fence: int) -> bytes: ...

    def pseudonym_key(self, tenant: str, purpose_class: str, job_id: str, fence: int) -> bytes: ...

    def challenge(self, principal_id: str, purpose: str, scope: list[str], gateway: str) -> Challenge: ...

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
    ) -> Attested: ...

    def revoke_session(self, session_id: str) -> None: ...

    def revoke(self, what: str, value: str) -> None: ...


class TpmKeyOffice(Protocol):
    """Enrolment of TPM attestation keys, as front workers bring it (`vault.broker.tpm_office`)."""

    def tpm_begin(self, principal_id: str, request: dict[str, Any]) -> TpmChallenge: ...

    def tpm_finish(self, enrolment_id: str, principal_id: str, secret: bytes) -> TpmKeyState: ...

    def tpm_approve(
        self, key_name: str, policy: dict[str, Any], decision: Promised, entry: Promised
    ) -> TpmKeyState: ...

    def tpm_retire(self, key_name: str, decision: Promised, entry: Promised) -> TpmKeyState: ...


class KeyOffice(Protocol):
    """Orders about keys, as front workers bring them (`vault.broker.administration`)."""

    def key_order(self, order: dict[str, Any], decision: Promised, entry: Promised) -> KeyOrderState: ...

    def key_approve(
        self, request_id: str, request_sha256: str, decision: Promised, entry: Promised
    ) -> KeyOrderState: ...

    def key_cancel(
        self, request_id: str, request_sha256: str, decision: Promised, entry: Promised
    ) -> KeyOrderState: ...


class KeyKeeper(Protocol):
    """Their execution, for the jobs process alone."""

    def key_step(self, request_id: str, *, recorded: bool = False) -> KeyOrderState: ...
