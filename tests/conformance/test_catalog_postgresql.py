"""The catalog on a real PostgreSQL: the same calls, the same answers, across connections."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text, update

from tests.fakes.clock import Clock
from tests.fakes.key_holder import KeyHolder, grant
from tests.fakes.postgresql import available, postgresql
from tests.fakes.store import MemoryStore
from tests.fakes.vault_world import FACTS, MAC_KEY, RECORD, RUN, WRITER
from vault.catalog import tables
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database
from vault.catalog.rows import VersionRow
from vault.catalog.seal import RowSeal
from vault.catalog.versions import NewView, Precondition
from vault.errors import Conflict, Refused, Unavailable
from vault.objects import Changes, Vault

pytestmark = [pytest.mark.servers, pytest.mark.skipif(not available(), reason="PostgreSQL is not installed")]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgresql() as running:
        Database(running).upgrade()
        yield running


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    database = Database(url)
    yield Catalog(database, RowSeal(MAC_KEY), Clock())
    with database.write() as connection:
        for table in tables.metadata.sorted_tables:
            connection.execute(text(f'TRUNCATE "{table.name}"'))
    database.close()


@pytest.fixture
def vault(catalog: Catalog) -> Vault:
    catalog.create_dataset("claims", "de", "personal", True, RECORD)
    return Vault(MemoryStore(), catalog, KeyHolder(), "de", Clock())  # type: ignore[arg-type]


def put(vault: Vault, key: str, data: bytes, **commit: object) -> VersionRow:
    writer = vault.begin(vault.catalog.dataset("claims"), key, "raw", "", {})
    writer.write(data)
    sealed = writer.finish(FACTS)
    return vault.commit(sealed, written_by=WRITER, run_id=RUN, record=RECORD, **commit)  # type: ignore[arg-type]


def test_an_object_there_and_back_and_gone(vault: Vault) -> None:
    row = put(vault, "k", b"rows", views=[NewView("plan1", "b1")])
    assert vault.catalog.latest(row.dataset_id, "k") == row
    assert b"".join(vault.open(row, "k", grant()).stream()) == b"rows"
    view = vault.catalog.view(row.version_id, "plan1")
    assert view is not None
    ready = vault.put_view(row, view, [b"masked"], "", RECORD)
    assert b"".join(vault.open(ready, "k", grant()).stream()) == b"masked"
    assert vault.catalog.put_delete(row.dataset_id, "k", WRITER, RUN, RECORD).removed is not None
    assert vault.catalog.latest(row.dataset_id, "k") is None


def test_keys_are_listed_by_their_bytes(vault: Vault) -> None:
    keys = ["b", "a", "B", "ä", "a/b", "a-b", "A", "\U0001f600", "\ue000"]
    for key in keys:
        put(vault, key, b"x")
    dataset_id = vault.catalog.dataset("claims").dataset_id
    found = [row.key for row in vault.catalog.list_versions_page(dataset_id)]
    assert found == sorted(keys, key=lambda key: key.encode())
    page = vault.catalog.list_page(dataset_id, delimiter="/", limit=4)
    assert ([row.key for row in page.versions], page.common_prefixes) == (["A", "B", "a", "a-b"], ())


def test_of_many_at_once_one_is_first_and_sequences_have_no_gap(vault: Vault) -> None:
    won: list[VersionRow] = []
    lost: list[Conflict] = []

    def write(number: int) -> None:
        try:
            won.append(put(vault, "k", b"%d" % number, expect=Precondition(if_none_match="*")))
        except Conflict as error:
            lost.append(error)
        put(vault, f"own-{number}", b"x")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (len(won), len(lost)) == (1, 7)
    dataset = vault.catalog.dataset("claims")
    found = [row.sequence for row in vault.catalog.snapshots(dataset.dataset_id)]
    assert found == list(range(1, 10))


def test_a_job_is_leased_once(catalog: Catalog) -> None:
    for number in range(20):
        catalog.enqueue("view", {"n": number})
    taken: list[str] = []

    def work() -> None:
        while (job := catalog.lease(["view"], "me", 60_000)) is not None:
            taken.append(job.job_id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(taken) == len(set(taken)) == 20


def test_a_challenge_is_consumed_once(catalog: Catalog) -> None:
    now = catalog.now()
    catalog.add_challenge(
        nonce="n", principal_id=WRITER, purpose="p", scope=("a",), gateway="g", expires_at=now + 1000
    )
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(catalog.consume_challenge("n", now))) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len([each for each in found if each is not None]) == 1


def test_an_edited_row_is_refused(vault: Vault) -> None:
    put(vault, "k", b"rows")
    with vault.catalog._database.write() as connection:
        connection.execute(update(tables.object_version).values(label="none"))
    with pytest.raises(Refused, match=r"catalog\.row-edited"):
        vault.catalog.latest(vault.catalog.dataset("claims").dataset_id, "k")


def test_a_transaction_that_failed_does_not_spoil_the_next(catalog: Catalog) -> None:
    catalog.create_dataset("claims", "de", "none", False, RECORD)
    for _ in range(3):
        with pytest.raises(Conflict, match=r"dataset\.exists"):
            catalog.create_dataset("claims", "de", "none", False, RECORD)
    assert catalog.create_dataset("other", "de", "none", False, RECORD).name == "other"
    assert len(catalog.datasets()) == 2


def hang_up(url: str) -> None:
    """What a restart of the server does to every connection at rest."""
    other = Database(url)
    other.rows(
        text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = :who"),
        {"who": "demesne"},
    )
    other.close()


def test_a_connection_lost_at_rest_is_made_again_for_a_read_and_for_a_write(catalog: Catalog, url: str) -> None:
    made = catalog.create_dataset("claims", "de", "personal", True, RECORD)
    hang_up(url)
    assert catalog.dataset("claims").dataset_id == made.dataset_id
    hang_up(url)
    catalog.create_dataset("more", "de", "personal", True, RECORD)
    assert catalog.dataset("more").name == "more"


@pytest.mark.parametrize("found_by", ["a read", "a write", "the commit"])
def test_a_connection_lost_inside_a_transaction_writes_nothing(found_by: str, catalog: Catalog, url: str) -> None:
    catalog.create_dataset("claims", "de", "personal", True, RECORD)
    database = Database(url)

    def rename() -> None:
        with database.write() as connection:
            connection.execute(update(tables.dataset).values(name="renamed"))
            hang_up(url)
            if found_by == "a read":
                database.rows(text("SELECT 1"), {})
            elif found_by == "a write":
                connection.execute(update(tables.dataset).values(name="again"))

    with pytest.raises(Unavailable, match=r"catalog\.unreachable"):
        rename()
    assert [row.name for row in database.rows(text("SELECT name FROM dataset"), {})] == ["claims"]
    with database.write() as connection:
        connection.execute(update(tables.dataset).values(name="claims"))
    database.close()


def test_copies_tags_markers_and_pages_of_versions(vault: Vault) -> None:
    catalog = vault.catalog
    dataset_id = catalog.dataset("claims").dataset_id
    catalog.set_versioning(dataset_id, "enabled", RECORD)
    said = {"written_by": WRITER, "run_id": RUN, "record": RECORD}
    source = put(vault, "ä", b"shared")
    made = vault.copy(source, "B", FACTS, Changes(tags={"t": "1"}), grant(), **said)  # type: ignore[arg-type]
    tagged = vault.tag(made, {"t": "2"}, grant(), RECORD)
    assert vault.describe(tagged, "B", grant()).tags == {"t": "2"}
    held = catalog.dataset("claims")
    marker = vault.delete(held, "ä", by=WRITER, run_id=RUN, record=RECORD)
    assert vault.delete(held, "ä", by=WRITER, run_id=RUN, record=RECORD, version_id=source.version_id).removed
    clock: Any = vault._clock
    clock.advance(3_600_001)
    catalog._clock.advance(3_600_001)  # type: ignore[attr-defined]
    vault.sweep()
    assert b"".join(vault.open(tagged, "B", grant()).stream()) == b"shared"
    for key in ("b", "a", "\U0001f600", "\ue000"):
        put(vault, key, b"1")
        put(vault, key, b"2")
    found, after, before = [], "", None
    while True:
        page = catalog.version_page(dataset_id, after_key=after, before=before, limit=3)
        found += [(row.key, row.sequence) for row in page.versions]
        if page.last is None:
            break
        after, before = page.last.key, page.last.sequence
    assert found == sorted(found, key=lambda line: (line[0].encode(), -line[1]))
    assert len(found) == 10
    assert marker.version_id in {row.version_id for row in catalog.version_page(dataset_id, prefix="ä").versions}


def test_uploads_are_listed_by_their_bytes(vault: Vault) -> None:
    keys = ["b", "a", "B", "ä", "a/b", "A", "\U0001f600", "\ue000"]
    held = vault.catalog.dataset("claims")
    for key in keys:
        vault.begin_upload(held, key, "raw", "", {}, principal_id=WRITER, run_id=RUN)
    first = vault.catalog.upload_page(held.dataset_id, WRITER, limit=5)
    last = first.uploads[-1]
    rest = vault.catalog.upload_page(held.dataset_id, WRITER, after_key=last.key, after_upload=last.upload_id)
    found = [row.key for row in (*first.uploads, *rest.uploads)]
    assert (first.truncated, rest.truncated) == (True, False)
    assert found == sorted(keys, key=lambda key: key.encode())


def test_writers_of_one_key_at_once_are_ordered_by_their_commits(vault: Vault) -> None:
    catalog = vault.catalog
    dataset_id = catalog.dataset("claims").dataset_id
    catalog.set_versioning(dataset_id, "enabled", RECORD)
    made: list[VersionRow] = []

    def write() -> None:
        made.extend(put(vault, "k", b"x") for _ in range(5))

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = catalog.version_page(dataset_id).versions
    assert {row.version_id for row in rows} == {row.version_id for row in made}
    stamps = [row.created_at for row in rows]
    assert len(stamps) == 20
    assert stamps == sorted(set(stamps), reverse=True)
    assert [row.is_latest for row in rows] == [True] + [False] * 19


def test_of_many_replicas_one_fetches_an_issuers_keys(url: str, catalog: Catalog) -> None:
    """The first row, and every minute after it: one of them is told to, whoever asks at once."""
    clock = Clock()
    replicas = [Catalog(Database(url), RowSeal(MAC_KEY), clock) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        for _ in range(3):
            told = list(pool.map(lambda one: one.may_fetch_issuer_keys("ci"), replicas))
            assert sorted(told) == [False] * 5 + [True]
            clock.advance(60_000)
    catalog.keep_issuer_keys("ci", "{}", RECORD)
    catalog.want_issuer_keys("ci")
    found = replicas[0].issuer_keys("ci")
    assert found is not None
    assert (found.document, found.record) == ("{}", RECORD)
    for replica in replicas:
        replica.close()
