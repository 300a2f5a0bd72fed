"""Vault, catalog and broker together, all real: what the catalog writes is what the broker's checks read."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes.broker import GATEWAY, BrokerWorld, FakeDataset
from tests.fakes.store import MemoryStore
from tests.fakes.vault_world import FACTS, RECORD, RUN, WRITER, new_catalog
from vault.attest.binding import ExpectedBinding, key_thumbprint
from vault.attest.sample import sample_evidence
from vault.catalog.mapping import UPLOAD
from vault.catalog.rows import SessionRow, VersionRow, ViewRow
from vault.catalog.versions import NewView
from vault.errors import Refused
from vault.objects import Vault


class Together:
    def __init__(self, directory: Path) -> None:
        self.world = BrokerWorld(directory)
        self.catalog = new_catalog(directory, self.world.clock)
        self.broker = self.world.restarted(catalog=self.catalog)
        self.vault = Vault(MemoryStore(), self.catalog, self.broker, "de", self.world.clock, cache_ms=0, min_part=1)
        self.dataset = self.catalog.create_dataset("claims", "de", "personal", True, RECORD)
        self.world.dataset = FakeDataset(self.dataset.dataset_id)

    def put(self, key: str, data: bytes) -> VersionRow:
        writer = self.vault.begin(self.dataset, key, "raw", "text/csv", {})
        writer.write(data)
        views = [NewView("a1" * 16, "b1")]
        return self.vault.commit(writer.finish(FACTS), written_by=WRITER, run_id=RUN, record=RECORD, views=views)

    def attested(self) -> SessionRow:
        world = self.world
        nonce = self.broker.challenge(world.principal_id, world.purpose, ["claims"], GATEWAY).nonce
        binding = ExpectedBinding(nonce, GATEWAY, key_thumbprint(world.jwk), world.purpose, ("claims",))
        answer = self.broker.attest(nonce, "sample", sample_evidence(binding), world.jwk, world.principal_id)
        row = SessionRow(
            tenant="main", session_id=answer.session_id, principal_id=world.principal_id, purpose=world.purpose,
            scope=("claims",), kind="attested", tier="warning", claims=answer.claims,
            key_thumbprint=answer.key_thumbprint, run_id=RUN, attested_at=answer.attested_at,
            expires_at=answer.expires_at, revoked_at=None, attestation_seal=answer.seals["warning"],
            created_at=answer.attested_at,
        )  # fmt: skip
        self.catalog.insert_session(row)
        return row

    def read(self, row: VersionRow | ViewRow, session: str | None, **intent: object) -> bytes:
        reader = self.vault.open(row, "k", self.world.grant(row.version_id, session, **intent))
        return b"".join(reader.stream())


@pytest.fixture
def together(tmp_path: Path) -> Together:
    return Together(tmp_path)


def test_an_attested_session_reads_raw_until_it_is_revoked(together: Together) -> None:
    row, session = together.put("k", b"raw rows"), together.attested()
    assert together.read(row, session.session_id) == b"raw rows"
    together.catalog.revoke_session(session.session_id)
    with pytest.raises(Refused):
        together.read(row, session.session_id)


def test_an_aborted_upload_set_open_again_by_sql_with_the_wrap_that_was_kept_opens_nothing(
    together: Together, tmp_path: Path
) -> None:
    upload = together.vault.begin_upload(
        together.dataset, "k", "raw", "text/csv", {}, principal_id=WRITER, run_id=RUN
    )
    kept = upload.upload_wrapped
    together.vault.abort_upload(upload)
    gone = together.catalog.find_upload(upload.dataset_id, upload.upload_id)
    assert gone is not None
    assert (gone.state, gone.upload_wrapped) == ("aborted", b"")
    again = replace(gone, state="open", upload_wrapped=kept)  # sealed with the key that front workers hold
    with together.catalog._database.write() as connection:
        together.catalog._replace(connection, UPLOAD, again)
    opened = together.world.opened()
    scope = together.vault._scope(upload.dataset_id, "raw")
    with pytest.raises(Refused, match=r"broker\.upload"):
        together.broker.unwrap_upload(scope, upload.version_id, upload.upload_id, kept)
    assert together.world.opened() == opened


SESSION_EDITS = {
    "tier": ("tier = 'affirming'", "session.seal"),
    "a later end": ("expires_at = expires_at + 3600000", "session.seal"),
    "scope": ("""scope = '["claims", "payroll"]'""", "session.seal"),
    "purpose": ("purpose = 'marketing'", "session.seal"),
    "kind": ("kind = 'identity'", "session.seal"),
    "freshness": ("attested_at = attested_at + 1000", "session.seal"),
    "revocation taken back": ("revoked_at = NULL", "session.revoked"),
}


@pytest.mark.parametrize("name", SESSION_EDITS)
def test_a_session_row_edited_by_sql_is_not_obeyed(together: Together, name: str, tmp_path: Path) -> None:
    edit, reason = SESSION_EDITS[name]
    row, session = together.put("k", b"raw rows"), together.attested()
    assert together.read(row, session.session_id) == b"raw rows"
    if reason == "session.revoked":
        together.broker.revoke_session(session.session_id)
        together.catalog.revoke_session(session.session_id)
    opened = together.world.opened()
    with sqlite3.connect(tmp_path / "catalog.sqlite3") as database:
        changed = database.execute(f"UPDATE session SET {edit} WHERE session_id = ?", (session.session_id,)).rowcount
    database.close()
    assert changed == 1
    assert together.catalog.session(session.session_id) != session or name == "revocation taken back"
    with pytest.raises(Refused, match=reason):
        together.read(row, session.session_id)
    assert together.world.opened() == opened


def test_nobody_else_reads_raw(together: Together) -> None:
    row = together.put("k", b"raw rows")
    for intent in ({}, {"view": "open"}, {"view": "a1" * 16}):
        with pytest.raises(Refused):
            together.read(row, None, **intent)


def test_a_view_is_built_under_a_lease_and_read_under_its_plan(together: Together) -> None:
    row = together.put("k", b"raw rows")
    job = together.catalog.lease(["view"], "builder", 60_000)
    assert job is not None
    with pytest.raises(Refused):
        together.vault.open_for_build(row, job.job_id, job.fence + 1)
    raw = b"".join(together.vault.open_for_build(row, job.job_id, job.fence).stream())
    view = together.catalog.find_view(job.subject["view_id"])
    assert view is not None
    ready = together.vault.put_view(row, view, [raw.replace(b"raw", b"***")], "text/csv", RECORD)
    together.catalog.finish(job)
    assert together.read(ready, None, view=view.plan_id) == b"*** rows"
    with pytest.raises(Refused):
        together.read(ready, None, view="b2" * 16)
    with pytest.raises(Refused):
        together.vault.open_for_build(row, job.job_id, job.fence)


def test_an_uploads_key_opens_while_it_is_open(together: Together) -> None:
    upload = together.vault.begin_upload(
        together.dataset, "k", "raw", "text/csv", {"a": "b"}, principal_id=WRITER, run_id=RUN
    )
    part = together.vault.begin_part(upload, 1)
    part.write(b"raw rows")
    listed = [(1, part.finish().md5.hex())]
    row = together.vault.complete_upload(upload, listed, FACTS, written_by=WRITER, run_id=RUN, record=RECORD)
    assert together.read(row, together.attested().session_id) == b"raw rows"
    with pytest.raises(Refused):
        together.vault.begin_part(upload, 2)
