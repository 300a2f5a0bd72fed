"""Keys as people ask about them: what there is, what hangs on what, and orders about them.

Every call is decided by the doctrine (`keys`, `approve-keys`) and recorded; an order is a ledger entry with the hash of
exactly what is asked, before the broker hears of it. The broker checks both entries itself and carries the order out;
nothing here touches a key.
"""

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gateway.errors import BadRequest, NotFound
from gateway.guard import Admission, Guard
from gateway.identity.principal import Principal
from gateway.record import rfc3339
from lineage.ledger.entry import encode_entry
from vault.broker.orders import MAX_VERSIONS, SHRED, TWO_PERSONS, order_sha256
from vault.broker.types import KeyOffice, KeyOrderState, Promised
from vault.catalog.catalog import Catalog
from vault.catalog.key_request_rows import KeyRequestRow
from vault.catalog.rows import DatasetRow, EpochRow

ORDER_LIFE_MS = 86_400_000  # how long somebody has to approve
PAGE = 1000


class KeyOrders:
    """Reads rows, gives orders. One per front worker."""

    def __init__(self, guard: Guard, catalog: Catalog, office: KeyOffice, *, tenant: str) -> None:
        self._guard = guard
        self._catalog = catalog
        self._office = office
        self._tenant = tenant

    async def epochs(self, principal: Principal, dataset: str | None, request_id: str) -> list[dict[str, Any]]:
        """Every epoch of one dataset, or of all, with what hangs on it."""
        row = None
        if dataset is not None:
            row = _present(await self._admit(principal, "keys", dataset, request_id))
        else:
            await self._admit(principal, "keys", None, request_id)
        every = [row] if row else await self._guard.blocking(self._catalog.datasets)
        found: list[dict[str, Any]] = []
        for each in every:
            if each.zone == self._guard.zone:
                found += await self._guard.blocking(self._usage, each)
        return found

    async def requests(self, principal: Principal, dataset: str, request_id: str) -> list[dict[str, Any]]:
        """Orders about one dataset's keys, newest first."""
        row = _present(await self._admit(principal, "keys", dataset, request_id))
        found = await self._guard.blocking(self._catalog.key_requests, row.dataset_id)
        return [self._described(each) for each in found]

    async def request(self, principal: Principal, order_id: str, request_id: str) -> dict[str, Any]:
        """One order: what it says, how far it is, and its certificate where there is one."""
        row = await self._row(order_id)
        await self._admit(principal, "keys", str(row.document["dataset"]), request_id)
        certificate = await self._guard.blocking(self._catalog.find_erasure, order_id)
        shown = self._described(row)
        if certificate is not None:
            shown["certificate"] = certificate.certificate
            shown["signature"] = certificate.signature.hex()
        return shown

    async def order(
        self, principal: Principal, dataset: str, action: str, *, key_class: str | None, epochs: Sequence[str],
        versions: Sequence[str], keys: Sequence[str], prefix: str | None, reason: str, request_id: str,
    ) -> dict[str, Any]:  # fmt: skip
        """Give an order. A shredding names versions, keys or a prefix; all versions of these are named in it."""
        admission = await self._admit(principal, "keys", dataset, request_id)
        row = _present(admission)
        if action == SHRED:
            key_class = None
            versions = await self._guard.blocking(self._versions, row, versions, keys, prefix)
        now = self._guard.clock()
        document: dict[str, Any] = {
            "v": 1, "action": action, "tenant": self._tenant, "zone": self._guard.zone, "dataset_id": row.dataset_id,
            "dataset": row.name, "key_class": key_class, "epochs": sorted(set(epochs)),
            "versions": sorted(set(versions)), "reason": reason, "nonce": secrets.token_hex(16),
            "expires_at": now + ORDER_LIFE_MS,
        }  # fmt: skip
        sha256 = order_sha256(document)
        said = self._guard.recorder.event(
            "key-request", now, action=action, dataset_id=row.dataset_id, dataset=row.name, key_class=key_class,
            epochs=document["epochs"], versions=len(document["versions"]), request_sha256=sha256,
            principal=self._guard.recorder.principal(principal.principal_id), intent=admission.decision_id,
            expires_at=document["expires_at"], reason=reason,
        )  # fmt: skip
        promised = await self._promised(said)
        state = await self._guard.blocking(self._office.key_order, document, _decided(admission), promised)
        return await self._told(state)

    async def approve(self, principal: Principal, order_id: str, sha256: str, request_id: str) -> dict[str, Any]:
        """Agree, as a second person, to exactly the order of this hash."""
        return await self._about("approve-keys", "key-approval", principal, order_id, sha256, request_id)

    async def cancel(self, principal: Principal, order_id: str, sha256: str, request_id: str) -> dict[str, Any]:
        """Before it is carried out; scheduled destructions are taken back."""
        return await self._about("keys", "key-cancel", principal, order_id, sha256, request_id)

    async def _about(
        self, action: Literal["keys", "approve-keys"], kind: str, principal: Principal, order_id: str, sha256: str,
        request_id: str,
    ) -> dict[str, Any]:  # fmt: skip
        row = await self._row(order_id)
        admission = await self._admit(principal, action, str(row.document["dataset"]), request_id)
        if _present(admission).dataset_id != row.dataset_id:
            raise _unknown_order()
        said = self._guard.recorder.event(
            kind, self._guard.clock(), request=order_id, request_sha256=sha256, action=row.action,
            dataset_id=row.dataset_id, principal=self._guard.recorder.principal(principal.principal_id),
            intent=admission.decision_id,
        )  # fmt: skip
        promised = await self._promised(said)
        call = self._office.key_approve if kind == "key-approval" else self._office.key_cancel
        state = await self._guard.blocking(call, order_id, sha256, _decided(admission), promised)
        return await self._told(state)

    async def _told(self, state: KeyOrderState) -> dict[str, Any]:
        row = await self._guard.blocking(self._catalog.find_key_request, state.request_id)
        if row is None:
            raise _unknown_order()
        return self._described(row)

    async def _row(self, order_id: str) -> KeyRequestRow:
        row = await self._guard.blocking(self._catalog.find_key_request, order_id)
        if row is None:
            raise _unknown_order()
        return row

    async def _admit(
        self, principal: Principal, action: Literal["keys", "approve-keys"], dataset: str | None, request_id: str
    ) -> Admission:
        return await self._guard.admit(
            principal, action, request_id=request_id, interface="api", dataset=dataset
        )

    async def _promised(self, entry: dict[str, Any]) -> Promised:
        promise = await self._guard.append(entry)
        return Promised(encode_entry(entry), promise.encode())

    def _usage(self, dataset: DatasetRow) -> list[dict[str, Any]]:
        return [
            {"dataset": dataset.name, "groups": each.groups, "objects": each.objects, **_epoch(each.epoch)}
            for each in self._catalog.usage(dataset.dataset_id)
        ]

    def _versions(
        self, dataset: DatasetRow, versions: Sequence[str], keys: Sequence[str], prefix: str | None
    ) -> list[str]:
        """Living versions by key or prefix; by id deleted ones too: what was deleted still lies in backups."""
        found = set(versions)
        if keys or prefix is not None:
            for row in self._catalog.versions_under(dataset.dataset_id, prefix, keys, MAX_VERSIONS + 1):
                found.add(row.version_id)
        if not found:
            raise BadRequest("InvalidArgument", "versions, keys or prefix: nothing here is named by them",
                             remedy="list the dataset, and name what is to be erased")  # fmt: skip
        if len(found) > MAX_VERSIONS:
            raise BadRequest("InvalidArgument", f"one order erases at most {MAX_VERSIONS} versions",
                             remedy="give several orders, by narrower prefixes")  # fmt: skip
        shared = self._catalog.sharing(sorted(found))
        if shared:
            raise BadRequest(
                "InvalidArgument",
                f"{len(shared)} other versions hold the same content (copies): {', '.join(shared[:5])}",
                rule="key.shared-content", remedy="name the copies too: they open with the same object key",
            )  # fmt: skip
        return sorted(found)

    def _described(self, row: KeyRequestRow) -> dict[str, Any]:
        expired = row.state == "pending-approval" and self._guard.clock() >= row.expires_at
        document: Mapping[str, Any] = row.document
        return {
            "request_id": row.request_id, "action": row.action, "dataset": document["dataset"],
            "state": "expired" if expired else row.state, "step": row.step, "key_class": document["key_class"],
            "epochs": list(document["epochs"]), "versions": list(document["versions"]), "reason": document["reason"],
            "request_sha256": row.request_sha256, "requested_by": row.requested_by, "approved_by": row.approved_by,
            "needs_approval": row.action in TWO_PERSONS, "created_at": rfc3339(row.created_at),
            "expires_at": rfc3339(row.expires_at), "execute_at": rfc3339(row.execute_at) if row.execute_at else None,
            "result": dict(row.result), "progress": dict(row.progress),
        }  # fmt: skip


def _epoch(row: EpochRow) -> dict[str, Any]:
    return {
        "epoch_id": row.epoch_id, "key_class": row.key_class, "epoch": row.epoch, "state": row.state,
        "created_at": rfc3339(row.created_at), "state_since": rfc3339(row.state_at) if row.state_at else None,
        "destroy_at": rfc3339(row.destroy_at) if row.destroy_at else None,
    }  # fmt: skip


def _decided(admission: Admission) -> Promised:
    return Promised(admission.entry, admission.promise.encode())


def _present(admission: Admission) -> DatasetRow:
    row = admission.facts.dataset
    if row is None:
        raise NotFound("NoSuchBucket", "No dataset of that name is here for you", decision_id=admission.decision_id)
    return row


def _unknown_order() -> NotFound:
    return NotFound("NoSuchKeyRequest", "No order of that id is here", remedy="`demesne key requests DATASET`")
