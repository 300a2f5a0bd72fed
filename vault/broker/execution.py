"""What is done about keys once it was ordered: each step idempotent, each effect in the ledger before and after.

    rotate   a new epoch key, then one transaction: it is active, the one before retired
    rewrap   groups of older epochs, in batches, under the active one
    destroy  epochs on which nothing hangs: scheduled with the provider, destroyed when the time has come
    shred    planned → rotated → closed → left → rewrapped → erased → destroyed          (docs/spec/keys.md §9)

A step's work is repeated until the row says that it was done, so a crash anywhere costs only the repetition. Of two
that execute one request, the loser of a step finds a row that changed and stops.
"""

import hashlib
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from vault.broker import key_requests as states
from vault.broker.key_requests import RequestFacts, RequestSeal
from vault.broker.orders import DESTROY, DISABLE, ENABLE, REWRAP, ROTATE, SHRED, Order, parse_order
from vault.broker.ports import Clock, KeyCatalog, RecordRefusal
from vault.errors import Conflict, NotFound
from vault.keys.hierarchy import KeyRing, KeyScope
from vault.keys.provider import Destruction, EpochState, KeyClass
from vault.keys.rewrap import Rewrapper

STEP_MS = 800  # a step's answer is waited for 2 s
_AT_ONCE = frozenset({ROTATE, DISABLE, ENABLE})
_OPEN_STATES = (states.APPROVED, states.RUNNING, states.WAITING)


@dataclass(frozen=True, slots=True)
class ExecutionParts:
    """`destroy_days`: between approval and destruction, 0 (development) or 7 to 30."""

    tenant: str
    zone: str
    ring: KeyRing
    catalog: KeyCatalog
    seal: RequestSeal
    record: RecordRefusal
    clock: Clock
    destroy_days: int


class Execution:
    """Does what orders say. The provider is reached through the ring, under the credential of the order's class."""

    def __init__(self, parts: ExecutionParts) -> None:
        self._parts = parts
        self._ring = parts.ring
        self._catalog = parts.catalog
        self._clock = parts.clock
        self._rewrapper = Rewrapper(parts.ring, parts.catalog)
        self._shred_steps: dict[str, Callable[[RequestFacts, Order], RequestFacts]] = {
            "": self._plan, "planned": self._rotate_for, "rotated": self._close, "closed": self._leave,
            "left": self._rewrap_rest, "rewrapped": self._erase, "erased": self._destroy_old,
        }  # fmt: skip

    def at_once(self, row: RequestFacts, order: Order) -> RequestFacts:
        """Rotation, disabling, enabling: one or few provider calls, done before the answer."""
        if row.state != states.APPROVED or order.action not in _AT_ONCE:
            return row
        scope = self._scope(order, order.key_class or "")
        result = self._rotate(row, scope) if order.action == ROTATE else self._switch(row, order, scope)
        return self._change(row, state=states.DONE, result=result)

    def step(self, request_id: str, *, recorded: bool = False) -> RequestFacts:
        """Go on with an approved request for at most about a second. Refused("key.request-…"), Conflict, Unavailable:
        nothing is lost, the next call goes on where this one stopped.

        A shredding stops before the old keys are destroyed, until the caller says that it has `recorded` in the store
        what was moved: from then on the old records open nothing.
        """
        row: RequestFacts | None = self._catalog.find_key_request(request_id)
        if row is None or row.request_id != request_id:
            raise NotFound("key.request")
        self._parts.seal.check(row)
        order = parse_order(row.document)
        if row.state not in _OPEN_STATES or self._clock() < row.execute_at:
            return row
        if any(
            other.dataset_id == row.dataset_id and other.request_id != request_id
            for other in self._catalog.key_requests_in([states.RUNNING])
        ):
            raise Conflict("key.busy", "another order about this dataset is being executed")
        if order.action in _AT_ONCE:
            return self.at_once(row, order)
        until = self._clock() + STEP_MS
        while row.state in _OPEN_STATES and self._clock() >= row.execute_at and (recorded or row.step != "erased"):
            row = self.next_step(row, order)
            if self._clock() >= until:
                break
        return row

    def cancelled(self, row: RequestFacts, order: Order) -> RequestFacts:
        """What is irrevocable is not cancelled: a shredding that has begun, a key that is gone."""
        waits = row.state in {states.PENDING, states.APPROVED, states.WAITING}
        if not waits and not (row.state == states.RUNNING and order.action == REWRAP):
            raise Conflict("key.request-state", f"the request is {row.state}")
        if order.action == SHRED and row.state == states.WAITING:
            raise Conflict("key.request-state", "the keys of a shredding are gone")
        if row.state == states.WAITING:
            self._effect(row, "before", order.epochs, "cancel")
            scope = self._scope(order, order.key_class or "")
            provider = self._ring.provider(scope)
            for epoch_id in order.epochs:
                provider.cancel_destruction(epoch_id)
                provider.enable(epoch_id)
                self._catalog.set_epoch_state(epoch_id, "retired")
        done = self._change(row, state=states.CANCELLED)
        self._effect(done, "after", order.epochs, "cancel")
        return done

    def next_step(self, row: RequestFacts, order: Order) -> RequestFacts:
        """One piece of work of a checked row; the same row where the step has more to do."""
        if order.action == REWRAP:
            return self._rewrap(row, order)
        if order.action == DESTROY:
            return self._destroy(row, order)
        if row.state == states.WAITING:
            return self._destroy_old(row, order)
        return self._shred_steps[row.step](row, order)

    # --- rotation, disabling

    def _rotate(self, row: RequestFacts, scope: KeyScope) -> dict[str, Any]:
        epoch_id = epoch_name(row.request_id, scope.key_class)
        self._effect(row, "before", [epoch_id], ROTATE)
        self._new_epoch(scope, epoch_id)
        self._effect(row, "after", [epoch_id], ROTATE)
        return {"epoch_id": epoch_id}

    def _new_epoch(self, scope: KeyScope, epoch_id: str) -> None:
        provider = self._ring.provider(scope)
        if self._catalog.find_epoch(epoch_id) is None and provider.status(epoch_id).state is EpochState.UNKNOWN:
            provider.create_epoch(epoch_id, KeyClass(scope.key_class))
        self._catalog.rotate_epoch(epoch_id=epoch_id, dataset_id=scope.dataset_id, key_class=scope.key_class)
        self._ring.forget()

    def _switch(self, row: RequestFacts, order: Order, scope: KeyScope) -> dict[str, Any]:
        provider, done = self._ring.provider(scope), {}
        self._effect(row, "before", order.epochs, order.action)
        for epoch_id in order.epochs:
            epoch = self._catalog.find_epoch(epoch_id)
            if epoch is None or epoch.state in {"pending-destruction", "destroyed"}:
                raise Conflict("key.state", f"{epoch_id} is {'unknown' if epoch is None else epoch.state}")
            if order.action == DISABLE:
                provider.disable(epoch_id)
                done[epoch_id] = "disabled"
            else:
                provider.enable(epoch_id)
                done[epoch_id] = epoch.state if epoch.state != "disabled" else self._state_enabled(order, epoch_id)
            self._catalog.set_epoch_state(epoch_id, done[epoch_id])
        self._ring.forget()
        self._effect(row, "after", order.epochs, order.action)
        return {"epochs": done}

    def _state_enabled(self, order: Order, epoch_id: str) -> str:
        """Active again if it was: the newest of its class, and none took its place."""
        of_class = [each for each in self._catalog.epochs(order.dataset_id) if each.key_class == order.key_class]
        newest = max(of_class, key=lambda each: each.epoch)
        none_active = all(each.state != "active" for each in of_class)
        return "active" if newest.epoch_id == epoch_id and none_active else "retired"

    # --- re-wrapping

    def _rewrap(self, row: RequestFacts, order: Order) -> RequestFacts:
        scope = self._scope(order, order.key_class or "")
        if row.state == states.APPROVED:
            active = self._catalog.active_epoch(order.dataset_id, scope.key_class)
            if active is None:
                raise Conflict("key.disabled", "no epoch is active: rotate first")
            self._effect(row, "before", [active.epoch_id], REWRAP)
            return self._change(row, state=states.RUNNING, step="rewrap", plan={"epoch": active.epoch_id})
        epoch_id = str(row.plan["epoch"])
        if self._rewrapper.groups(scope, epoch_id):
            self._progress(row, self._left(scope, epoch_id))
            return row
        self._effect(row, "after", [epoch_id], REWRAP)
        return self._change(row, state=states.DONE, result={"epoch_id": epoch_id})

    # --- destruction

    def _destroy(self, row: RequestFacts, order: Order) -> RequestFacts:
        scope = self._scope(order, order.key_class or "")
        for epoch_id in order.epochs:
            epoch = self._catalog.find_epoch(epoch_id)
            if epoch is None or epoch.state == "active":
                raise Conflict("key.active", "new objects go to this epoch")
        days = self._parts.destroy_days
        if row.state != states.WAITING and days:
            self._effect(row, "before", order.epochs, "schedule")
            provider, until = self._ring.provider(scope), 0
            for epoch_id in order.epochs:
                self._catalog.set_epoch_state(epoch_id, "pending-destruction", unused=True)
                made = provider.schedule_destruction(epoch_id, days, self._clock())
                until = max(until, self._noted(epoch_id, made).get("until") or 0)
            self._ring.forget()
            self._effect(row, "after", order.epochs, "schedule")
            return self._change(row, state=states.WAITING, step="scheduled", execute_at=until)
        return self._destroyed(row, scope, order.epochs)

    def _destroyed(self, row: RequestFacts, scope: KeyScope, epochs: Iterable[str]) -> RequestFacts:
        """Order the destruction of every one; done when the provider says that all are gone."""
        named = list(epochs)
        self._effect(row, "before", named, DESTROY)
        said = {epoch_id: self._destroy_one(scope, epoch_id) for epoch_id in named}
        return self._finished(row, said, {})

    def _destroy_one(self, scope: KeyScope, epoch_id: str) -> dict[str, Any]:
        provider = self._ring.provider(scope)
        known = self._catalog.find_epoch(epoch_id)
        due = None if known is None else known.destroy_at
        self._catalog.set_epoch_state(epoch_id, "pending-destruction", destroy_at=due, unused=True)
        try:
            made = provider.destroy(epoch_id)
        except NotFound:
            # A KMS forgets what it deleted: believed only of a key that it had taken to be deleted by now.
            if due is None or self._clock() < due:
                raise
            made = Destruction("destroyed")
        self._ring.forget()
        return self._noted(epoch_id, made)

    def _noted(self, epoch_id: str, made: Destruction) -> dict[str, Any]:
        if made.state == "destroyed":
            self._catalog.set_epoch_state(epoch_id, "destroyed")
            return {"state": "destroyed", "until": None}
        self._catalog.set_epoch_state(epoch_id, "pending-destruction", destroy_at=made.until_ms)
        return {"state": "pending", "until": made.until_ms}

    def _finished(self, row: RequestFacts, said: Mapping[str, Any], more: Mapping[str, Any]) -> RequestFacts:
        result = {**dict(row.result), **more, "epochs": dict(said)}
        self._effect(row, "after", list(said), DESTROY, result=said)
        pending = [each["until"] for each in said.values() if each["state"] == "pending"]
        if not pending:
            return self._change(row, state=states.DONE, step="destroyed", result=result)
        at = max(each or 0 for each in pending)
        again = max(at, self._clock() + 1)
        return self._change(row, state=states.WAITING, step="destroyed", result=result, execute_at=again)

    # --- shredding: the steps, in order

    def _plan(self, row: RequestFacts, order: Order) -> RequestFacts:
        if copies := self._catalog.sharing(list(order.versions)):
            # Made since it was ordered, or by somebody who did not ask: the content would live on under another name.
            raise Conflict("key.shared-content", ", ".join(copies[:5]))
        if any(self._catalog.version(order.dataset_id, each) for each in order.versions):
            # The caller takes them away first; the hash says of which order that is true.
            raise Conflict("key.not-withdrawn", order.sha256)
        subjects = [*order.versions, *self._catalog.views_of_versions(order.dataset_id, list(order.versions))]
        groups: dict[str, set[str]] = {}
        for wrap in self._catalog.wraps_for(order.dataset_id, subjects):
            groups.setdefault(wrap.key_class, set()).add(wrap.group_id)
        classes = {
            key_class: {"groups": sorted(found), "epoch": epoch_name(row.request_id, key_class), "old": []}
            for key_class, found in sorted(groups.items())
        }
        every = [group_id for found in classes.values() for group_id in found["groups"]]
        self._effect(row, "before", [], SHRED, groups=len(every), subjects=len(subjects))
        return self._change(row, state=states.RUNNING, step="planned", plan={"classes": classes})

    def _rotate_for(self, row: RequestFacts, order: Order) -> RequestFacts:
        classes = {name: dict(each) for name, each in row.plan["classes"].items()}
        for name, each in classes.items():
            self._new_epoch(self._scope(order, name), each["epoch"])
            # Every older epoch: a backup may hold a group as any of them wrapped it.
            each["old"] = sorted(
                epoch.epoch_id for epoch in self._catalog.epochs(order.dataset_id)
                if epoch.key_class == name and epoch.epoch_id != each["epoch"] and epoch.state != "destroyed"
            )  # fmt: skip
        return self._change(row, step="rotated", plan={"classes": classes})

    def _close(self, row: RequestFacts, _order: Order) -> RequestFacts:
        for each in row.plan["classes"].values():
            self._catalog.close_groups(each["groups"])
        self._ring.forget()
        return self._change(row, step="closed")

    def _leave(self, row: RequestFacts, order: Order) -> RequestFacts:
        leaving = frozenset(order.versions) | frozenset(
            self._catalog.views_of_versions(order.dataset_id, list(order.versions))
        )
        for name, each in row.plan["classes"].items():
            for group_id in each["groups"]:
                if self._rewrapper.members(self._scope(order, name), group_id, leaving):
                    return row
        return self._change(row, step="left")

    def _rewrap_rest(self, row: RequestFacts, order: Order) -> RequestFacts:
        for name, each in row.plan["classes"].items():
            scope = self._scope(order, name)
            if self._rewrapper.groups(scope, each["epoch"]):
                self._progress(row, self._left(scope, each["epoch"]))
                return row
        return self._change(row, step="rewrapped")

    def _erase(self, row: RequestFacts, _order: Order) -> RequestFacts:
        for each in row.plan["classes"].values():
            self._catalog.erase_groups(each["groups"])
        self._ring.forget()
        return self._change(row, step="erased")

    def _destroy_old(self, row: RequestFacts, order: Order) -> RequestFacts:
        classes = row.plan["classes"]
        self._effect(row, "before", [epoch for each in classes.values() for epoch in each["old"]], DESTROY)
        said = {}
        for name, each in classes.items():
            for epoch_id in each["old"]:
                said[epoch_id] = self._destroy_one(self._scope(order, name), epoch_id)
        groups = sorted(group for each in classes.values() for group in each["groups"])
        return self._finished(row, said, {"groups": groups})

    # ---

    def _scope(self, order: Order, key_class: str) -> KeyScope:
        return KeyScope(self._parts.tenant, self._parts.zone, order.dataset_id, key_class)

    def _left(self, scope: KeyScope, epoch_id: str) -> dict[str, Any]:
        return {"groups_left": self._catalog.count_groups_elsewhere(scope.dataset_id, scope.key_class, epoch_id)}

    def _progress(self, row: RequestFacts, progress: Mapping[str, Any]) -> None:
        self._catalog.key_progress(row.request_id, progress)

    def _change(self, row: RequestFacts, **changes: Any) -> RequestFacts:
        changed: RequestFacts = replace(row, **changes)  # type: ignore[type-var]
        kept: RequestFacts = self._catalog.change_key_request(row, self._parts.seal.sealed(changed))
        return kept

    def _effect(
        self, row: RequestFacts, phase: str, epochs: Iterable[str], what: str, *,
        result: Mapping[str, Any] | None = None, **more: int,
    ) -> None:  # fmt: skip
        """In the ledger, or it does not happen: raises Unavailable."""
        now = self._clock()
        self._parts.record({
            "v": 1, "type": "key-effect", "id": secrets.token_hex(16),
            "at": datetime.fromtimestamp(now / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now % 1000:03d}Z",
            "zone": self._parts.zone, "tenant": self._parts.tenant, "request": row.request_id, "action": row.action,
            "effect": what, "phase": phase, "dataset_id": row.dataset_id, "epochs": list(epochs),
            "states": [f"{name}:{said['state']}:{said['until'] or 0}" for name, said in (result or {}).items()],
            **more,
        })  # fmt: skip


def epoch_name(request_id: str, key_class: str) -> str:
    """The provider's name of the epoch a request makes: the same at every repetition, so that a crash leaves one."""
    return hashlib.sha256(f"demesne/epoch/1\x00{request_id}\x00{key_class}".encode("ascii")).hexdigest()[:32]


