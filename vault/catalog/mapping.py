"""Between table rows and frozen values: JSON columns parsed, sealed rows checked on every read.

A sealed table has no way to be read without its check: `Mapper.read` is the only road out.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Generic, TypeVar

from sqlalchemy import Insert, Row, Select, Table, insert, select

from vault.catalog import attestation_rows, key_request_rows, rows, statement_rows, tables
from vault.catalog.seal import RowSeal
from vault.errors import Broken

T = TypeVar("T")


def to_json(value: object) -> str:
    """Canonical JSON for values whose member names are ASCII: sorted, no spaces, UTF-8."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _list(text: str) -> tuple[Any, ...]:
    return tuple(json.loads(text))


def _object(text: str | None) -> Any:
    return None if text is None else json.loads(text)


_JSON_COLUMNS: Mapping[str, Mapping[str, Callable[[str], Any]]] = {
    "zone": {"observed": _list},
    "principal": {"roles": _list, "purposes": _list},
    "contract_version": {"document": _object},
    "object_version": {"checksums": _object, "placement": _list},
    "extent": {"columns": _list},
    "key_request": {"document": _object, "plan": _object, "result": _object, "progress": _object},
    "upload": {"wrapped": _object, "completed": _object},
    "part": {"checksums": _object},
    "snapshot": {"change": _object},
    "plan": {"effect": _object},
    "challenge": {"scope": _list},
    "session": {"scope": _list, "claims": _object},
    "tpm_key": {"pcr_policy": _object, "last_clock": _object},
    "kbs_ticket": {"scope": _list},
    "kbs_session": {"public_key": _object},
    "run_io": {"placement": _list},
    "job": {"subject": _object},
    "outbox": {"event": _object},
}


class Mapper(Generic[T]):
    """One table and its row type."""

    def __init__(self, table: Table, row_type: Callable[..., T]) -> None:
        self.table = table
        self.name = table.name
        self.columns = tuple(column.name for column in table.columns)
        self.sealed = "row_mac" in self.columns
        self._type = row_type
        self._decoders = tuple(
            (self.columns.index(name), decode) for name, decode in _JSON_COLUMNS.get(table.name, {}).items()
        )
        self._json = frozenset(_JSON_COLUMNS.get(table.name, {}))
        expected = tuple(field.name for field in fields(row_type))  # type: ignore[arg-type]
        if expected != tuple(name for name in self.columns if name != "row_mac"):
            raise Broken("catalog.mapping", table.name)

    @property
    def select(self) -> Select[Any]:
        return select(self.table)

    @property
    def insert(self) -> Insert:
        return insert(self.table)

    def read(self, row: Row[Any], seal: RowSeal) -> T:
        """The value; Refused("catalog.row-edited") when the row is sealed and does not carry its seal."""
        values = list(row)
        if self.sealed:
            mac = values.pop()
            seal.check(self.name, dict(zip(self.columns, values, strict=False)), mac)
        for index, decode in self._decoders:
            values[index] = decode(values[index])
        return self._type(*values)

    def stored(self, item: T, seal: RowSeal) -> dict[str, Any]:
        """Column values of `item`, with the row's MAC where the table has one."""
        values: dict[str, Any] = {}
        for name in self.columns:
            if name == "row_mac":
                continue
            value = getattr(item, name)
            values[name] = to_json(value) if name in self._json and value is not None else value
        if self.sealed:
            values["row_mac"] = seal.seal(self.name, values)
        return values


ZONE = Mapper(tables.zone, rows.ZoneRow)
OBSERVATION = Mapper(tables.residency_observation, rows.ObservationRow)
PRINCIPAL = Mapper(tables.principal, rows.PrincipalRow)
CREDENTIAL = Mapper(tables.credential, rows.CredentialRow)
DATASET = Mapper(tables.dataset, rows.DatasetRow)
CONTRACT = Mapper(tables.contract_version, rows.ContractRow)
EPOCH = Mapper(tables.epoch_key, rows.EpochRow)
GROUP = Mapper(tables.key_group, rows.GroupRow)
KEY_WRAP = Mapper(tables.key_wrap, rows.KeyWrapRow)
KEY_REQUEST = Mapper(tables.key_request, key_request_rows.KeyRequestRow)
ERASURE = Mapper(tables.erasure, key_request_rows.ErasureRow)
VERSION = Mapper(tables.object_version, rows.VersionRow)
EXTENT = Mapper(tables.extent, rows.ExtentRow)
MANIFEST = Mapper(tables.manifest_generation, rows.ManifestRow)
BODY = Mapper(tables.body, rows.BodyRow)
UPLOAD = Mapper(tables.upload, rows.UploadRow)
PART = Mapper(tables.part, rows.PartRow)
SNAPSHOT = Mapper(tables.snapshot, rows.SnapshotRow)
PLAN = Mapper(tables.plan, rows.PlanRow)
VIEW = Mapper(tables.view, rows.ViewRow)
CHALLENGE = Mapper(tables.challenge, rows.ChallengeRow)
SESSION = Mapper(tables.session, rows.SessionRow)
REVOCATION = Mapper(tables.revocation, attestation_rows.RevocationRow)
TPM_KEY = Mapper(tables.tpm_key, attestation_rows.TpmKeyRow)
KBS_TICKET = Mapper(tables.kbs_ticket, attestation_rows.KbsTicketRow)
KBS_SESSION = Mapper(tables.kbs_session, attestation_rows.KbsSessionRow)
JWKS = Mapper(tables.jwks, attestation_rows.JwksRow)
RUN = Mapper(tables.run, rows.RunRow)
RUN_STATEMENT = Mapper(tables.run_statement, statement_rows.RunStatementRow)
RUN_IO = Mapper(tables.run_io, rows.RunIoRow)
REVISION = Mapper(tables.doctrine_revision, rows.RevisionRow)
JOB = Mapper(tables.job, rows.JobRow)
STORE_RECORD = Mapper(tables.store_record, rows.StoreRecordRow)
OUTBOX = Mapper(tables.outbox, rows.OutboxRow)
