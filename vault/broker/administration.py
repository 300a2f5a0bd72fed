"""Orders about keys as front workers bring them: checked, recorded, written down. Two of them need two persons.

    1  the decision: one canonical ledger intent, promised at most 30 s ago, Allow, of the action that this takes, about
       this dataset of this tenant and zone
    2  the order or approval itself: a second promised entry, of the same person, that names this decision and the hash
       of the exact order
    3  approval only: the order is pending, unexpired, unaltered (its hash is computed again), and of another person
    4  what is asked can be done now: the epochs are this dataset's, and nothing hangs on one that is to be destroyed

Nothing here destroys anything: rotation, disabling and enabling happen at once, the rest when the keeper's socket
asks for the next step (`vault.broker.execution`). What a front worker that was taken over could still do is in
docs/spec/keys.md §7.
"""

import hmac
from dataclasses import dataclass, replace
from typing import Any

from vault.broker import key_requests as states
from vault.broker.checks import CLOCK_SLACK_MS, PROMISE_MAX_AGE_MS, ReleasePolicy
from vault.broker.entry import KeyIntent, parse_key_entry, parse_key_intent
from vault.broker.execution import Execution
from vault.broker.key_requests import RequestFacts, RequestSeal
from vault.broker.orders import DESTROY, MAX_LIFE_MS, REWRAP, SHRED, TWO_PERSONS, Order, parse_order
from vault.broker.ports import Clock, KeyCatalog, VerifyPromise
from vault.broker.types import Promised
from vault.errors import Conflict, NotFound, Refused, VaultError

KEYS, APPROVE = "keys", "approve-keys"  # actions of the doctrine
_REQUEST = frozenset(
    {
        "action", "dataset_id", "dataset", "key_class", "epochs", "versions", "request_sha256", "principal", "intent",
        "expires_at", "reason",
    }
)  # fmt: skip
_ABOUT = frozenset({"request", "request_sha256", "action", "dataset_id", "principal", "intent"})


@dataclass(frozen=True, slots=True)
class AdministrationParts:
    policy: ReleasePolicy
    catalog: KeyCatalog
    verify_promise: VerifyPromise
    seal: RequestSeal
    execution: Execution
    clock: Clock


class Administration:
    """Takes orders. Raises `Refused`, `Conflict`, `Malformed`; what is refused changes nothing."""

    def __init__(self, parts: AdministrationParts) -> None:
        self._parts = parts
        self._catalog = parts.catalog
        self._clock = parts.clock

    def order(self, document: dict[str, Any], decision: Promised, entry: Promised) -> RequestFacts:
        """A new request; what needs one person only and takes one call is done when this returns."""
        order = parse_order(document)
        intent = self._decided(decision, KEYS, order.tenant, order.zone, order.dataset_id)
        said = self._said(entry, "key-request", _REQUEST, intent)
        expected = {
            "action": order.action, "dataset_id": order.dataset_id, "dataset": order.dataset,
            "key_class": order.key_class, "epochs": list(order.epochs), "versions": len(order.versions),
            "request_sha256": order.sha256, "expires_at": order.expires_at, "reason": order.reason,
        }  # fmt: skip
        if any(said[name] != value for name, value in expected.items()):
            raise Refused("key.order", "the entry is about another order")
        known: RequestFacts | None = self._catalog.find_key_request(said["id"])
        if known is not None:  # sent again: one order, one effect
            self._parts.seal.check(known)
            return self._parts.execution.at_once(known, order)
        now = self._clock()
        if not now < order.expires_at <= now + MAX_LIFE_MS:
            raise Refused("key.request-expired", f"an order lives at most {MAX_LIFE_MS // 86_400_000} days")
        self._check_possible(order)
        two = order.action in TWO_PERSONS
        row = self._catalog.new_key_request(
            request_id=said["id"], dataset_id=order.dataset_id, action=order.action,
            document=dict(order.document), request_sha256=order.sha256,
            state=states.PENDING if two else states.APPROVED, requested_by=intent.principal_hash, approved_by="",
            approval="", created_at=now, expires_at=order.expires_at, execute_at=0, step="", plan={}, result={},
            progress={}, updated_at=now, broker_seal=b"",
        )  # fmt: skip
        kept = self._catalog.add_key_request(self._parts.seal.sealed(row))
        return self._parts.execution.at_once(kept, order)

    def approve(self, request_id: str, sha256: str, decision: Promised, entry: Promised) -> RequestFacts:
        """By somebody else than who asked, of exactly what was asked, in time, once."""
        row = self._request(request_id)
        order = parse_order(row.document)
        intent = self._decided(decision, APPROVE, order.tenant, order.zone, order.dataset_id)
        said = self._about("key-approval", row, sha256, entry, intent)
        if row.state != states.PENDING:
            raise Conflict("key.request-state", f"the request is {row.state}")
        if self._clock() >= row.expires_at:
            raise Refused("key.request-expired", "ask again")
        if hmac.compare_digest(intent.principal_hash.encode(), row.requested_by.encode()):
            raise Refused("key.same-person", "somebody else has to approve")
        self._check_possible(order)
        approved = replace(
            row, state=states.APPROVED, approved_by=intent.principal_hash, approval=said["id"],
            execute_at=self._clock(),
        )  # type: ignore[type-var]  # fmt: skip
        kept: RequestFacts = self._catalog.change_key_request(row, self._parts.seal.sealed(approved))
        return kept

    def cancel(self, request_id: str, sha256: str, decision: Promised, entry: Promised) -> RequestFacts:
        """Any time before it is executed; epochs whose destruction was scheduled come back."""
        row = self._request(request_id)
        order = parse_order(row.document)
        intent = self._decided(decision, KEYS, order.tenant, order.zone, order.dataset_id)
        self._about("key-cancel", row, sha256, entry, intent)
        return self._parts.execution.cancelled(row, order)

    def _request(self, request_id: str) -> RequestFacts:
        row: RequestFacts | None = self._catalog.find_key_request(request_id)
        if row is None:
            raise NotFound("key.request")
        if row.request_id != request_id:
            raise Refused("key.request-seal", "the catalog answered another request")
        self._parts.seal.check(row)
        return row

    def _decided(self, decision: Promised, action: str, tenant: str, zone: str, dataset_id: str) -> KeyIntent:
        intent = parse_key_intent(decision.entry)
        self._check_promise(decision)
        policy = self._parts.policy
        if (tenant, zone) != (policy.tenant, policy.zone):
            raise Refused("broker.place", "another tenant or zone")
        if not intent.allow:
            raise Refused("broker.denied", "the decision was Deny")
        if intent.action != action:
            raise Refused("broker.action", f"takes a decision about {action}")
        if (intent.tenant, intent.zone, intent.dataset_id) != (tenant, zone, dataset_id):
            raise Refused("broker.entry-scope", "the decision is about another tenant, zone or dataset")
        return intent

    def _said(self, entry: Promised, kind: str, fields: frozenset[str], intent: KeyIntent) -> dict[str, Any]:
        said = parse_key_entry(entry.entry, kind, fields)
        self._check_promise(entry)
        if (said["tenant"], said["zone"]) != (intent.tenant, intent.zone):
            raise Refused("broker.entry-scope", "the entry is of another tenant or zone")
        if (said["intent"], said["principal"]) != (intent.entry_id, intent.principal_hash):
            raise Refused("key.entry-decision", "the entry is of another decision or person")
        return said

    def _about(
        self, kind: str, row: RequestFacts, sha256: str, entry: Promised, intent: KeyIntent
    ) -> dict[str, Any]:
        said = self._said(entry, kind, _ABOUT, intent)
        named = (said["request"], said["request_sha256"], said["action"], said["dataset_id"])
        hashes = {sha256, row.request_sha256, parse_order(row.document).sha256}
        if named != (row.request_id, sha256, row.action, row.dataset_id) or len(hashes) != 1:
            raise Refused("key.request-altered", "what is approved is not what was asked")
        return said

    def _check_promise(self, promised: Promised) -> None:
        try:
            facts = self._parts.verify_promise(promised.promise, promised.entry)
        except (VaultError, ValueError) as error:
            raise Refused("broker.promise", "the ledger did not promise this entry") from error
        age = self._clock() - facts.at_ms
        if not -CLOCK_SLACK_MS <= age <= PROMISE_MAX_AGE_MS:
            raise Refused("broker.promise-age", f"{age} ms; at most {PROMISE_MAX_AGE_MS}")

    def _check_possible(self, order: Order) -> None:
        dataset = self._catalog.find_dataset(order.dataset_id)
        if dataset is None or dataset.zone != self._parts.policy.zone or dataset.name != order.dataset:
            raise NotFound("broker.dataset")
        usage = {each.epoch.epoch_id: each for each in self._catalog.usage(order.dataset_id)}
        for epoch_id in order.epochs:
            found = usage.get(epoch_id)
            if found is None or found.epoch.key_class != order.key_class:
                raise NotFound("key.epoch", epoch_id)
            if order.action != DESTROY:
                continue
            if found.epoch.state == "active":
                raise Conflict("key.active", "rotate first: new objects go to this epoch")
            if found.groups:
                raise Conflict(
                    "key.in-use", f"{found.groups} groups with {found.objects} object keys hang on it: rewrap, or shred"
                )
        if order.action in {REWRAP, SHRED} and not usage:
            raise NotFound("key.epoch", "the dataset has no keys yet")
        if order.action == SHRED and not self._catalog.wraps_for(order.dataset_id, list(order.versions)):
            raise NotFound("key.version", "none of these versions has a key here")



