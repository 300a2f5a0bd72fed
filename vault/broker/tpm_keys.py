"""Enrolled attestation keys as the broker keeps them: sealed, retired for good, their TPM's clock never going back.

A row says which key is a TPM's, which boots of it were approved and what its clock was last. A front worker can write
the table; without this seal it would enrol a key of its own, and approve whatever boots there.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import rfc8785

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.tpm.verify import KIND
from vault.attest.trust.document import Section
from vault.attest.trust.tpm_keys import EnrolledKey, pcr_policy
from vault.broker.key_requests import Marks
from vault.errors import Conflict, Malformed, NotFound, Refused

_LABEL = b"demesne/tpm-key-seal/1\x00"
_CLOCK = ("reset_count", "restart_count", "clock")
_RACES = 5
_RETIRED = "tpm"
MAX_VALUES = 64  # of one PCR's admitted values


class TpmKeyFacts(Protocol):
    """A row of the table, as the broker reads it."""

    @property
    def tenant(self) -> str: ...

    @property
    def key_name(self) -> str: ...

    @property
    def principal_id(self) -> str: ...

    @property
    def ek_sha256(self) -> str: ...

    @property
    def pcr_policy(self) -> Mapping[str, Any]: ...

    @property
    def last_clock(self) -> Mapping[str, Any]: ...

    @property
    def enrolled_at(self) -> int: ...

    @property
    def retired_at(self) -> int | None: ...

    @property
    def broker_seal(self) -> bytes: ...


class TpmKeyCatalog(Protocol):
    """The table (`vault.catalog.tpm_keys`). Rows go back as they were read, but for what a call changes."""

    def tpm_key(self, key_name: str) -> Any | None: ...

    def new_tpm_key(self, **columns: Any) -> Any: ...

    def add_tpm_key(self, row: Any) -> None: ...

    def change_tpm_key(self, before: Any, after: Any) -> None: ...


class EnrolledTpmKeys:
    """`key` is the broker's alone, and `marks` its own directory: an older catalog that is put back revives no key that
    was retired. Thread safe as the catalog is: of two that change one row, one wins."""

    def __init__(self, catalog: TpmKeyCatalog, key: bytes, marks: Marks, *, zone: str) -> None:
        self._marks = marks
        self._catalog = catalog
        self._key = key
        self._zone = zone

    def find(self, key_name: str) -> EnrolledKey | None:
        """For the verifier: None when it is not enrolled, or is retired. `Refused("attest.chain")` for a row that this
        broker did not write."""
        row = self._catalog.tpm_key(key_name)
        if row is None or self._retired(row):
            return None
        self._check(row, key_name)
        return EnrolledKey(row.key_name, parse_policy(row.pcr_policy), row.principal_id, _boot(row.last_clock))

    def enrol(self, key_name: str, ek_sha256: str, principal_id: str, now_ms: int) -> TpmKeyFacts:
        """Without a policy: what it boots is nothing anybody approved yet. Conflict("tpm.enrolled")."""
        made = self._catalog.new_tpm_key(
            key_name=key_name, principal_id=principal_id, ek_sha256=ek_sha256, pcr_policy={}, last_clock={},
            enrolled_at=now_ms, retired_at=None,
        )  # fmt: skip
        row: TpmKeyFacts = self._sealed(made)
        self._catalog.add_tpm_key(row)
        return row

    def approve(self, key_name: str, policy: Mapping[str, Any]) -> TpmKeyFacts:
        """Admit these PCR values, and no others any more. NotFound, Conflict, Refused, Malformed."""
        parse_policy(policy)
        return self._change(key_name, lambda row: replace(row, pcr_policy=dict(policy)))

    def retire(self, key_name: str, now_ms: int) -> TpmKeyFacts:
        """For good: this key makes no evidence any more. NotFound, Conflict."""
        if self._catalog.tpm_key(key_name) is not None:
            self._marks.put(_RETIRED, key_name)
        return self._change(key_name, lambda row: replace(row, retired_at=now_ms))

    def seen(self, principal_id: str, claims: Claims) -> None:
        """After evidence of an enrolled key held: whose key it is, and how far its TPM's clock went.

        `Refused`: `attest.principal` (another's key), `attest.platform` (the clock went back meanwhile: of two pieces
        of evidence at once the older one loses). A key that stands in a file, and not here, has no row to keep.
        """
        if claims.kind != KIND:
            return
        if claims.platform.get("principal", "") not in {"", principal_id}:  # a key of the trust directory, too
            raise refuse(Refusal.PRINCIPAL, "the attestation key is another principal's")
        name, seen = str(claims.platform["key"]), {part: int(claims.platform[part]) for part in _CLOCK}
        for _ in range(_RACES):
            row = self._catalog.tpm_key(name)
            if row is None:
                return
            self._check(row, name)
            if self._retired(row):
                raise refuse(Refusal.CHAIN, "attestation key is not enrolled")
            if row.principal_id != principal_id:
                raise refuse(Refusal.PRINCIPAL, "the attestation key was enrolled by another principal")
            last = _boot(row.last_clock)
            if last is not None and _boot(seen) < last:  # type: ignore[operator]
                raise refuse(Refusal.PLATFORM, "the TPM's clock went back")
            try:
                self._catalog.change_tpm_key(row, self._sealed(replace(row, last_clock=seen)))
            except Conflict:
                continue
            return
        raise refuse(Refusal.PLATFORM, "too many at once with one attestation key")

    def _change(self, key_name: str, made: Callable[[Any], Any]) -> TpmKeyFacts:
        for _ in range(_RACES):
            row = self._catalog.tpm_key(key_name)
            if row is None:
                raise NotFound("tpm.key", key_name)
            self._check(row, key_name)
            if row.retired_at is not None:
                raise Conflict("tpm.retired", key_name)
            after: TpmKeyFacts = self._sealed(made(row))
            try:
                self._catalog.change_tpm_key(row, after)
            except Conflict:  # an attestation moved its clock
                continue
            return after
        raise Conflict("tpm.changed", key_name)

    def _retired(self, row: TpmKeyFacts) -> bool:
        return row.retired_at is not None or self._marks.has(_RETIRED, row.key_name)

    def _check(self, row: TpmKeyFacts, key_name: str) -> None:
        if row.key_name != key_name or not hmac.compare_digest(self._seal(row), row.broker_seal):
            raise refuse(Refusal.CHAIN, "the key's enrolment is not what this broker wrote")

    def _sealed(self, row: Any) -> Any:
        return replace(row, broker_seal=self._seal(row))

    def _seal(self, row: TpmKeyFacts) -> bytes:
        document: dict[str, Any] = {
            "v": 1, "tenant": row.tenant, "zone": self._zone, "key_name": row.key_name,
            "principal_id": row.principal_id, "ek_sha256": row.ek_sha256, "pcr_policy": dict(row.pcr_policy),
            "last_clock": {name: str(value) for name, value in row.last_clock.items()},
            "enrolled_at": row.enrolled_at, "retired_at": row.retired_at,
        }  # fmt: skip
        return hmac.new(self._key, _LABEL + rfc8785.dumps(document), hashlib.sha256).digest()


def parse_policy(document: Mapping[str, Any]) -> dict[int, frozenset[bytes]]:
    """{"7": [64 hex digits, …], …} → values by PCR. Raises Malformed, which names the field."""
    found = dict(pcr_policy(Section(dict(document), "pcrs")))
    if any(not values or len(values) > MAX_VALUES for values in found.values()):
        raise Malformed("tpm.policy", f"1 to {MAX_VALUES} values of each PCR that is named")
    return found


def policy_sha256(document: Mapping[str, Any]) -> str:
    """What an approval names its policy by: SHA-256 of its canonical JSON, hex."""
    try:
        return hashlib.sha256(rfc8785.dumps(dict(document))).hexdigest()
    except rfc8785.CanonicalizationError as error:
        raise Malformed("tpm.policy") from error


def _boot(document: Mapping[str, Any]) -> tuple[int, int, int] | None:
    if not document:
        return None
    try:
        reset, restart, clock = (int(document[name]) for name in _CLOCK)
    except (KeyError, ValueError, TypeError) as error:
        raise Refused("attest.chain", "the key's clock") from error
    return reset, restart, clock
