"""Two custodians, a keeper and the calls between them, over one `GatewayWorld`.

    custody = KeyCustody(world)
    order = custody.order("rotate", key_class="raw")        # by the first custodian
    custody.approve(order)                                   # by the second
    custody.carry_out()                                      # what the jobs process would do
"""

import json
from collections.abc import Callable
from typing import Any

from gateway.errors import GatewayError
from gateway.identity.principal import Principal
from gateway.jobs.keeper import Keeper
from gateway.keys import KeyOrders
from gateway.record import Recorder
from tests.fakes.gateway_world import TENANT, ZONE, GatewayWorld
from vault.broker.types import KeyOrderState


class KeptBroker:
    """The broker as the keeper calls it; `before` and `after` may raise, as a process dies between two calls."""

    def __init__(self, world: GatewayWorld) -> None:
        self._world = world
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def key_step(self, request_id: str, *, recorded: bool = False) -> KeyOrderState:
        self.before()
        answer = self._world.broker.key_step(request_id, recorded=recorded)
        self.after()
        return answer


class KeyCustody:
    def __init__(self, world: GatewayWorld) -> None:
        self.world = world
        self.first = world.person("custodian-1", "custody", "custodian")
        self.second = world.person("custodian-2", "custody", "custodian")
        self.keys = KeyOrders(world.guard, world.catalog, world.broker, tenant=TENANT)
        self.kept = KeptBroker(world)
        self.keeper = self.new_keeper()

    def new_keeper(self) -> Keeper:
        """Another jobs process over the same rows."""
        world = self.world
        recorder = Recorder(TENANT, ZONE, world.hello.record_hash_key)

        def append(entry: dict[str, Any]) -> int:
            world.ledger.record(entry)
            return len(world.ledger.entries) - 1

        return Keeper(
            world.vault, world.catalog, self.kept, append, recorder, world.signer.sign, world.clock, ZONE
        )

    def order(
        self, action: str, *, by: Principal | None = None, dataset: str = "claims", **what: Any
    ) -> dict[str, Any]:
        asked: dict[str, Any] = {
            "key_class": None, "epochs": [], "versions": [], "keys": [], "prefix": None, "reason": "a test"
        }  # fmt: skip
        return self.world.run(
            self.keys.order(by or self.first, dataset, action, **(asked | what), request_id="req")
        )

    def approve(
        self, order: dict[str, Any], *, by: Principal | None = None, sha256: str | None = None
    ) -> dict[str, Any]:
        return self.world.run(self.keys.approve(
            by or self.second, order["request_id"], sha256 or order["request_sha256"], "req"
        ))  # fmt: skip

    def cancel(self, order: dict[str, Any], *, by: Principal | None = None) -> dict[str, Any]:
        return self.world.run(
            self.keys.cancel(by or self.first, order["request_id"], order["request_sha256"], "req")
        )

    def show(self, order: dict[str, Any]) -> dict[str, Any]:
        return self.world.run(self.keys.request(self.first, order["request_id"], "req"))

    def epochs(self, dataset: str = "claims") -> list[dict[str, Any]]:
        return self.world.run(self.keys.epochs(self.first, dataset, "req"))

    def carry_out(self) -> None:
        """A round of the keeper, and what it left for later."""
        self.keeper()

    def shred(self, *keys: str) -> dict[str, Any]:
        """Ordered, approved and done."""
        order = self.order("shred", keys=list(keys))
        self.approve(order)
        self.carry_out()
        return self.show(order)

    def refused(self, call: Callable[[], Any]) -> GatewayError:
        try:
            found = call()
        except GatewayError as error:
            return error
        raise AssertionError(f"answered {found!r}")


def certificate(shown: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(shown["certificate"])
    return found
