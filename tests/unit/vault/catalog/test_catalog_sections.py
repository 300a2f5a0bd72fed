"""Jobs, challenges, sessions, runs, principals, epochs, zones and what leaves: each rule that others lean on."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.clock import Clock
from tests.fakes.vault_world import RECORD, WRITER, new_catalog
from vault.broker.ports import BrokerCatalog
from vault.catalog.catalog import Catalog
from vault.catalog.jobs import MAX_ATTEMPTS
from vault.catalog.rows import SessionRow
from vault.errors import Broken, Conflict, NotFound, Refused, Unavailable


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalog(tmp_path: Path, clock: Clock) -> Catalog:
    return new_catalog(tmp_path, clock)


def test_the_broker_takes_it_for_its_catalog(catalog: Catalog) -> None:
    broker: BrokerCatalog = catalog
    assert broker.find_dataset("0" * 32) is None
    assert broker.find_session("0" * 32) is None
    assert broker.find_view("0" * 32) is None
    assert broker.find_upload("0" * 32, "0" * 32) is None
    assert broker.find_job("x") is None


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_a_late_holder_is_refused_and_the_new_one_is_not(catalog: Catalog, clock: Clock) -> None:
    catalog.enqueue("view", {"n": 1})
    first = catalog.lease(["view"], "one", 1000)
    assert first is not None
    assert catalog.lease(["view"], "two", 1000) is None
    clock.advance(1001)
    second = catalog.lease(["view"], "two", 1000)
    assert second is not None
    assert second.fence == first.fence + 1
    for late in (lambda: catalog.finish(first), lambda: catalog.renew(first, 1), lambda: catalog.fail(first, "x")):
        with pytest.raises(Conflict, match=r"job\.fence"):
            late()
    catalog.finish(catalog.renew(second, 5000))
    assert catalog.lease(["view"], "three", 1000) is None


def test_a_failing_job_waits_longer_each_time_and_ends(catalog: Catalog, clock: Clock) -> None:
    job_id = catalog.enqueue("view", {})
    waits = []
    for _ in range(MAX_ATTEMPTS):
        leased = catalog.lease(["view"], "me", 1000)
        assert leased is not None
        catalog.fail(leased, "decoder.limit")
        waited = 0
        while (found := catalog.find_job(job_id)) and found.state != "failed" and found.lease_until >= clock():
            clock.advance(500)
            waited += 500
        waits.append(waited)
    assert waits[:-1] == sorted(waits[:-1])
    ended = catalog.find_job(job_id)
    assert ended is not None
    assert (ended.state, ended.reason) == ("failed", "decoder.limit")
    catalog.retry_job(job_id)
    again = catalog.lease(["view"], "me", 1000)
    assert again is not None
    assert again.fence > ended.fence


def test_a_job_asked_for_twice_is_one(catalog: Catalog) -> None:
    catalog.enqueue("sweep", {"n": 1}, "sweep")
    catalog.enqueue("sweep", {"n": 2}, "sweep")
    leased = catalog.lease(["sweep", "view"], "me", 1000)
    assert leased is not None
    assert leased.subject == {"n": 1}
    assert catalog.lease(["sweep"], "me", 1000) is None
    assert catalog.lease(["outbox"], "me", 1000) is None


# --- challenges and sessions ------------------------------------------------------------------------------------------


def ask(catalog: Catalog, expires_at: int, nonce: str = "n") -> None:
    catalog.add_challenge(
        nonce=nonce, principal_id=WRITER, purpose="p", scope=("b", "a"), gateway="g", expires_at=expires_at
    )


def test_a_challenge_is_used_once_by_one(catalog: Catalog, clock: Clock) -> None:
    ask(catalog, clock() + 1000)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(catalog.consume_challenge("n", clock()))) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    won = [each for each in found if each is not None]
    assert len(won) == 1
    assert won[0].scope == ("b", "a")  # type: ignore[attr-defined]


def test_an_expired_or_unknown_challenge_is_none(catalog: Catalog, clock: Clock) -> None:
    ask(catalog, clock() + 1000)
    assert catalog.consume_challenge("n", clock() + 1000) is None
    assert catalog.consume_challenge("m", clock()) is None
    with pytest.raises(Conflict):
        ask(catalog, clock() + 1000)


def session(now: int) -> SessionRow:
    return SessionRow(
        tenant="main", session_id="5" * 32, principal_id=WRITER, purpose="p", scope=("claims",), kind="attested",
        tier="warning", claims={"kind": "sample"}, key_thumbprint="t", run_id="r", attested_at=now,
        expires_at=now + 3_600_000, revoked_at=None, attestation_seal=b"seal", created_at=now,
    )  # fmt: skip


def test_a_session_is_refreshed_forward_and_revoked_for_good(catalog: Catalog, clock: Clock) -> None:
    row = session(clock())
    catalog.insert_session(row)
    assert catalog.session(row.session_id) == row
    with pytest.raises(Conflict):
        catalog.insert_session(row)
    fresh = catalog.refresh_session(
        row.session_id, attested_at=clock() + 10, claims={"kind": "sample"}, tier="warning", attestation_seal=b"new"
    )
    assert catalog.session(row.session_id) == fresh == replace(row, attested_at=clock() + 10, attestation_seal=b"new")
    with pytest.raises(Conflict, match=r"session\.older"):
        catalog.refresh_session(
            row.session_id, attested_at=clock(), claims={}, tier="affirming", attestation_seal=b"old"
        )
    catalog.revoke_session(row.session_id)
    revoked_at = catalog.session(row.session_id).revoked_at
    clock.advance(5)
    catalog.revoke_session(row.session_id)
    assert catalog.session(row.session_id).revoked_at == revoked_at == clock() - 5
    with pytest.raises(Refused, match=r"session\.revoked"):
        catalog.refresh_session(
            row.session_id, attested_at=clock() + 20, claims={}, tier="affirming", attestation_seal=b"x"
        )
    with pytest.raises(NotFound):
        catalog.session("6" * 32)


# --- runs -------------------------------------------------------------------------------------------------------------


def test_a_named_run_has_no_age_and_an_unnamed_one_has_a_window(catalog: Catalog, clock: Clock) -> None:
    named = catalog.ensure_run(WRITER, "p", "train", "w", 1000)
    unnamed = catalog.ensure_run(WRITER, "p", "", "w", 100_000)
    clock.advance(90_000)
    assert catalog.ensure_run(WRITER, "p", "", "w", 100_000) == unnamed
    clock.advance(90_000)
    assert catalog.ensure_run(WRITER, "p", "", "w", 100_000) == unnamed, "the window moves with what the run does"
    clock.advance(100_001)
    assert catalog.ensure_run(WRITER, "p", "", "w", 100_000) != unnamed
    assert catalog.ensure_run(WRITER, "p", "train", "other", 1000) == named
    assert catalog.ensure_run("0" * 32, "p", "train", "w", 1000) != named
    assert catalog.ensure_run(WRITER, "p", "", "other", 100_000) != unnamed


def test_labels_flow_by_run(catalog: Catalog) -> None:
    run = catalog.ensure_run(WRITER, "p", "train", "w", 1000)
    assert catalog.run_label(run).placement is None
    catalog.add_io(run, "in", "d1", "v1", "open", "none", ["de", "fr"], RECORD)
    assert catalog.run_label(run).label == "none"
    catalog.add_io(run, "in", "d2", "v2", "raw", "personal", ["de"], RECORD)
    catalog.add_io(run, "in", "d2", "v2", "raw", "none", ["de", "fr"], RECORD)
    catalog.add_io(run, "out", "d3", "v3", "raw", "personal", ["us"], RECORD)
    catalog.add_io(run, "in", "d1", "v1", "open", "personal", ["de"], RECORD)
    assert [row.label for row in catalog.io(run) if row.version_id == "v1"] == ["personal"], "relabelled, read again"
    catalog.add_io(run, "in", "d4", "v4", "open", "none", ["de"], RECORD)
    catalog.add_io(run, "in", "d4", "v4", "open", "personal", ["de"], RECORD)
    assert [row.label for row in catalog.io(run) if row.version_id == "v4"] == ["personal"]
    found = catalog.run_label(run)
    assert (found.label, found.placement, found.inputs) == ("personal", ("de",), 3)


# --- principals, epochs, zones, what leaves ---------------------------------------------------------------------------


def test_a_credential_is_for_one_purpose_its_principal_may_have(catalog: Catalog) -> None:
    owner = catalog.create_principal("ana", "person", ["analyst", "analyst"], "de", ["b", "a"], RECORD)
    assert (owner.roles, owner.purposes) == (("analyst",), ("a", "b"))
    with pytest.raises(Refused, match=r"credential\.purpose"):
        catalog.create_credential("AKIA", owner.principal_id, "marketing", RECORD)
    made = catalog.create_credential("AKIA", owner.principal_id, "a", RECORD)
    assert catalog.credential("AKIA") == (made, owner)
    catalog.revoke_credential("AKIA", RECORD)
    for key in ("AKIA", "AKIB"):
        with pytest.raises(NotFound, match="credential"):
            catalog.credential(key)
    with pytest.raises(Refused):
        catalog.create_principal("x", "robot", [], "de", [], RECORD)


def test_one_epoch_is_active_and_groups_fill_to_their_limit(catalog: Catalog) -> None:
    first = catalog.add_epoch(epoch_id="e1", dataset_id="d", key_class="raw", epoch=1)
    assert catalog.add_epoch(epoch_id="e2", dataset_id="d", key_class="raw", epoch=1) == first
    assert catalog.find_epoch("e2") is None
    assert catalog.active_epoch("d", "view") is None
    catalog.set_epoch_state("e1", "retired")
    assert catalog.add_epoch(epoch_id="e3", dataset_id="d", key_class="raw", epoch=2).epoch_id == "e3"
    with pytest.raises(Conflict):
        catalog.set_epoch_state("e1", "active")
    assert catalog.reserve_group("e3", count=4, limit=10) is None
    catalog.add_group(group_id="g", dataset_id="d", key_class="raw", epoch_id="e3", wrapped=b"w", objects=4)
    reserved = catalog.reserve_group("e3", count=6, limit=10)
    assert reserved is not None
    assert reserved.objects == 10
    assert catalog.reserve_group("e3", count=1, limit=10) is None


def test_groups_reserved_by_several_at_once_never_pass_the_limit(catalog: Catalog) -> None:
    catalog.add_epoch(epoch_id="e", dataset_id="d", key_class="raw", epoch=1)
    catalog.add_group(group_id="g", dataset_id="d", key_class="raw", epoch_id="e", wrapped=b"w", objects=0)
    found: list[object] = []
    threads = [
        threading.Thread(target=lambda: found.append(catalog.reserve_group("e", count=3, limit=10))) for _ in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len([each for each in found if each is not None]) == 3
    group = catalog.find_group("g")
    assert group is not None
    assert group.objects == 9


def test_a_zone_nobody_looked_at_is_not_there(catalog: Catalog) -> None:
    with pytest.raises(NotFound):
        catalog.zone_state("de")
    seen = {"what": "store", "target": "t", "observed": "us", "strength": "network", "matches": False}
    catalog.set_zone(
        "de", "de", state="closed", reason="store.elsewhere", strength="network", observed=[seen], record=RECORD
    )
    catalog.set_zone("de", "de", state="open", reason="", strength="network", observed=[], record=RECORD)
    assert catalog.zone_state("de").state == "open"
    assert [row.observed for row in catalog.observations("de")] == ["us"]
    with pytest.raises(Refused):
        catalog.set_zone("de", "de", state="ajar", reason="", strength="none", observed=[], record=RECORD)


def test_the_outbox_is_sent_once_and_cursors_do_not_go_back(catalog: Catalog, clock: Clock) -> None:
    catalog.outbox_add("e1", ["file", "http"], {"n": 1})
    catalog.outbox_add("e1", ["file"], {"n": 2})
    due = catalog.outbox_due("file")
    assert [row.event for row in due] == [{"n": 1}]
    catalog.outbox_retry(due[0], 1000)
    assert catalog.outbox_due("file") == []
    clock.advance(1000)
    assert catalog.outbox_due("file")[0].attempts == 1
    catalog.outbox_sent("e1", "file")
    assert catalog.outbox_depth() == 1
    assert catalog.cursor("lineage") == 0
    catalog.advance_cursor("lineage", 5)
    with pytest.raises(Conflict):
        catalog.advance_cursor("lineage", 4)
    assert catalog.cursor("lineage") == 5


def test_one_doctrine_is_active_and_a_refused_one_does_not_replace_it(catalog: Catalog) -> None:
    catalog.doctrine_active("r1")
    catalog.doctrine_active("r2")
    catalog.doctrine_refused("r2", "late")
    catalog.doctrine_refused("r3", "does not compile")
    active = catalog.doctrine()
    assert active is not None
    assert active.revision == "r2"
    assert {row.revision: row.state for row in catalog.doctrines()} == {
        "r1": "retired", "r2": "active", "r3": "refused",
    }  # fmt: skip


# --- plans and views --------------------------------------------------------------------------------------------------


def test_sixteen_plans_and_no_more(catalog: Catalog) -> None:
    dataset_id = catalog.create_dataset("claims", "de", "personal", True, RECORD).dataset_id
    for number in range(16):
        catalog.declare_plan(dataset_id, f"p{number}", "analytics", {"n": number}, 1, RECORD)
    catalog.declare_plan(dataset_id, "p3", "analytics", {"n": 3}, 2, RECORD)
    with pytest.raises(Conflict, match=r"plan\.too-many"):
        catalog.declare_plan(dataset_id, "p16", "analytics", {}, 1, RECORD)
    catalog.retire_plan(dataset_id, "p0", "analytics", RECORD)
    catalog.declare_plan(dataset_id, "p16", "analytics", {}, 1, RECORD)
    assert len(catalog.plans(dataset_id)) == 16


# --- the database under it --------------------------------------------------------------------------------------------


def test_a_write_inside_a_write_is_a_fault_of_ours_and_rolls_back(catalog: Catalog) -> None:
    def nested() -> None:
        with catalog._database.write() as connection:
            connection.exec_driver_sql("DELETE FROM dataset")
            catalog.enqueue("view", {})

    catalog.create_dataset("claims", "de", "none", False, RECORD)
    with pytest.raises(Broken):
        nested()
    assert catalog.dataset("claims")


def test_a_locked_database_is_unavailable(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vault.catalog.database.BUSY_MS", 100)
    one, two = new_catalog(tmp_path, clock), new_catalog(tmp_path, clock)
    with one._database.write():
        with pytest.raises(Unavailable, match=r"catalog\.busy"):
            two.enqueue("view", {})
        assert two.datasets() == []
    two.enqueue("view", {})


def test_hot_rows_are_quick(catalog: Catalog) -> None:
    """A guard against a mistake of an order of magnitude; the figure itself is measured in benchmarks."""
    catalog.create_dataset("claims", "de", "none", False, RECORD)
    catalog.dataset("claims")
    best = 1.0
    for _ in range(20):
        begin = time.perf_counter()
        for _ in range(20):
            catalog.dataset("claims")
        best = min(best, (time.perf_counter() - begin) / 20)
    assert best < 0.0005
