"""Attestation keys of TPMs: enrolled by who runs the machine, approved and retired by who administers the zone.

Enrolling proves that a key lies in a TPM of a pinned maker, and opens nothing: until a steward has approved PCR values,
what boots with it is nothing that anybody vouched for. The broker checks and keeps all of it; this side decides who may
ask, and writes each step into the ledger before it happens.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.errors import BadRequest, Denied, NotFound
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.identity.tokens import vouched_purposes
from gateway.record import rfc3339
from lineage.ledger.entry import encode_entry
from vault.broker.tpm_keys import parse_policy, policy_sha256
from vault.broker.types import Promised, TpmKeyOffice, TpmKeyState
from vault.catalog.attestation_rows import TpmKeyRow
from vault.catalog.catalog import Catalog
from vault.errors import Malformed

SECRET_BYTES = 32


class TpmKeys:
    """One per front worker."""

    def __init__(self, guard: Guard, catalog: Catalog, office: TpmKeyOffice, *, token_key: bytes) -> None:
        self._token_key = token_key
        self._guard = guard
        self._catalog = catalog
        self._office = office

    async def begin(
        self, principal: Principal, purpose: str, request: Mapping[str, Any], request_id: str
    ) -> dict[str, Any]:
        """A challenge for the TPM of this request, for who may open sessions of `purpose`."""
        await self._check_outside(principal, purpose)
        admission = await self._guard.admit(
            replace(principal, purpose=purpose), "session", request_id=request_id, interface="api"
        )
        begun = await self._guard.blocking(self._office.tpm_begin, principal.principal_id, dict(request))
        await self._record(
            principal, admission.decision_id, event="challenged", key=begun.key_name,
            enrolment=_enrolment_hash(begun.enrolment_id),
        )  # fmt: skip
        return {
            "enrolment_id": begun.enrolment_id, "key_name": begun.key_name,
            "credential_blob": base64.b64encode(begun.blob).decode("ascii"),
            "encrypted_secret": base64.b64encode(begun.secret).decode("ascii"), "expires_at": rfc3339(begun.expires_at),
        }  # fmt: skip

    async def finish(self, principal: Principal, enrolment_id: str, secret: str) -> dict[str, Any]:
        """The enrolled key, when this is what its TPM says. The challenge fixed who may answer."""
        if _attested(principal):
            raise _from_session()
        await self._guard.check_own(principal)
        answer = _secret(secret)
        await self._record(principal, None, event="answered", key=None, enrolment=_enrolment_hash(enrolment_id))
        state = await self._guard.blocking(self._office.tpm_finish, enrolment_id, principal.principal_id, answer)
        return _described(state)

    async def list(self, principal: Principal, request_id: str) -> list[dict[str, Any]]:
        """All keys for who administers the zone; one's own for others."""
        await self._guard.check_own(principal, request_id)
        try:
            await self._guard.admit(principal, "administer", request_id=request_id, interface="api")
        except Denied:
            mine: str | None = principal.principal_id
        else:
            mine = None
        rows = await self._guard.blocking(self._catalog.tpm_keys)
        return [_described(row) for row in rows if mine in {None, row.principal_id}]

    async def approve(
        self, principal: Principal, key_name: str, policy: Mapping[str, Any], reason: str, request_id: str
    ) -> dict[str, Any]:
        """Admit exactly these PCR values for this key."""
        try:
            parse_policy(policy)
            sha256 = policy_sha256(policy)
        except Malformed as error:
            raise BadRequest("InvalidArgument", error.detail or "pcrs: not a policy") from error
        promised = await self._administered(principal, key_name, "approved", sha256, reason, request_id)
        state = await self._guard.blocking(self._office.tpm_approve, key_name, dict(policy), *promised)
        return _described(state)

    async def retire(self, principal: Principal, key_name: str, reason: str, request_id: str) -> dict[str, Any]:
        """For good. Sessions that rest on it end when they have to attest again; revoke them to end them now."""
        promised = await self._administered(principal, key_name, "retired", "", reason, request_id)
        return _described(await self._guard.blocking(self._office.tpm_retire, key_name, *promised))

    async def _check_outside(self, principal: Principal, purpose: str) -> None:
        """Who stole a session must not give its principal a machine of his. Where tokens of an identity provider stand
        for keys, theirs count for the purposes that the provider's entry names."""
        if principal.session is None:
            return
        row = await self._guard.blocking(self._catalog.find_session, principal.session.session_id)
        if _attested(principal) or row is None or purpose not in vouched_purposes(self._token_key, row):
            raise _from_session()

    async def _administered(
        self, principal: Principal, key_name: str, event: str, policy: str, reason: str, request_id: str
    ) -> tuple[Promised, Promised]:
        """The decision and the entry, promised, that the broker takes for a change."""
        admission = await self._guard.admit(principal, "administer", request_id=request_id, interface="api")
        if await self._guard.blocking(self._catalog.tpm_key, key_name) is None:
            raise NotFound("NoSuchTpmKey", "No attestation key of that name is enrolled here", rule="tpm.key",
                           decision_id=admission.decision_id, remedy="see `attest keys`")  # fmt: skip
        recorder = self._guard.recorder
        entry = recorder.event(
            "tpm-key", self._guard.clock(), event=event, key=key_name, policy_sha256=policy, reason=reason,
            principal=recorder.principal(principal.principal_id), intent=admission.decision_id,
        )  # fmt: skip
        promise = await self._guard.append(entry)
        return _decided(admission), Promised(encode_entry(entry), promise.encode())

    async def _record(self, principal: Principal, intent: str | None, **fields: Any) -> None:
        recorder = self._guard.recorder
        await self._guard.append(recorder.event(
            "tpm-key", self._guard.clock(), principal=recorder.principal(principal.principal_id), intent=intent,
            **fields,
        ))  # fmt: skip


def _attested(principal: Principal) -> bool:
    return principal.session is not None and principal.session.kind == "attested"


def _from_session() -> Denied:
    return Denied(
        "AccessDenied", "A session enrols no machine", rule="session.from-session",
        remedy="use the principal's own credentials, or its identity provider's token",
    )  # fmt: skip


def _enrolment_hash(enrolment_id: str) -> str:
    """An enrolment as entries name it: the id itself would let a reader of the ledger use a challenge up."""
    return hashlib.sha256(enrolment_id.encode()).hexdigest()


def _secret(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise BadRequest("InvalidArgument", "secret: base64 expected") from error
    if len(raw) != SECRET_BYTES:
        raise BadRequest("InvalidArgument", f"secret: {SECRET_BYTES} bytes expected")
    return raw


def _decided(admission: Admission) -> Promised:
    return Promised(admission.entry, admission.promise.encode())


def _described(key: TpmKeyState | TpmKeyRow) -> dict[str, Any]:
    return {
        "key_name": key.key_name, "principal_id": key.principal_id, "ek_sha256": key.ek_sha256,
        "pcr_policy": dict(key.pcr_policy), "last_clock": dict(key.last_clock),
        "enrolled_at": rfc3339(key.enrolled_at), "retired_at": rfc3339(key.retired_at) if key.retired_at else None,
        "state": "retired" if key.retired_at else "approved" if key.pcr_policy else "enrolled",
    }  # fmt: skip
