"""Enrolment over the real catalog and against real TPMs (swtpm): who gets enrolled, who does not, and what is kept."""

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import update

from demesne.evidence.tpm import KEY_HANDLE, TpmAttester
from demesne.evidence.tpm_commands import ENDORSEMENT, Tpm, TpmError
from demesne.evidence.tpm_enrolment import Prepared, activate, prepare
from demesne.evidence.tpm_public import attestation_template, endorsement_template
from tests.fakes.attest_pki import NOW_MS, ec_key
from tests.fakes.attest_tpm_enrolment import FakeMachine, FakeMaker, as_document, ders, with_key
from tests.fakes.broker import TENANT, ZONE, BrokerWorld, new_jwk
from tests.fakes.clock import Clock
from tests.fakes.ledger_promise import canonical
from tests.fakes.swtpm import Swtpm, need_swtpm
from tests.fakes.vault_world import new_catalog
from vault.attest.admitted.tpm import EnrolledTpmVerifier
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.certificates import fingerprint, load_certificate
from vault.attest.claims import Claims
from vault.attest.tpm.credential import make_credential
from vault.attest.tpm.enrolment import EndorsementTrust
from vault.attest.tpm.public import parse_public
from vault.attest.verifier import Verifiers
from vault.broker.service import Broker
from vault.broker.tpm_keys import EnrolledTpmKeys, policy_sha256
from vault.broker.tpm_office import TpmOffice, TpmParts
from vault.broker.types import Promised, TpmChallenge
from vault.catalog import tables
from vault.catalog.catalog import Catalog
from vault.errors import Conflict, Malformed, NotFound, Refused

MAKER = FakeMaker()
ANA, EVE = "a" * 32, "e" * 32
POLICY = {"7": ["11" * 32]}


class Zone:
    """A broker with an office for TPMs; `trust` decides whose certificates count."""

    def __init__(self, tmp_path: Path, trust: EndorsementTrust = MAKER.trust) -> None:
        self.world = BrokerWorld(tmp_path)
        self.clock: Clock = self.world.clock
        self.clock.now_ms = NOW_MS
        self.catalog: Catalog = new_catalog(tmp_path, self.clock)
        self.trust = trust
        self.keys = EnrolledTpmKeys(self.catalog, b"k" * 32, self.world.parts.marks, zone=ZONE)
        self.broker = self.started()

    def started(self) -> Broker:
        """Another process over the same keys and catalog."""
        office = TpmOffice(
            TpmParts(
                policy=self.world.parts.policy, catalog=self.world.catalog, keys=self.keys,
                trust=lambda _: self.trust, secret=b"s" * 32, verify_promise=self.world.ledger.verify_promise,
                clock=self.clock, random=secrets.token_bytes,
            )
        )  # fmt: skip
        verifiers = Verifiers({"tpm": EnrolledTpmVerifier({}, self.keys.find)})
        self.broker = self.world.restarted(tpm=office, verifiers=verifiers)
        return self.broker

    def decided(
        self, event: str, key: str, policy: dict[str, Any] | None = None, **changes: Any
    ) -> tuple[Promised, Promised]:
        """A promised decision to administer, and the entry that goes with it; changes as intent_field, entry_field."""
        decision_id = secrets.token_hex(16)
        intent: dict[str, Any] = {
            "v": 1, "type": "intent", "id": decision_id, "at": "2026-06-01T12:00:00.000Z", "zone": ZONE,
            "tenant": TENANT, "decision": {"id": decision_id, "allow": True, "revision": "r", "codes": []},
            "action": "administer", "interface": "api", "dataset_id": None, "dataset": None, "object": None,
            "version": None, "view": "none", "principal": "p" * 16, "purpose": "", "session": None, "run": None,
            "input_sha256": "0" * 64, "residency": [],
        }  # fmt: skip
        entry: dict[str, Any] = {
            "v": 1, "type": "tpm-key", "id": secrets.token_hex(16), "at": intent["at"], "zone": ZONE, "tenant": TENANT,
            "event": event, "key": key, "policy_sha256": policy_sha256(policy) if policy is not None else "",
            "principal": "p" * 16, "intent": decision_id, "reason": "r",
        }  # fmt: skip
        for path, value in changes.items():
            where, _, name = path.partition("_")
            (intent if where == "intent" else entry)[name] = value
        made = [canonical(document) for document in (intent, entry)]
        promised = [Promised(each, self.world.ledger.promise(each)) for each in made]
        return promised[0], promised[1]

    def enrolled(self, machine: FakeMachine) -> str:
        """By the secret itself, as if its TPM had answered."""
        begun = self.broker.tpm_begin(ANA, as_document(machine.request()))
        return self.broker.tpm_finish(begun.enrolment_id, ANA, self.answer(begun)).key_name

    def answer(self, begun: TpmChallenge) -> bytes:
        """What the TPM would say; the office computes it from its own secret."""
        row = self.world.catalog.challenges[begun.enrolment_id]
        assert self.broker._parts.tpm is not None
        return self.broker._parts.tpm._secret(begun.enrolment_id, row.principal_id, (row.scope[0], row.scope[1]))


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog without rows: migrating is what takes time."""
    directory = tmp_path_factory.mktemp("migrated")
    new_catalog(directory, Clock()).close()
    return directory / "catalog.sqlite3"


@pytest.fixture
def zone(tmp_path: Path, migrated: Path) -> Zone:
    shutil.copy(migrated, tmp_path)
    return Zone(tmp_path)


@pytest.fixture(scope="module")
def tpms() -> Iterator[tuple[Swtpm, Swtpm]]:
    need_swtpm()
    with Swtpm(manufactured=True) as ours, Swtpm(manufactured=True) as theirs:
        yield ours, theirs


def makers(*machines: Swtpm) -> EndorsementTrust:
    """Each machine's own maker."""
    chains = [ders(machine.authority) for machine in machines]
    roots = {fingerprint(load_certificate(chain[-1])) for chain in chains}
    return EndorsementTrust(roots, [der for chain in chains for der in chain])


def prepared(machine: Swtpm) -> Prepared:
    with Tpm(machine.transport()) as tpm:
        return prepare(tpm)


def answered(machine: Swtpm, what: Prepared, begun: TpmChallenge) -> bytes:
    with Tpm(machine.transport()) as tpm:
        return activate(tpm, what, begun.blob, begun.secret)


@pytest.mark.servers
def test_a_real_tpm_is_enrolled_by_its_answer_and_attests(tmp_path: Path, tpms: tuple[Swtpm, Swtpm]) -> None:
    zone = Zone(tmp_path, makers(tpms[0]))
    zone.clock.now_ms = _now()
    request = prepared(tpms[0])
    begun = zone.broker.tpm_begin(ANA, request.request)
    state = zone.broker.tpm_finish(begun.enrolment_id, ANA, answered(tpms[0], request, begun))
    assert (state.key_name, state.pcr_policy, state.retired_at) == (begun.key_name, {}, None)
    claims = attested(zone, tpms[0], ANA)
    assert (claims["kind"], claims["hardware"], claims["platform"]["pcr_policy"]) == ("tpm", False, [])
    assert claims["platform"]["principal"] == ANA


@pytest.mark.servers
def test_a_policy_decides_which_boots_count_and_the_clock_goes_on(tmp_path: Path, tpms: tuple[Swtpm, Swtpm]) -> None:
    zone, key = real(tmp_path, tpms[0])
    first = attested(zone, tpms[0], ANA)["platform"]
    row = zone.catalog.tpm_key(key)
    assert row is not None
    assert row.last_clock == {name: first[name] for name in ("clock", "reset_count", "restart_count")}
    with Tpm(tpms[0].transport()) as tpm:
        policy = {"7": [tpm.pcrs([7])[7].hex()]}
    zone.broker.tpm_approve(key, policy, *zone.decided("approved", key, policy))
    assert attested(zone, tpms[0], ANA)["platform"]["pcr_policy"] == [7]
    other = {"7": ["22" * 32]}
    zone.broker.tpm_approve(key, other, *zone.decided("approved", key, other))
    with pytest.raises(Refused, match=r"attest\.measurement"):
        attested(zone, tpms[0], ANA)


@pytest.mark.servers
def test_a_tpm_whose_clock_is_behind_is_refused(tmp_path: Path, tpms: tuple[Swtpm, Swtpm]) -> None:
    """As one that was put back from a copy of its state."""
    zone, key = real(tmp_path, tpms[0])
    attested(zone, tpms[0], ANA)
    row = zone.catalog.tpm_key(key)
    assert row is not None
    later = dict(row.last_clock) | {"reset_count": row.last_clock["reset_count"] + 1}
    ahead = zone.keys._sealed(replace(row, last_clock=later))
    zone.catalog.change_tpm_key(row, ahead)
    with pytest.raises(Refused, match=r"attest\.platform"):
        attested(zone, tpms[0], ANA)
    assert zone.catalog.tpm_key(key) == ahead


@pytest.mark.servers
def test_another_principals_key_attests_nobody_else(tmp_path: Path, tpms: tuple[Swtpm, Swtpm]) -> None:
    zone, _ = real(tmp_path, tpms[0])
    with pytest.raises(Refused, match=r"attest\.principal"):
        attested(zone, tpms[0], EVE)


@pytest.mark.servers
def test_another_tpm_cannot_answer_though_it_is_genuine(tmp_path: Path, tpms: tuple[Swtpm, Swtpm]) -> None:
    zone = Zone(tmp_path, makers(*tpms))
    zone.clock.now_ms = _now()
    ours, theirs = prepared(tpms[0]), prepared(tpms[1])
    begun = zone.broker.tpm_begin(ANA, ours.request)
    with pytest.raises(TpmError):
        answered(tpms[1], theirs, begun)
    assert zone.catalog.tpm_keys() == []


@pytest.mark.servers
def test_another_tpms_key_is_not_enrolled_under_ours(tmp_path: Path, tpms: tuple[Swtpm, Swtpm]) -> None:
    """The challenge is for a key that is not in the TPM that has to answer."""
    zone = Zone(tmp_path, makers(*tpms))
    zone.clock.now_ms = _now()
    ours, theirs = prepared(tpms[0]), prepared(tpms[1])
    begun = zone.broker.tpm_begin(ANA, ours.request | {"attestation_key": theirs.request["attestation_key"]})
    for machine, what in ((tpms[0], ours), (tpms[1], theirs)):
        with pytest.raises(TpmError):
            answered(machine, what, begun)
    with pytest.raises(Refused, match=r"attest\.binding"):
        zone.broker.tpm_finish(begun.enrolment_id, ANA, os.urandom(32))
    assert zone.catalog.tpm_keys() == []


@pytest.mark.servers
def test_a_software_key_that_claims_to_be_a_tpms_cannot_be_activated(tmp_path: Path, tpms: tuple[Swtpm, Swtpm]) -> None:
    """Its public area says restricted and fixed; no TPM will load it, so nobody can answer for it."""
    zone = Zone(tmp_path, makers(tpms[0]))
    zone.clock.now_ms = _now()
    ours = prepared(tpms[0])
    lie = with_key(attestation_template(0x23), ec_key(ec.SECP256R1()).public_key())
    begun = zone.broker.tpm_begin(
        ANA, ours.request | {"attestation_key": as_document(FakeMachine(MAKER).request(ak=lie))["attestation_key"]}
    )
    with pytest.raises(TpmError):
        answered(tpms[0], ours, begun)


@pytest.mark.servers
def test_the_tpms_own_credential_is_ours(tpms: tuple[Swtpm, Swtpm]) -> None:
    """Made in software, opened by swtpm, for keys of either algorithm."""
    with Tpm(tpms[0].transport()) as tpm:
        endorsement = tpm.create_primary(ENDORSEMENT, endorsement_template(0x23))
        try:
            ek, ak = parse_public(tpm.read_public(endorsement)), parse_public(tpm.read_public(KEY_HANDLE))
            made = make_credential(ek.key, ak.name, b"secret", secrets.token_bytes)
            assert tpm.activate_credential(KEY_HANDLE, endorsement, made.blob, made.secret) == b"secret"
        finally:
            tpm.flush(endorsement)


def test_a_wrong_answer_enrols_nothing_and_uses_the_challenge_up(zone: Zone) -> None:
    machine = FakeMachine(MAKER)
    begun = zone.broker.tpm_begin(ANA, as_document(machine.request()))
    right = zone.answer(begun)
    with pytest.raises(Refused, match=r"attest\.binding"):
        zone.broker.tpm_finish(begun.enrolment_id, ANA, right[:-1] + bytes((right[-1] ^ 1,)))
    with pytest.raises(Refused, match=r"attest\.nonce"):
        zone.broker.tpm_finish(begun.enrolment_id, ANA, right)
    assert zone.catalog.tpm_keys() == []
    assert [entry["method"] for entry in zone.world.refusals] == ["tpm_finish", "tpm_finish"]


def test_an_answer_counts_once(zone: Zone) -> None:
    begun = zone.broker.tpm_begin(ANA, as_document(FakeMachine(MAKER).request()))
    right = zone.answer(begun)
    zone.broker.tpm_finish(begun.enrolment_id, ANA, right)
    with pytest.raises(Refused, match=r"attest\.nonce"):
        zone.broker.tpm_finish(begun.enrolment_id, ANA, right)


def test_an_answer_counts_for_two_minutes(zone: Zone) -> None:
    begun = zone.broker.tpm_begin(ANA, as_document(FakeMachine(MAKER).request()))
    assert begun.expires_at == NOW_MS + 120_000
    right = zone.answer(begun)
    zone.clock.now_ms = begun.expires_at
    with pytest.raises(Refused, match=r"attest\.nonce"):
        zone.broker.tpm_finish(begun.enrolment_id, ANA, right)


def test_an_answer_counts_for_who_asked(zone: Zone) -> None:
    begun = zone.broker.tpm_begin(ANA, as_document(FakeMachine(MAKER).request()))
    right = zone.answer(begun)
    with pytest.raises(Refused, match=r"attest\.principal"):
        zone.broker.tpm_finish(begun.enrolment_id, EVE, right)
    assert zone.catalog.tpm_keys() == []


def test_another_gateway_of_the_zone_finishes_what_one_began(zone: Zone) -> None:
    begun = zone.broker.tpm_begin(ANA, as_document(FakeMachine(MAKER).request()))
    right = zone.answer(begun)
    assert zone.started().tpm_finish(begun.enrolment_id, ANA, right).key_name == begun.key_name


def test_a_challenge_to_attest_enrols_nothing_and_the_other_way_round(zone: Zone) -> None:
    challenge = zone.broker.challenge(ANA, "train", ["claims"], "gateway")
    with pytest.raises(Refused, match=r"attest\.nonce"):
        zone.broker.tpm_finish(challenge.nonce, ANA, b"x" * 32)
    begun = zone.broker.tpm_begin(ANA, as_document(FakeMachine(MAKER).request()))
    with pytest.raises(Refused, match=r"attest\.nonce"):
        zone.broker.attest(begun.enrolment_id, "tpm", {}, new_jwk(), ANA)


def test_nobody_is_challenged_without_a_pinned_maker(tmp_path: Path) -> None:
    zone = Zone(tmp_path, EndorsementTrust())
    with pytest.raises(Refused, match=r"attest\.no-trust"):
        zone.broker.tpm_begin(ANA, as_document(FakeMachine(MAKER).request()))
    assert zone.world.catalog.challenges == {}
    assert zone.world.refusals[0]["subject"] is None


def test_a_broker_without_an_office_enrols_nobody(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"attest\.no-trust"):
        BrokerWorld(tmp_path).broker.tpm_begin(ANA, {})


def test_a_key_is_enrolled_once(zone: Zone) -> None:
    machine = FakeMachine(MAKER)
    zone.enrolled(machine)
    with pytest.raises(Conflict, match=r"tpm\.enrolled"):
        zone.enrolled(machine)


def test_retired_is_for_good(zone: Zone) -> None:
    machine = FakeMachine(MAKER)
    key = zone.enrolled(machine)
    assert zone.keys.find(key) is not None
    state = zone.broker.tpm_retire(key, *zone.decided("retired", key))
    assert state.retired_at == zone.clock.now_ms
    assert zone.keys.find(key) is None
    with pytest.raises(Conflict, match=r"tpm\.enrolled"):
        zone.enrolled(machine)
    with pytest.raises(Conflict, match=r"tpm\.retired"):
        zone.broker.tpm_approve(key, POLICY, *zone.decided("approved", key, POLICY))


def test_an_older_catalog_revives_no_retired_key(zone: Zone) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    older = zone.catalog.tpm_key(key)
    assert older is not None
    zone.broker.tpm_retire(key, *zone.decided("retired", key))
    retired = zone.catalog.tpm_key(key)
    assert retired is not None
    zone.catalog.change_tpm_key(retired, older)
    assert zone.keys.find(key) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"intent_action": "read"}, "broker.action"), ({"intent_action": "session"}, "broker.action"),
        ({"intent_zone": "fr"}, "broker.place"), ({"intent_tenant": "other"}, "broker.place"),
        ({"intent_dataset_id": "0" * 32}, "broker.entry"), ({"intent_principal": "q" * 16}, "tpm.entry-decision"),
        ({"entry_intent": "0" * 32}, "tpm.entry-decision"), ({"entry_key": "0" * 64}, "tpm.entry"),
        ({"entry_policy_sha256": "0" * 64}, "tpm.entry"), ({"entry_event": "retired"}, "tpm.entry"),
        ({"entry_zone": "fr"}, "broker.entry-scope"), ({"entry_type": "session"}, "broker.entry"),
        ({"entry_more": 1}, "broker.entry"),
    ],
)  # fmt: skip
def test_an_approval_takes_a_decision_and_an_entry_about_exactly_it(
    zone: Zone, changes: dict[str, Any], reason: str
) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    before = zone.catalog.tpm_key(key)
    with pytest.raises(Refused) as caught:
        zone.broker.tpm_approve(key, POLICY, *zone.decided("approved", key, POLICY, **changes))
    assert caught.value.reason == reason
    assert zone.catalog.tpm_key(key) == before


def test_a_denied_decision_approves_nothing(zone: Zone) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    decision_id = "0" * 32
    denied = {"id": decision_id, "allow": False, "revision": "r", "codes": []}
    changes = {"intent_decision": denied, "intent_id": decision_id, "entry_intent": decision_id}
    with pytest.raises(Refused, match=r"broker\.denied"):
        zone.broker.tpm_approve(key, POLICY, *zone.decided("approved", key, POLICY, **changes))


def test_an_old_or_invented_promise_approves_nothing(zone: Zone) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    decision, entry = zone.decided("approved", key, POLICY)
    with pytest.raises(Refused, match=r"broker\.promise"):
        zone.broker.tpm_approve(key, POLICY, replace(decision, promise=entry.promise), entry)
    zone.clock.advance(40_000)
    with pytest.raises(Refused, match=r"broker\.promise-age"):
        zone.broker.tpm_approve(key, POLICY, decision, entry)
    row = zone.catalog.tpm_key(key)
    assert row is not None
    assert row.pcr_policy == {}


@pytest.mark.parametrize(
    "policy", [{"24": ["11" * 32]}, {"7": []}, {"7": ["11"]}, {"7": "11" * 32}, {"7": ["1A" * 32]}, {"07": ["11" * 32]},
               {"7": [f"{n:064x}" for n in range(65)]}],
)  # fmt: skip
def test_a_policy_of_another_form_is_malformed(zone: Zone, policy: dict[str, Any]) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    with pytest.raises(Malformed):
        zone.broker.tpm_approve(key, policy, *zone.decided("approved", key, policy))


def test_an_unknown_key_is_not_found(zone: Zone) -> None:
    with pytest.raises(NotFound, match=r"tpm\.key"):
        zone.broker.tpm_approve("0" * 64, POLICY, *zone.decided("approved", "0" * 64, POLICY))


@pytest.mark.parametrize(
    "edit",
    [
        {"pcr_policy": "{}"}, {"principal_id": EVE}, {"ek_sha256": "0" * 64},
        {"last_clock": '{"clock":0,"reset_count":0,"restart_count":0}'}, {"enrolled_at": 1},
        {"broker_seal": b"\0" * 32},
    ],
)  # fmt: skip
def test_a_row_that_somebody_edited_is_refused(zone: Zone, edit: dict[str, Any]) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    zone.broker.tpm_approve(key, POLICY, *zone.decided("approved", key, POLICY))
    with zone.catalog._database.write() as connection:
        connection.execute(update(tables.tpm_key).values(**edit))
    with pytest.raises(Refused, match=r"attest\.chain"):
        zone.keys.find(key)


def test_a_row_copied_to_another_name_is_refused(zone: Zone) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    with zone.catalog._database.write() as connection:
        connection.execute(update(tables.tpm_key).values(key_name="0" * 64))
    assert zone.keys.find(key) is None
    with pytest.raises(Refused, match=r"attest\.chain"):
        zone.keys.find("0" * 64)


def claims_of(key: str, clock: int, **platform: Any) -> Claims:
    """What a verifier says of an enrolled key's quote."""
    said = {"key": key, "reset_count": 3, "restart_count": 1, "clock": clock} | platform
    return Claims("tpm", "tpm", "00" * 32, debug=False, hardware=False, synthetic_only=False, platform=said)


def test_of_two_pieces_of_evidence_at_once_the_older_loses(zone: Zone) -> None:
    """Both were verified against the clock of before; the row is what tells them apart."""
    key = zone.enrolled(FakeMachine(MAKER))
    zone.keys.seen(ANA, claims_of(key, 2000))
    with pytest.raises(Refused, match=r"attest\.platform"):
        zone.keys.seen(ANA, claims_of(key, 1999))
    zone.keys.seen(ANA, claims_of(key, 2000))
    row = zone.catalog.tpm_key(key)
    assert row is not None
    assert row.last_clock["clock"] == 2000


def test_whose_key_it_is_is_the_rows_word_and_the_files(zone: Zone) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    for principal, claims in ((EVE, claims_of(key, 1)), (EVE, claims_of("0" * 64, 1, principal=ANA))):
        with pytest.raises(Refused, match=r"attest\.principal"):
            zone.keys.seen(principal, claims)
    zone.keys.seen(EVE, claims_of("0" * 64, 1, principal=""))  # of the trust directory, and nobody's


def test_a_row_that_changes_meanwhile_is_read_again_and_not_for_ever(
    zone: Zone, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    lost: list[int] = []
    change = zone.catalog.change_tpm_key

    def beaten(before: Any, after: Any) -> None:
        lost.append(1)
        if len(lost) < 3:
            raise Conflict("tpm.changed")
        change(before, after)

    monkeypatch.setattr(zone.catalog, "change_tpm_key", beaten)
    zone.keys.seen(ANA, claims_of(key, 5))
    assert len(lost) == 3

    def always_beaten(*_: Any) -> None:
        raise Conflict("tpm.changed")

    monkeypatch.setattr(zone.catalog, "change_tpm_key", always_beaten)
    with pytest.raises(Refused, match=r"attest\.platform"):
        zone.keys.seen(ANA, claims_of(key, 6))


def test_a_key_retired_meanwhile_attests_no_more(zone: Zone) -> None:
    key = zone.enrolled(FakeMachine(MAKER))
    zone.broker.tpm_retire(key, *zone.decided("retired", key))
    with pytest.raises(Refused, match=r"attest\.chain"):
        zone.keys.seen(ANA, claims_of(key, 1))


def real(tmp_path: Path, machine: Swtpm) -> tuple[Zone, str]:
    """A zone in which this TPM's key is enrolled by ANA."""
    zone = Zone(tmp_path, makers(machine))
    zone.clock.now_ms = _now()
    request = prepared(machine)
    begun = zone.broker.tpm_begin(ANA, request.request)
    return zone, zone.broker.tpm_finish(begun.enrolment_id, ANA, answered(machine, request, begun)).key_name


def attested(zone: Zone, machine: Swtpm, principal_id: str) -> dict[str, Any]:
    """The claims of a session that this TPM opens for this principal."""
    challenge, jwk = zone.broker.challenge(principal_id, "train", ["claims"], "gateway"), new_jwk()
    bound = ExpectedBinding(challenge.nonce, "gateway", key_thumbprint(jwk), "train", ("claims",)).report_data()
    evidence = TpmAttester(pcrs=[0, 7], transport=machine.transport).evidence(bound)
    return zone.broker.attest(challenge.nonce, "tpm", evidence, jwk, principal_id).claims


def _now() -> int:
    return time.time_ns() // 1_000_000
