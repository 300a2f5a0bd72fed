"""What stewards change: datasets, contracts and their plans, principals, declassifications."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.decide.doctrine import PLANS
from gateway.decide.engine import EngineTimeout
from gateway.errors import GatewayError
from gateway.identity.tokens import static_secret
from gateway.plans import DECLASSIFIED, IDENTITY_PLAN
from tests.fakes.gateway_world import CSV, GatewayWorld, contract_for
from tests.fakes.ledger import ledger_down
from vault.errors import Refused

PERSON = {
    "name": "eve", "kind": "person", "roles": ["analyst"], "jurisdiction": "de", "purposes": ["analytics"],
    "purpose": "analytics",
}  # fmt: skip


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def register(world: GatewayWorld, name: str, *, by: Any = None, **options: Any) -> Any:
    chosen: dict[str, Any] = {"zone": "de", "label": "personal", "synthetic": False} | options
    return world.registry.register(by or world.steward, name, request_id="r", **chosen)


# --- datasets


def test_a_dataset_is_decided_recorded_and_made(world: GatewayWorld) -> None:
    at = len(world.ledger.entries)
    made = world.run(register(world, "payroll", synthetic=True))
    row = world.dataset_row("payroll")
    assert made == {
        "dataset_id": row.dataset_id, "name": "payroll", "zone": "de", "label": "personal", "synthetic": True,
        "contract_version": 0, "contract": None,
    }  # fmt: skip
    intent, event = world.ledger.entries[at:]
    assert (intent["action"], intent["interface"], event["type"], event["change"]) == (
        "create-dataset", "api", "dataset", "create",
    )  # fmt: skip
    assert row.record == intent["id"]


def test_a_bucket_made_over_s3_is_restricted_and_real(world: GatewayWorld) -> None:
    world.run(world.front.create_dataset(world.steward, world.dataset_ref("by-s3"), "r"))
    row = world.dataset_row("by-s3")
    assert (row.label, row.synthetic, row.zone) == ("personal", False, "de")


def test_a_pointer_to_another_zone(world: GatewayWorld) -> None:
    world.run(register(world, "far-away", zone="fr"))
    assert world.dataset_row("far-away").zone == "fr"
    error = world.refused(register(world, "farther", zone="us"))
    assert (error.status, error.code, error.rule) == (400, "InvalidArgument", "zone.unknown")
    assert "de, fr" in str(error.remedy)
    names = [name for name, _ in world.run(world.front.list_datasets(world.analyst))]
    assert "far-away" not in names


@pytest.mark.parametrize("kind", ["taken", "denied", "ledger"])
def test_a_dataset_that_is_not_made(world: GatewayWorld, kind: str) -> None:
    by = world.analyst if kind == "denied" else world.steward
    name = "claims" if kind == "taken" else "payroll"
    if kind == "ledger":
        world.ledger.fault = ledger_down
    with world.unchanged():
        error = world.refused(register(world, name, by=by))
    assert (error.status, error.code) == {
        "taken": (409, "BucketAlreadyOwnedByYou"), "denied": (403, "AccessDenied"),
        "ledger": (503, "ServiceUnavailable"),
    }[kind]  # fmt: skip
    assert world.entries("dataset") == []


def test_names_that_cannot_be(world: GatewayWorld) -> None:
    at = len(world.ledger.entries)
    for name in ("A", "ab", "a..b", "192.168.0.1", "x" * 64):
        with pytest.raises(Refused):
            world.run(register(world, name))
    assert world.ledger.entries[at:] == []


def test_a_dataset_goes_only_when_it_is_empty(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    with world.unchanged():
        error = world.refused(world.front.delete_dataset(world.steward, world.dataset_ref(), "r"))
    assert (error.status, error.code) == (409, "BucketNotEmpty")
    world.run(world.front.delete(world.steward, world.ref("a.csv"), "r"))
    world.run(world.front.delete_dataset(world.steward, world.dataset_ref(), "r"))
    assert world.entries("dataset")[-1]["change"] == "delete"
    error = world.refused(world.front.head_dataset(world.steward, world.dataset_ref()))
    assert error.code == "NoSuchBucket"


def test_a_denied_delete_deletes_nothing(world: GatewayWorld) -> None:
    for who in (world.analyst, world.trainer):
        with world.unchanged():
            assert world.refused(world.front.delete_dataset(who, world.dataset_ref(), "r")).status == 403


def test_head_location_and_descriptions(world: GatewayWorld) -> None:
    world.run(world.front.head_dataset(world.analyst, world.dataset_ref()))
    assert world.run(world.front.dataset_location(world.analyst, world.dataset_ref())) == "de"
    assert {name for name, _ in world.run(world.front.list_datasets(world.analyst))} == {"claims", "open-data"}
    everything = world.run(world.registry.all(world.steward, "r"))
    assert {row["name"] for row in everything} == {"claims", "open-data"}
    world.put("a.csv", CSV)
    described = world.run(world.registry.describe(world.steward, "claims", "r"))
    assert described["contract"]["owner"] == "claims department"
    assert [plan["purpose_class"] for plan in described["plans"]] == ["analytics"]
    assert [(view["state"], view["progress"]) for view in described["views"]] == [("queued", 0)]


# --- contracts and plans


def plans_of(world: GatewayWorld) -> dict[str, str]:
    return {plan.plan_id: plan.purpose_class for plan in world.catalog.plans(world.dataset.dataset_id)}


def wanted(world: GatewayWorld) -> set[tuple[str, str]]:
    return {(v.version_id, v.plan_id) for v in world.catalog.views(world.dataset.dataset_id) if v.state == "queued"}


def test_a_rewritten_contract_retires_plans_and_builds_what_is_missing(world: GatewayWorld) -> None:
    versions = [world.put(key, CSV).version_id for key in ("a.csv", "b.csv")]
    world.put("picture.png", b"\x89PNG")
    (old,) = plans_of(world)
    for version in ("a.csv", "b.csv"):
        world.build(world.version(version))
    columns = contract_for("claims")["columns"]
    columns[2] = {**columns[2], "label": "pii.note"}
    assert world.contract("claims", columns=columns)["contract_version"] == 2
    (new,) = plans_of(world)
    assert new != old
    assert wanted(world) == {(version, new) for version in versions}
    assert [row[0] for row in world.rows("select kind from job where state = 'queued'")] == ["view"] * 4
    # The old view is there and ready, and no longer what this purpose may see.
    assert world.read(world.analyst, "a.csv").refusal.rule == "view.building"
    world.contract("claims")  # and back: the plan and its views are found again, nothing is built
    assert set(plans_of(world)) == {old}
    assert world.read(world.analyst, "a.csv").error is None


def test_the_same_contract_again_queues_nothing(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    before = wanted(world)
    world.contract("claims")
    assert wanted(world) == before
    assert world.dataset_row().contract_version == 2


def test_a_contract_change_is_on_record_with_its_labels(world: GatewayWorld) -> None:
    entry = world.entries("contract")[-1]
    assert (entry["dataset"], entry["version"], entry["columns"], entry["labels"]) == (
        "claims", 1, ["name", "iban", "amount"], ["pii.name", "pii.iban", "none"],
    )  # fmt: skip


def test_a_doctrine_that_gives_no_plans_leaves_the_object_closed(world: GatewayWorld) -> None:
    world.build(world.put("a.csv", CSV))
    columns = contract_for("claims")["columns"]
    columns[2] = {**columns[2], "label": "pii.note"}
    answer = world.engine.answer

    async def failing(path: str, document: Any) -> Any:
        if path == PLANS:
            raise EngineTimeout("late")
        return answer(path, document)

    world.engine.evaluate = failing  # type: ignore[method-assign]
    error = world.refused(
        world.registry.set_contract(world.steward, "claims", contract_for("claims", columns=columns), "r")
    )
    assert (error.status, error.rule) == (503, "doctrine.timeout")
    # The contract is in force; what it newly hides is not shown under the plan it replaced.
    refused = world.read(world.analyst, "a.csv").refusal
    assert (refused.status, refused.rule) == (403, "masking.undeclared-plan")


def test_an_open_dataset_has_no_plans(world: GatewayWorld) -> None:
    world.contract("open-data")
    assert world.catalog.plans(world.dataset_row("open-data").dataset_id) == []


def test_a_wrong_contract_changes_nothing(world: GatewayWorld) -> None:
    with world.unchanged():
        error = world.refused(
            world.registry.set_contract(world.steward, "claims", contract_for("claims", owner=""), "r")
        )
    assert (error.status, error.code) == (400, "InvalidContract")
    assert "owner" in error.message


@pytest.mark.parametrize("who", ["analyst", "trainer"])
def test_only_stewards_write_contracts(world: GatewayWorld, who: str) -> None:
    with world.unchanged():
        error = world.refused(world.registry.set_contract(getattr(world, who), "claims", contract_for("claims"), "r"))
    assert (error.status, error.rule) == (403, "access.none")


# --- principals


def test_a_principal_gets_a_static_key_for_one_purpose(world: GatewayWorld) -> None:
    made = world.run(world.registry.create_principal(world.steward, PERSON, "r"))
    assert made["secret_access_key"] == static_secret(b"s" * 32, made["access_key_id"])
    credential, row = world.catalog.credential(made["access_key_id"])
    assert (row.principal_id, row.name, credential.purpose) == (made["principal_id"], "eve", "analytics")
    entry = world.entries("principal")[-1]
    assert "eve" not in str(entry)
    assert made["secret_access_key"] not in str(world.picture())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": "god"}, "kind"),
        ({"roles": ["root"]}, "roles"),
        ({"roles": "analyst"}, "roles"),
        ({"purpose": "marketing"}, "purpose"),
        ({"purposes": [1]}, "purposes"),
        ({"name": ""}, "name"),
        ({"jurisdiction": None}, "jurisdiction"),
        ({"extra": 1}, "exactly"),
    ],
)
def test_a_principal_that_cannot_be(world: GatewayWorld, changes: dict[str, Any], says: str) -> None:
    with world.unchanged():
        error = world.refused(world.registry.create_principal(world.steward, PERSON | changes, "r"))
    assert (error.status, error.code) == (400, "InvalidArgument")
    assert says in error.message
    assert world.entries("principal") == []


def test_no_static_principals_in_production(world: GatewayWorld) -> None:
    world.registry._posture = "production"
    with world.unchanged():
        error = world.refused(world.registry.create_principal(world.steward, PERSON, "r"))
    assert (error.status, error.rule) == (403, "principal.posture")


@pytest.mark.parametrize("posture", ["development", "production"])
def test_a_principal_that_an_identity_provider_vouches_for_has_no_key(world: GatewayWorld, posture: Any) -> None:
    world.registry._posture = posture
    made = world.run(world.registry.create_principal(world.steward, PERSON | {"purpose": None}, "r"))
    assert set(made) == {"principal_id"}
    assert world.catalog.principal(made["principal_id"]).name == "eve"
    assert world.catalog.credentials_of(made["principal_id"]) == []
    assert len(world.entries("principal")) == 1


def test_nobody_but_a_steward_makes_principals(world: GatewayWorld) -> None:
    with world.unchanged():
        assert world.refused(world.registry.create_principal(world.analyst, PERSON, "r")).status == 403


def test_a_principal_without_a_ledger_is_not_made(world: GatewayWorld) -> None:
    world.ledger.fault = ledger_down
    with world.unchanged():
        assert world.refused(world.registry.create_principal(world.steward, PERSON, "r")).status == 503


# --- declassifications


def declassify(world: GatewayWorld, **changes: Any) -> Any:
    given = {"dataset": "claims", "key": "a.csv", "name": "release 1", "reason": "published figures"} | changes
    return world.registry.declassify(changes.pop("by", world.steward), request_id="r", **given)


def test_a_declassification_is_named_recorded_and_builds_one_view(world: GatewayWorld) -> None:
    version = world.put("a.csv", CSV)
    other = world.put("b.csv", CSV)
    answer = world.run(declassify(world))
    assert (answer["version_id"], answer["label"]) == (version.version_id, "none")
    entry = world.entries("declassification")[-1]
    assert (entry["name"], entry["reason"], entry["version"], entry["intent"]) == (
        "release 1", "published figures", version.version_id, answer["decision_id"],
    )  # fmt: skip
    assert world.version("a.csv").label == "none"
    assert world.version("b.csv").label == "personal"
    assert plans_of(world)[IDENTITY_PLAN] == DECLASSIFIED
    identity = [v.version_id for v in world.catalog.views(version.dataset_id) if v.plan_id == IDENTITY_PLAN]
    assert identity == [version.version_id]
    world.build(version)
    assert world.read(world.analyst, "a.csv").body == CSV
    assert world.read(world.analyst, "b.csv").body == b""
    assert other.version_id not in identity


def test_declassified_again_nothing_is_built_twice(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.run(declassify(world))
    world.run(declassify(world))
    assert len([v for v in world.catalog.views(world.dataset.dataset_id) if v.plan_id == IDENTITY_PLAN]) == 1


def test_a_new_version_is_personal_again(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.run(declassify(world))
    world.build(world.version("a.csv"))
    assert world.put("a.csv", CSV.replace(b"Ada", b"Eve")).label == "personal"
    assert world.read(world.analyst, "a.csv").body == b""


def test_a_rewritten_contract_keeps_the_identity_plan(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    world.run(declassify(world))
    world.build(world.version("a.csv"))
    world.contract("claims")
    assert world.read(world.analyst, "a.csv").body == CSV


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"name": " "}, 400, "InvalidArgument"),
        ({"reason": ""}, 400, "InvalidArgument"),
        ({"key": "missing.csv"}, 404, "NoSuchKey"),
        ({"dataset": "nowhere"}, 404, "NoSuchBucket"),
    ],
)
def test_a_declassification_that_cannot_be(
    world: GatewayWorld, changes: dict[str, Any], status: int, code: str
) -> None:
    world.put("a.csv", CSV)
    with world.unchanged():
        error: GatewayError = world.refused(declassify(world, **changes))
    assert (error.status, error.code) == (status, code)
    assert world.entries("declassification") == []


def test_only_stewards_declassify_and_only_on_record(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    given = {"dataset": "claims", "key": "a.csv", "name": "n", "reason": "r", "request_id": "r"}
    for who in (world.analyst, world.attested(), replace(world.trainer, roles=frozenset())):
        with world.unchanged():
            assert world.refused(world.registry.declassify(who, **given)).status == 403

    def no_declassifications(when: str, entry: Any) -> None:
        if entry["type"] == "declassification":
            ledger_down(when, entry)

    world.ledger.fault = no_declassifications
    with world.unchanged():
        assert world.refused(declassify(world)).status == 503
    assert world.version("a.csv").label == "personal"
