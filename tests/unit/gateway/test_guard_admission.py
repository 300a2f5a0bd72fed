"""Admission: what every request passes before anything happens, and what each answer and record says."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadRequest, Conflict, Denied, GatewayError, NotFound, PreconditionFailed, Unavailable
from gateway.vault_answers import translate
from lineage.ledger.entry import encode_entry
from lineage.ledger.promise import Promise
from lineage.ledger.shapes import check_entry
from tests.fakes.doctrine import allowing, refusing
from tests.fakes.gateway_world import CSV, FRESHNESS_MS, GRACE_MS, GatewayWorld
from vault import errors as vault_errors
from vault.errors import VaultError
from vault.keys.secrets import open_blob, record_hash
from vault.keys.signing import verify_signature


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatewayWorld]:
    made = GatewayWorld(tmp_path)
    yield made
    made.close()


def test_an_admission_carries_what_was_recorded(world: GatewayWorld) -> None:
    version = world.put("a.csv", CSV)
    who = world.attested(run="nightly")
    admission = world.run(world.guard.admit(who, "read", request_id="r", dataset="claims", key="a.csv"))
    entry = world.ledger.entries[-1]
    assert encode_entry(entry) == admission.entry
    assert entry["id"] == admission.decision_id == entry["decision"]["id"]
    assert who.session is not None
    hashed = record_hash(world.hello.record_hash_key, "object", "a.csv")
    expected = {
        "action": "read", "interface": "s3", "dataset": "claims", "dataset_id": version.dataset_id,
        "version": version.version_id, "view": "raw", "purpose": "claims-risk-model", "object": hashed,
        "session": who.session.session_id, "run": who.session.run_id,
        "principal": record_hash(world.hello.record_hash_key, "principal", who.principal_id),
        "residency": [{"what": "store", "observed": "de", "strength": "self-reported"}],
    }  # fmt: skip
    assert {name: entry[name] for name in expected} == expected
    assert admission.view == "raw"


def test_the_promise_is_over_the_entry_as_it_was_admitted(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    admission = world.run(world.guard.admit(world.analyst, "read", request_id="r", dataset="claims", key="a.csv"))
    again = Promise.decode(admission.promise.encode())
    again.verify(admission.entry, world.signer.public_key, verify_signature)


def test_no_name_of_a_person_or_an_object_stands_in_the_ledger(world: GatewayWorld) -> None:
    world.put("patients/ada-lovelace.csv", CSV)
    for who in (world.analyst, world.attested(), world.steward):
        world.read(who, "patients/ada-lovelace.csv")
    whole = b"\n".join(world.ledger.encoded)
    for secret in (b"ada-lovelace", b"analyst", b"trainer", world.analyst.principal_id.encode(), b"DE02", b"Turing"):
        assert secret not in whole, secret


def test_the_decision_input_is_sealed_beside_the_entry_and_hashed_in_it(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    admission = world.run(world.guard.admit(world.analyst, "read", request_id="r-7", dataset="claims", key="a.csv"))
    blob = world.ledger.sealed[admission.decision_id]
    assert b"a.csv" not in blob
    document = open_blob(world.hello.decision_key, blob, admission.decision_id.encode())
    assert hashlib.sha256(document).hexdigest() == world.intent(admission.decision_id)["input_sha256"]
    assert json.loads(document)["request"]["ref"]["key"] == "a.csv"
    assert json.loads(document)["request"]["id"] == "r-7"
    with pytest.raises(VaultError):  # of that decision and no other
        open_blob(world.hello.decision_key, blob, b"0" * 32)


def test_every_entry_of_a_busy_minute_is_one_the_ledger_takes(world: GatewayWorld) -> None:
    version = world.put("a.csv", CSV)
    world.build(version)
    for who in (world.analyst, world.attested(), world.steward):
        for action in ("read", "head"):
            world.read(who, "a.csv", action=action)
    world.run(world.front.delete(world.steward, world.ref("a.csv"), "r"))
    for entry in world.ledger.entries:
        check_entry(entry)
    assert len({entry["id"] for entry in world.ledger.entries}) == len(world.ledger.entries)


def test_a_refusal_says_rule_remedy_and_decision(world: GatewayWorld) -> None:
    world.engine.says = lambda _: refusing("purpose.not-granted", "You were not granted it", "ask the steward")
    error = world.refused(world.guard.admit(world.analyst, "read", request_id="r", dataset="claims", key="a.csv"))
    assert isinstance(error, Denied)
    assert error.sentence == (
        "You were not granted it. Rule: purpose.not-granted. What to do: ask the steward. "
        f"Decision: {error.decision_id}."
    )
    assert world.intent(error.decision_id)["decision"] == {
        "id": error.decision_id, "allow": False, "revision": world.doctrine.revision, "codes": ["purpose.not-granted"],
    }  # fmt: skip


def test_all_reasons_are_recorded_and_the_most_useful_is_told(world: GatewayWorld) -> None:
    two = refusing("access.none")
    two["reasons"] += refusing("ReattestationRequired")["reasons"]
    world.engine.says = lambda _: two
    error = world.refused(world.guard.admit(world.analyst, "read", request_id="r", dataset="claims", key="a.csv"))
    assert error.rule == "ReattestationRequired"
    assert world.intent(error.decision_id)["decision"]["codes"] == ["ReattestationRequired", "access.none"]


def test_a_503_needs_every_reason_to_be_one_that_passes(world: GatewayWorld) -> None:
    both = refusing("residency.zone-closed")
    both["reasons"] += refusing("access.none")["reasons"]
    world.engine.says = lambda _: both
    error = world.refused(world.guard.admit(world.analyst, "read", request_id="r", dataset="claims", key="a.csv"))
    assert (error.status, error.rule) == (403, "residency.zone-closed")


@pytest.mark.parametrize("late", [1, GRACE_MS + 1])
def test_the_grace_is_for_lapsed_sessions_and_not_for_revoked_ones(world: GatewayWorld, late: int) -> None:
    who = world.attested()
    assert who.session is not None
    world.clock.advance(FRESHNESS_MS + late)
    world.open_zone()
    world.catalog.revoke_session(who.session.session_id)
    error = world.refused(world.guard.admit(who, "read", request_id="r", dataset="claims", key="a.csv"))
    assert (error.status, error.code) == (403, "ReattestationRequired")


def test_a_refusal_that_speaks_of_attestation_without_a_session_has_no_grace(world: GatewayWorld) -> None:
    world.engine.says = lambda _: refusing("ReattestationRequired")
    error = world.refused(world.guard.admit(world.analyst, "read", request_id="r", dataset="claims", key="a.csv"))
    assert error.status == 403


def test_a_presigned_link_is_the_floor_below_every_doctrine(world: GatewayWorld) -> None:
    world.put("a.csv", CSV)
    who = replace(world.attested(), authenticator="presigned")
    for view, allowed in (("raw", False), ("open", True)):
        world.engine.says = lambda _, view=view: allowing(view, label="none")
        if allowed:
            world.run(world.guard.admit(who, "read", request_id="r", dataset="claims", key="a.csv"))
            continue
        error = world.refused(world.guard.admit(who, "read", request_id="r", dataset="claims", key="a.csv"))
        assert error.rule == "access.presigned-raw"
        entry = world.intent(error.decision_id)
        assert (entry["decision"]["allow"], entry["view"]) == (False, "none")


def test_absent_is_expected_only_where_it_is_said(world: GatewayWorld) -> None:
    admit = world.guard.admit
    absent = world.refused(admit(world.steward, "head-dataset", request_id="r", dataset="new-one"))
    assert (absent.status, absent.code) == (404, "NoSuchBucket")
    made = world.run(
        admit(world.steward, "create-dataset", request_id="r", dataset="new-one", absent_dataset="expected")
    )
    assert made.facts.dataset is None


@pytest.mark.parametrize("zone", ["fr", "xx"])
def test_looking_at_a_pointer_names_its_zone_if_there_is_one(world: GatewayWorld, zone: str) -> None:
    world.catalog.create_dataset("elsewhere", zone, "personal", True, "0" * 32)
    error = world.refused(world.guard.admit(world.steward, "head-dataset", request_id="r", dataset="elsewhere"))
    if zone == "fr":
        assert (error.status, error.rule) == (403, "residency.other-zone")
        assert "https://s3.fr.example" in str(error.remedy)
    else:
        assert (error.status, error.code) == (404, "NoSuchBucket")
    assert world.intent(error.decision_id)["decision"]["allow"]


def test_metrics_count_answers_by_action(world: GatewayWorld) -> None:
    world.run(world.guard.admit(world.steward, "head-dataset", request_id="r", dataset="claims"))
    stranger = world.person("stranger", "analytics")
    world.refused(world.guard.admit(stranger, "head-dataset", request_id="r", dataset="claims"))
    shown = world.metrics.render().decode()
    assert 'demesne_decisions_total{action="head-dataset",answer="allow"} 1.0' in shown
    assert 'demesne_decisions_total{action="head-dataset",answer="deny"} 1.0' in shown


def test_an_error_that_is_not_the_vaults_is_not_made_into_an_answer(world: GatewayWorld) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        world.run(world.guard.blocking(broken))


@pytest.mark.parametrize(
    ("error", "kind", "code", "rule"),
    [
        (vault_errors.NotFound("key"), NotFound, "NoSuchKey", "key"),
        (vault_errors.NotFound("version"), NotFound, "NoSuchKey", "version"),
        (vault_errors.NotFound("dataset"), NotFound, "NoSuchBucket", "dataset"),
        (vault_errors.NotFound("upload"), NotFound, "NoSuchUpload", "upload"),
        (vault_errors.NotFound("broker.upload"), NotFound, "NoSuchUpload", "broker.upload"),
        (vault_errors.NotFound("store.missing"), GatewayError, "InternalError", "integrity.store.missing"),
        (vault_errors.NotFound("manifest"), GatewayError, "InternalError", "integrity.manifest"),
        (vault_errors.NotFound("key.group"), GatewayError, "InternalError", "integrity.key.group"),
        (vault_errors.Refused("key.unknown"), GatewayError, "InternalError", "integrity.key.unknown"),
        (vault_errors.Conflict("precondition"), PreconditionFailed, "PreconditionFailed", None),
        (vault_errors.Conflict("dataset.not-empty"), Conflict, "BucketNotEmpty", "dataset.not-empty"),
        (vault_errors.Conflict("dataset.exists"), Conflict, "BucketAlreadyOwnedByYou", "dataset.exists"),
        (vault_errors.Conflict("part.changed"), Conflict, "OperationAborted", "part.changed"),
        (vault_errors.Unavailable("store.full"), Unavailable, "ServiceUnavailable", "store.full"),
        (vault_errors.Refused("session.stale"), Denied, "ReattestationRequired", "session.stale"),
        (vault_errors.Refused("broker.promise"), Denied, "AccessDenied", "integrity.broker.promise"),
        (vault_errors.Refused("catalog.row-edited"), Denied, "AccessDenied", "integrity.catalog.row-edited"),
        (vault_errors.Malformed("tag"), GatewayError, "InternalError", "integrity.tag"),
        (vault_errors.Malformed("parts.order"), BadRequest, "InvalidPartOrder", "parts.order"),
        (vault_errors.Malformed("parts.small"), BadRequest, "EntityTooSmall", "parts.small"),
        (vault_errors.Malformed("parts.unknown"), BadRequest, "InvalidPart", "parts.unknown"),
        (vault_errors.Malformed("attest.challenge"), BadRequest, "InvalidArgument", "attest.challenge"),
        (vault_errors.Broken("reader.closed"), GatewayError, "InternalError", "integrity.reader.closed"),
    ],
    ids=lambda value: value.reason if isinstance(value, VaultError) else None,
)
def test_what_each_vault_failure_is_to_the_caller(
    error: VaultError, kind: type[GatewayError], code: str, rule: str | None
) -> None:
    answer = translate(error)
    assert type(answer) is kind
    assert (answer.code, answer.rule) == (code, rule)
    assert (answer.retry_after == 1) is isinstance(error, vault_errors.Unavailable)


def test_no_detail_of_the_vault_reaches_a_caller() -> None:
    kinds: tuple[Any, ...] = (
        vault_errors.NotFound, vault_errors.Conflict, vault_errors.Unavailable, vault_errors.Refused,
        vault_errors.Malformed, vault_errors.Broken,
    )  # fmt: skip
    for kind in kinds:
        answer = translate(kind("some.reason", "b/ab/secret-store-key"))
        assert "secret" not in answer.sentence + str(answer)
