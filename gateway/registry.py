"""Datasets, contracts, plans, principals and declassifications: what stewards change. Decided and recorded first."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal

from gateway.contract import check_contract
from gateway.decide.doctrine import DoctrineUnavailable
from gateway.errors import BadRequest, Conflict, Denied, NotFound, Unavailable
from gateway.facts import dataset_input
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.identity.tokens import static_secret
from gateway.jobs.builder import BUILDER_VERSION
from gateway.plans import DECLASSIFIED, IDENTITY_EFFECT, IDENTITY_PLAN
from gateway.shown import grant_of
from vault.catalog.catalog import Catalog
from vault.catalog.rows import DatasetRow, ViewRow
from vault.catalog.versions import NewView
from vault.objects import Vault
from vault.ref import DatasetRef

KINDS = frozenset({"person", "workload", "service"})
ROLES = frozenset({"steward", "analyst", "trainer", "auditor", "custodian"})


class Registry:
    """What exists in this zone, and who changes it."""

    def __init__(
        self, guard: Guard, catalog: Catalog, vault: Vault, *, region: str, created_label: Literal["personal", "none"],
        static_key: bytes, zones: Sequence[str], posture: str, keep: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._guard = guard
        self._catalog = catalog
        self._vault = vault
        self._region = region
        self._created_label = created_label
        self._static_key = static_key
        self._zones = frozenset(zones)
        self._posture = posture
        self.keep = keep

    async def list_datasets(self, principal: Principal) -> list[tuple[str, int]]:
        await self._guard.admit(principal, "list-datasets", request_id=secrets.token_hex(8))
        rows = await self._guard.blocking(self._catalog.datasets)
        return [(row.name, row.created_at) for row in rows if row.zone == self._guard.zone]

    async def head_dataset(self, principal: Principal, dataset: DatasetRef) -> None:
        await self._guard.admit(principal, "head-dataset", request_id=secrets.token_hex(8), dataset=dataset.dataset)

    async def dataset_location(self, principal: Principal, dataset: DatasetRef) -> str:
        await self.head_dataset(principal, dataset)
        return self._region

    async def create_dataset(self, principal: Principal, dataset: DatasetRef, request_id: str) -> None:
        """S3 CreateBucket: labelled as the operator set it, restricted by default."""
        await self.register(
            principal, dataset.dataset, zone=self._guard.zone, label=self._created_label, synthetic=False,
            request_id=request_id, interface="s3",
        )  # fmt: skip

    async def register(
        self, principal: Principal, name: str, *, zone: str, label: Literal["personal", "none"], synthetic: bool,
        request_id: str, interface: Literal["s3", "api"] = "api",
    ) -> dict[str, Any]:  # fmt: skip
        """Create a dataset, or a pointer to another zone's. Raises Conflict when the name is taken."""
        DatasetRef(principal.tenant, self._guard.zone, name)
        if zone != self._guard.zone and zone not in self._zones:
            raise BadRequest(
                "InvalidArgument", f"zone: no zone named {zone!r}", rule="zone.unknown",
                remedy=f"one of {', '.join(sorted(self._zones | {self._guard.zone}))}",
            )  # fmt: skip
        admission = await self._guard.admit(
            principal, "create-dataset", request_id=request_id, interface=interface, dataset=name,
            absent_dataset="expected",
        )  # fmt: skip
        if admission.facts.dataset is not None:
            raise Conflict("BucketAlreadyOwnedByYou", f"A dataset named {name} exists already")
        await self._record("dataset", principal, dataset=name, home=zone, label=label, synthetic=synthetic,
                           change="create")  # fmt: skip
        row = await self._guard.blocking(
            self._catalog.create_dataset, name, zone, label, synthetic, admission.decision_id
        )
        await self._guard.blocking(self.keep, row.dataset_id)  # in the store before anybody is told of it
        return self._described(row, None)

    async def delete_dataset(self, principal: Principal, dataset: DatasetRef, request_id: str) -> None:
        admission = await self._guard.admit(
            principal, "delete-dataset", request_id=request_id, dataset=dataset.dataset
        )
        row = _present(admission)
        await self._guard.blocking(self._catalog.drop_dataset, row.dataset_id, admission.decision_id)
        await self._guard.blocking(self.keep, row.dataset_id)
        await self._record("dataset", principal, dataset=row.name, dataset_id=row.dataset_id, change="delete")

    async def set_contract(
        self, principal: Principal, name: str, document: dict[str, Any], request_id: str
    ) -> dict[str, Any]:
        """A new contract version; its plans are declared and queued for every version that lacks them."""
        admission = await self._guard.admit(
            principal, "administer", request_id=request_id, interface="api", dataset=name
        )
        row = _present(admission)
        contract = check_contract(document, name)
        version = await self._guard.blocking(
            self._catalog.set_contract, row.dataset_id, contract, principal.principal_id, admission.decision_id
        )
        await self._record("contract", principal, dataset=name, dataset_id=row.dataset_id, version=version,
                           columns=[c["name"] for c in contract["columns"]],
                           labels=[c["label"] for c in contract["columns"]])  # fmt: skip
        row = await self._guard.blocking(self._catalog.dataset, name)
        await self.declare_plans(row, contract, admission.decision_id)
        await self._guard.blocking(self.keep, row.dataset_id)
        return self._described(row, contract)

    async def declare_plans(self, row: DatasetRow, contract: dict[str, Any], record: str) -> None:
        """Ask the doctrine which plans this dataset needs, declare them, queue what is not built yet."""
        facts = dataset_input(row, contract, self._guard.facts.zone())
        try:
            plans = await self._guard.doctrine.plans(facts.as_document())
        except DoctrineUnavailable as error:
            raise Unavailable(
                "ServiceUnavailable", "The doctrine gave no plans; no view was declared", rule=error.code,
                remedy="see /v1/doctrine, then write the contract again", retry_after=1,
            ) from error  # fmt: skip
        if row.label == "none":
            return
        for plan in plans:
            await self._guard.blocking(
                self._catalog.declare_plan, row.dataset_id, plan.plan_id, plan.purpose_class, plan.effect,
                row.contract_version, record,
            )  # fmt: skip
        wanted = {(plan.plan_id, plan.purpose_class) for plan in plans} | {(IDENTITY_PLAN, DECLASSIFIED)}
        for old in await self._guard.blocking(self._catalog.plans, row.dataset_id):
            if (old.plan_id, old.purpose_class) not in wanted:
                await self._guard.blocking(
                    self._catalog.retire_plan, row.dataset_id, old.plan_id, old.purpose_class, record
                )
        await self._guard.blocking(self._backfill, row.dataset_id, [plan.plan_id for plan in plans], record)

    def _backfill(self, dataset_id: str, plan_ids: list[str], record: str) -> None:
        for plan_id in dict.fromkeys(plan_ids):
            while missing := self._catalog.versions_without_view(dataset_id, plan_id):
                for version in missing:
                    self._catalog.request_view(version, plan_id, BUILDER_VERSION, record)

    async def describe(self, principal: Principal, name: str, request_id: str) -> dict[str, Any]:
        admission = await self._guard.admit(
            principal, "head-dataset", request_id=request_id, interface="api", dataset=name
        )
        row = _present(admission)
        views = await self._guard.blocking(self._catalog.views, row.dataset_id)
        plans = await self._guard.blocking(self._catalog.plans, row.dataset_id)
        return self._described(row, admission.facts.contract) | {
            "plans": [{"plan_id": p.plan_id, "purpose_class": p.purpose_class, "effect": p.effect} for p in plans],
            "views": view_progress(views),
        }

    async def all(self, principal: Principal, request_id: str) -> list[dict[str, Any]]:
        await self._guard.admit(principal, "list-datasets", request_id=request_id, interface="api")
        rows = await self._guard.blocking(self._catalog.datasets)
        return [self._described(row, None) for row in rows]

    async def create_principal(
        self, principal: Principal, document: dict[str, Any], request_id: str
    ) -> dict[str, Any]:
        """A principal, and a static key for one purpose of it. `purpose` null: no key, an identity provider vouches for
        it (docs/spec/web-identity.md), which is the only way in production."""
        await self._guard.admit(principal, "administer", request_id=request_id, interface="api")
        fields = _principal_fields(document)
        if self._posture != "development" and fields["purpose"] is not None:
            raise Denied("AccessDenied", "Static keys are made in a development posture only",
                         rule="principal.posture",
                         remedy="send purpose null, and map an identity provider's subject to the name")  # fmt: skip
        await self._record(
            "principal", principal, name_hash=self._guard.recorder.principal(fields["name"]),
            principal_kind=fields["kind"], roles=fields["roles"], jurisdiction=fields["jurisdiction"],
        )  # fmt: skip
        record = secrets.token_hex(16)
        row = await self._guard.blocking(
            self._catalog.create_principal, fields["name"], fields["kind"], fields["roles"], fields["jurisdiction"],
            fields["purposes"], record,
        )  # fmt: skip
        if fields["purpose"] is None:
            return {"principal_id": row.principal_id}
        access_key_id = "DSTA" + secrets.token_hex(8).upper()
        await self._guard.blocking(
            self._catalog.create_credential, access_key_id, row.principal_id, fields["purpose"], record
        )
        return {
            "principal_id": row.principal_id,
            "access_key_id": access_key_id,
            "secret_access_key": static_secret(self._static_key, access_key_id),
        }

    async def declassify(
        self, principal: Principal, *, dataset: str, key: str, name: str, reason: str, request_id: str
    ) -> dict[str, Any]:
        """A named declassification of one object: relabel it and build its unchanged rendering in the view class."""
        if not name.strip() or not reason.strip():
            raise BadRequest("InvalidArgument", "name and reason: a declassification is named and gives its reason",
                             remedy="send both, in words the auditor will read")  # fmt: skip
        admission = await self._guard.admit(
            principal, "declassify", request_id=request_id, interface="api", dataset=dataset, key=key
        )
        row, version = _present(admission), admission.facts.version
        if version is None:
            raise NotFound("NoSuchKey", "No object of that key is here", decision_id=admission.decision_id)
        await self._record(
            "declassification", principal, dataset=dataset, dataset_id=row.dataset_id, version=version.version_id,
            name=name, reason=reason, intent=admission.decision_id,
        )  # fmt: skip
        await self._guard.blocking(
            self._catalog.declare_plan, row.dataset_id, IDENTITY_PLAN, DECLASSIFIED, IDENTITY_EFFECT,
            row.contract_version, admission.decision_id,
        )  # fmt: skip
        await self._guard.blocking(self.keep, row.dataset_id)
        known = await self._guard.blocking(self._catalog.view, version.version_id, IDENTITY_PLAN)
        await self._guard.blocking(
            self._vault.relabel, version, "none", grant_of(principal, admission), admission.decision_id,
            views=[NewView(IDENTITY_PLAN, BUILDER_VERSION)] if known is None else [],
        )  # fmt: skip
        return {"dataset": dataset, "key": key, "version_id": version.version_id, "label": "none", "name": name,
                "decision_id": admission.decision_id}  # fmt: skip

    def _described(self, row: DatasetRow, contract: dict[str, Any] | None) -> dict[str, Any]:
        fields = asdict(row)
        shown = {n: fields[n] for n in ("dataset_id", "name", "zone", "label", "synthetic", "contract_version")}
        return shown | {"contract": contract}

    async def _record(self, kind: str, principal: Principal, **fields: Any) -> None:
        recorder = self._guard.recorder
        await self._guard.append(
            recorder.event(kind, self._guard.clock(), principal=recorder.principal(principal.principal_id), **fields)
        )


def view_progress(views: Sequence[ViewRow]) -> list[dict[str, Any]]:
    return [
        {"view_id": v.view_id, "version_id": v.version_id, "plan_id": v.plan_id, "state": v.state,
         "progress": v.progress, "reason": v.reason, "size": v.size}
        for v in views
    ]  # fmt: skip


def _present(admission: Admission) -> DatasetRow:
    row = admission.facts.dataset
    if row is None:
        raise NotFound("NoSuchBucket", "No dataset of that name is here for you", decision_id=admission.decision_id)
    return row


def _principal_fields(document: dict[str, Any]) -> dict[str, Any]:
    """Closed and typed; each refusal names its field."""
    wanted = {"name", "kind", "roles", "jurisdiction", "purposes", "purpose"}
    if set(document) != wanted:
        raise BadRequest("InvalidArgument", f"a principal has exactly the fields {', '.join(sorted(wanted))}")
    keyed = () if document["purpose"] is None else ("purpose",)
    for field in ("name", "kind", "jurisdiction", *keyed):
        if not isinstance(document[field], str) or not 0 < len(document[field]) <= 200:
            raise BadRequest("InvalidArgument", f"{field}: a string of 1 to 200 characters")
        if not document[field].isprintable():  # half a surrogate pair is not: it has no UTF-8
            raise BadRequest("InvalidArgument", f"{field}: characters that can be printed")
    for field in ("roles", "purposes"):
        if not isinstance(document[field], list) or not all(isinstance(item, str) for item in document[field]):
            raise BadRequest("InvalidArgument", f"{field}: a list of strings")
    if document["kind"] not in KINDS:
        raise BadRequest("InvalidArgument", f"kind: one of {', '.join(sorted(KINDS))}")
    if not set(document["roles"]) <= ROLES:
        raise BadRequest("InvalidArgument", f"roles: among {', '.join(sorted(ROLES))}")
    if keyed and document["purpose"] not in document["purposes"]:
        raise BadRequest("InvalidArgument", "purpose: must be one of purposes")
    return document
