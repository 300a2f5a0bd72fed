"""Enrolling, approving and retiring TPM keys over the API: who may, what is on record, what changes nothing."""

import base64
import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from gateway.identity.principal import Principal
from tests.fakes.attest_pki import NOW_MS
from tests.fakes.attest_tpm_enrolment import FakeMachine, FakeMaker, as_document
from tests.fakes.ledger import ledger_down
from tests.unit.gateway.api.test_api_app import Api, Reply, problem
from vault.attest.admitted.tpm import EnrolledTpmVerifier
from vault.attest.sample import SampleVerifier
from vault.attest.verifier import Verifiers
from vault.broker.service import Broker
from vault.broker.tpm_keys import EnrolledTpmKeys
from vault.broker.tpm_office import TpmOffice, TpmParts
from vault.catalog.tables import challenge

MAKER = FakeMaker()
PURPOSE = "claims-risk-model"
POLICY = {"7": ["11" * 32], "4": ["22" * 32, "33" * 32]}


class TpmApi(Api):
    """With an office for TPMs of one maker; `answer` is what the TPM of a challenge would give back."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        world = self.world
        world.clock.now_ms = NOW_MS
        parts = world.broker._parts
        self.keys = EnrolledTpmKeys(world.catalog, b"k" * 32, parts.marks, zone="de")
        self.office = TpmOffice(
            TpmParts(
                policy=parts.policy, catalog=world.catalog, keys=self.keys, trust=lambda _: MAKER.trust,
                secret=b"s" * 32, verify_promise=parts.verify_promise, clock=world.clock, random=secrets.token_bytes,
            )
        )  # fmt: skip
        verifiers = Verifiers({"tpm": EnrolledTpmVerifier({}, self.keys.find), "sample": SampleVerifier()})
        broker = Broker(replace(parts, tpm=self.office, verifiers=verifiers))
        vars(world.broker).update(vars(broker))

    def begin(self, machine: FakeMachine | None = None, who: Principal | None = None, **changes: Any) -> Reply:
        body = {"purpose": PURPOSE} | as_document((machine or FakeMachine(MAKER)).request()) | changes
        return self.ask("POST", "/v1/tpm/enrolments", body, who=who or self.world.trainer)

    def finish(self, begun: Reply, who: Principal | None = None, secret: bytes | None = None) -> Reply:
        made = self.answer(begun) if secret is None else secret
        body = {"secret": base64.b64encode(made).decode()}
        return self.ask("PUT", f"/v1/tpm/enrolments/{begun.json['enrolment_id']}", body, who=who or self.world.trainer)

    def answer(self, begun: Reply) -> bytes:
        nonce = begun.json["enrolment_id"]
        with self.world.catalog._database.write() as connection:
            row = connection.execute(select(challenge).where(challenge.c.nonce == nonce)).one()
        key, ek = json.loads(row.scope)
        return self.office._secret(nonce, row.principal_id, (key, ek))

    def enrolled(self) -> str:
        reply = self.finish(self.begin())
        assert reply.status == 201, reply.body
        return str(reply.json["key_name"])

    def recorded(self) -> list[dict[str, Any]]:
        return [entry for entry in self.world.ledger.entries if entry["type"] == "tpm-key"]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[TpmApi]:
    made = TpmApi(tmp_path)
    yield made
    made.world.close()


def test_a_key_goes_from_challenge_to_enrolled_to_approved_to_retired(api: TpmApi) -> None:
    begun = api.begin()
    assert begun.status == 201, begun.body
    assert set(begun.json) == {"enrolment_id", "key_name", "credential_blob", "encrypted_secret", "expires_at"}
    done = api.finish(begun)
    assert (done.status, done.json["state"]) == (201, "enrolled")
    assert done.json["principal_id"] == api.world.trainer.principal_id
    key = done.json["key_name"]
    approved = api.ask("PUT", f"/v1/tpm/keys/{key}/policy", {"pcrs": POLICY, "reason": "image 7"})
    assert (approved.status, approved.json["state"], approved.json["pcr_policy"]) == (200, "approved", POLICY)
    found = api.keys.find(key)
    assert found is not None
    assert found.pcrs == {7: {b"\x11" * 32}, 4: {b"\x22" * 32, b"\x33" * 32}}
    retired = api.ask("DELETE", f"/v1/tpm/keys/{key}?reason=sold")
    assert (retired.status, retired.json["state"]) == (200, "retired")
    assert api.keys.find(key) is None
    assert [entry["event"] for entry in api.recorded()] == ["challenged", "answered", "approved", "retired"]
    assert begun.json["enrolment_id"] not in str(api.world.ledger.entries)


def test_one_sees_ones_own_keys_and_a_steward_all(api: TpmApi) -> None:
    key = api.enrolled()
    assert [each["key_name"] for each in api.ask("GET", "/v1/tpm/keys").json] == [key]
    assert [each["key_name"] for each in api.ask("GET", "/v1/tpm/keys", who=api.world.trainer).json] == [key]
    assert api.ask("GET", "/v1/tpm/keys", who=api.world.analyst).json == []


def test_who_may_open_no_session_enrols_no_machine(api: TpmApi) -> None:
    problem(api.begin(who=api.world.analyst), 403, "AccessDenied")
    problem(api.begin(purpose="another-purpose"), 403, "AccessDenied")
    assert api.recorded() == []


def test_a_stolen_session_enrols_no_machine(api: TpmApi) -> None:
    inside = api.world.attested()
    api.people[inside.access_key_id] = inside
    refused = problem(api.begin(who=inside), 403, "AccessDenied")
    assert refused["rule"] == "session.from-session"
    begun = api.begin()
    assert problem(api.finish(begun, who=inside), 403, "AccessDenied")["rule"] == "session.from-session"
    assert api.finish(begun).status == 201


def test_only_an_administrator_approves_and_retires(api: TpmApi) -> None:
    key = api.enrolled()
    before = api.world.catalog.tpm_key(key)
    for who in (api.world.trainer, api.world.analyst):
        body = {"pcrs": POLICY, "reason": "mine"}
        problem(api.ask("PUT", f"/v1/tpm/keys/{key}/policy", body, who=who), 403, "AccessDenied")
        problem(api.ask("DELETE", f"/v1/tpm/keys/{key}?reason=x", who=who), 403, "AccessDenied")
    assert api.world.catalog.tpm_key(key) == before


def test_another_principal_does_not_finish_what_one_began(api: TpmApi) -> None:
    begun = api.begin()
    refused = problem(api.finish(begun, who=api.world.steward), 403, "AccessDenied")
    assert refused["rule"] == "attest.principal"
    assert api.world.catalog.tpm_keys() == []


def test_a_wrong_answer_is_refused_by_name_and_is_the_last(api: TpmApi) -> None:
    begun = api.begin()
    right = api.answer(begun)
    assert problem(api.finish(begun, secret=bytes(32)), 403, "AccessDenied")["rule"] == "attest.binding"
    assert problem(api.finish(begun, secret=right), 403, "AccessDenied")["rule"] == "attest.nonce"
    assert api.world.catalog.tpm_keys() == []


def test_another_makers_tpm_is_refused_by_name(api: TpmApi) -> None:
    refused = problem(api.begin(FakeMachine(FakeMaker())), 403, "AccessDenied")
    assert refused["rule"] == "attest.chain"


@pytest.mark.parametrize(
    "change",
    [
        {"endorsement_certificates": []}, {"endorsement_key": "!"}, {"attestation_key": "A" * 4000}, {"more": 1},
        {"purpose": "Not A Name"},
    ],
)  # fmt: skip
def test_a_body_of_another_form_is_bad_input(api: TpmApi, change: dict[str, Any]) -> None:
    problem(api.begin(**change), 400, "InvalidArgument")


@pytest.mark.parametrize("policy", [{"24": ["11" * 32]}, {"7": []}, {"7": ["11"]}])
def test_a_policy_of_another_form_is_bad_input_and_on_no_record(api: TpmApi, policy: dict[str, Any]) -> None:
    key = api.enrolled()
    before = len(api.recorded())
    reply = api.ask("PUT", f"/v1/tpm/keys/{key}/policy", {"pcrs": policy, "reason": "r"})
    problem(reply, 400, "InvalidArgument")
    assert len(api.recorded()) == before


@pytest.mark.parametrize("secret", ["", "AAAA", "!"])
def test_a_secret_of_another_form_uses_no_challenge_up(api: TpmApi, secret: str) -> None:
    begun = api.begin()
    path = f"/v1/tpm/enrolments/{begun.json['enrolment_id']}"
    problem(api.ask("PUT", path, {"secret": secret}, who=api.world.trainer), 400, "InvalidArgument")
    assert api.finish(begun).status == 201


def test_an_unknown_key_is_not_found(api: TpmApi) -> None:
    body = {"pcrs": POLICY, "reason": "r"}
    none = problem(api.ask("PUT", f"/v1/tpm/keys/{'0' * 64}/policy", body), 404, "NoSuchTpmKey")
    assert "attest keys" in none["remedy"]
    problem(api.ask("DELETE", f"/v1/tpm/keys/{'0' * 64}?reason=r"), 404, "NoSuchTpmKey")


def test_a_key_that_is_enrolled_is_a_conflict(api: TpmApi) -> None:
    machine = FakeMachine(MAKER)
    assert api.finish(api.begin(machine)).status == 201
    problem(api.finish(api.begin(machine)), 409, "TpmKeyExists")


def test_without_a_ledger_nobody_is_challenged_or_enrolled(api: TpmApi) -> None:
    begun = api.begin()
    api.world.ledger.fault = ledger_down
    problem(api.finish(begun), 503, "ServiceUnavailable")
    problem(api.begin(), 503, "ServiceUnavailable")
    assert api.world.catalog.tpm_keys() == []
