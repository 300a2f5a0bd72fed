"""The input document of a decision, built in one place so that no call site forgets a field.

Shape: docs/spec/decision.md and policies/schemas/input.schema.json. Every field is present, null where there
is nothing to say: a missing field would make a rule undefined, and undefined must never be how a rule fails.
No floats, no integers of 2^53 or more.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

SCHEMA: Final = "demesne.input/1"
Action = Literal[
    "read", "head", "list", "write", "complete", "delete", "create-dataset", "delete-dataset", "list-datasets",
    "head-dataset", "session", "declassify", "administer", "keys", "approve-keys", "revoke", "lineage", "ledger",
]
ACTIONS: Final[tuple[str, ...]] = (
    "read", "head", "list", "write", "complete", "delete", "create-dataset", "delete-dataset", "list-datasets",
    "head-dataset", "session", "declassify", "administer", "keys", "approve-keys", "revoke", "lineage", "ledger",
)
_WHOLE: Final = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestFacts:
    """What is asked. `zone` is the zone of the named dataset, which another zone's gateway may be asked about."""

    request_id: str
    action: Action
    interface: Literal["s3", "api", "ingest"]
    tenant: str
    zone: str
    dataset: str | None = None
    key: str | None = None
    version: str | None = None
    require_view: Literal["raw"] | None = None

    def as_document(self) -> dict[str, Any]:
        ref = {
            "tenant": self.tenant, "zone": self.zone, "dataset": self.dataset, "key": self.key, "version": self.version,
        }
        return {
            "id": self.request_id, "action": self.action, "interface": self.interface,
            "require_view": self.require_view, "ref": ref,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalFacts:
    """Who asks; `purposes` are all it may ever act for."""

    principal_id: str
    name: str
    kind: str
    roles: Sequence[str]
    jurisdiction: str
    tenant: str
    purposes: Sequence[str]

    def as_document(self) -> dict[str, Any]:
        return {
            "id": self.principal_id, "name": self.name, "kind": self.kind, "roles": sorted(self.roles),
            "jurisdiction": self.jurisdiction, "tenant": self.tenant, "purposes": sorted(self.purposes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionFacts:
    """The session's row as the gateway reads it now: `fresh` is computed from it, never taken from a token."""

    session_id: str
    kind: Literal["attested", "identity"]
    tier: str
    fresh: bool
    scope: Sequence[str]
    run: str | None
    claims: Mapping[str, Any] = field(default_factory=dict)

    def as_document(self) -> dict[str, Any]:
        return {
            "id": self.session_id, "kind": self.kind, "tier": self.tier, "claims": dict(self.claims),
            "fresh": self.fresh, "scope": sorted(self.scope), "run": self.run,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFacts:
    """A dataset and its contract document in force (docs/spec/contract.md), None before the first."""

    dataset_id: str
    name: str
    zone: str
    jurisdiction: str
    synthetic: bool
    label: Literal["personal", "none"]
    contract_version: int = 0
    contract: Mapping[str, Any] | None = None

    def as_document(self) -> dict[str, Any]:
        return {
            "id": self.dataset_id, "name": self.name, "zone": self.zone, "jurisdiction": self.jurisdiction,
            "synthetic": self.synthetic, "label": self.label, "contract": self._contract(),
        }

    def _contract(self) -> dict[str, Any] | None:
        if self.contract is None:
            return None
        columns = [
            {"name": column["name"], "type": column.get("type") or "", "label": column.get("label") or "unknown"}
            for column in self.contract.get("columns", ())
        ]
        return {
            "version": self.contract_version, "owner": self.contract.get("owner") or "",
            "purposes": sorted(self.contract.get("purposes", ())),
            # Keys are personal until a contract says that they are not.
            "keys_personal": self.contract.get("keys_personal") is not False, "columns": columns,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFacts:
    """The version a read names, or the latest one. `written_by` is a principal id; `run` the run it was written in."""

    label: Literal["personal", "none"]
    format: str
    key_class: Literal["raw", "view"]
    placement: Sequence[str]
    written_by: str | None
    run: str | None = None
    declassified: str | None = None

    def as_document(self) -> dict[str, Any]:
        return {
            "label": self.label, "format": self.format, "key_class": self.key_class,
            "placement": sorted(self.placement), "written_by": self.written_by, "run": self.run,
            "declassified": None if self.declassified is None else {"name": self.declassified},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneFacts:
    """This zone, as the last residency observation left it."""

    name: str
    jurisdiction: str
    posture: Literal["development", "production"]
    state: Literal["open", "closed"]
    strength: str

    def as_document(self) -> dict[str, Any]:
        return {
            "name": self.name, "jurisdiction": self.jurisdiction, "posture": self.posture, "state": self.state,
            "strength": self.strength,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the run read so far: strictest label, and the zones all of it may lie in (None: it read nothing yet)."""

    run_id: str
    label: Literal["personal", "none"]
    placement: Sequence[str] | None
    inputs: int

    def as_document(self) -> dict[str, Any]:
        return {
            "id": self.run_id, "label": self.label,
            "placement": None if self.placement is None else sorted(self.placement), "inputs": self.inputs,
        }


def build_input(
    *,
    now: str,
    request: RequestFacts,
    principal: PrincipalFacts,
    purpose: str,
    zone: ZoneFacts,
    session: SessionFacts | None = None,
    dataset: DatasetFacts | None = None,
    object: ObjectFacts | None = None,  # noqa: A002 - the field's name in the document
    run: RunFacts | None = None,
) -> dict[str, Any]:
    """The whole input document. `now` is RFC 3339 with milliseconds. Raises ValueError on a float or a huge integer."""
    document = Document({
        "schema": SCHEMA, "now": now, "request": request.as_document(), "principal": principal.as_document(),
        "purpose": purpose, "session": session.as_document() if session else None,
        "dataset": dataset.as_document() if dataset else None, "object": object.as_document() if object else None,
        "zone": zone.as_document(), "run": run.as_document() if run else None,
    })
    if session is not None:
        _whole_numbers(document["session"], "session")  # claims come from evidence: the only open part
    return document


def build_appraisal(
    claims: Mapping[str, Any], *, posture: str, purpose: str, dataset_scope: Sequence[Mapping[str, Any]],
    reference: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:  # fmt: skip
    """What the doctrine is asked about verified claims (docs/spec/appraisal.md). Of the reference values those of the
    claims' kinds are sent: the others match nothing, and the question has a deadline. Raises ValueError as
    `build_input`."""
    devices = claims.get("devices")
    kinds = {claims.get("kind")} | {one.get("kind") for one in devices or () if isinstance(one, Mapping)}
    document = {
        "claims": dict(claims), "posture": posture, "purpose": purpose,
        "dataset_scope": [dict(one) for one in dataset_scope],
        "reference": [dict(value) for value in reference if value.get("kind") in kinds],
    }
    _whole_numbers(document, "appraisal")
    return document


class Document(dict[str, Any]):
    """A built input document. Encoded once: what the engine is asked and what is hashed and sealed are the same bytes.
    Nobody changes it after it was built."""

    encoded: bytes | None = None


def encode(document: Any) -> bytes:
    """The document as both engines get it: compact JSON, UTF-8, NaN refused."""
    if isinstance(document, Document):
        if document.encoded is None:
            document.encoded = _encode(document)
        return document.encoded
    return _encode(document)


def _encode(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _whole_numbers(value: Any, where: str) -> None:
    if isinstance(value, float):
        raise ValueError(f"{where}: a float cannot be decided on alike by two engines")  # noqa: TRY004
    if isinstance(value, int) and abs(value) >= _WHOLE:
        raise ValueError(f"{where}: an integer of 2^53 or more")
    if isinstance(value, Mapping):
        for name, item in value.items():
            _whole_numbers(item, f"{where}.{name}")
    elif isinstance(value, list | tuple):
        for item in value:
            _whole_numbers(item, f"{where}[]")
