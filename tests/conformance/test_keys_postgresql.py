"""Key rows on a real PostgreSQL: a group that is being left takes no commit, whoever comes first."""

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.fakes.clock import Clock
from tests.fakes.postgresql import available, postgresql
from tests.fakes.vault_world import MAC_KEY
from vault.catalog import tables
from vault.catalog.catalog import Catalog
from vault.catalog.database import Database
from vault.catalog.seal import RowSeal
from vault.envelope.wrap import WrappedKey
from vault.errors import Conflict
from vault.keys.rewrap import MovedGroup, MovedWrap

pytestmark = [pytest.mark.servers, pytest.mark.skipif(not available(), reason="PostgreSQL is not installed")]
DATASET, SUBJECT, UPLOAD = "d" * 32, "5" * 32, "u1"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with postgresql() as running:
        Database(running).upgrade()
        yield running


@pytest.fixture
def catalog(url: str) -> Iterator[Catalog]:
    database = Database(url)
    made = Catalog(database, RowSeal(MAC_KEY), Clock())
    made.add_epoch(epoch_id="e1", dataset_id=DATASET, key_class="raw", epoch=1)
    made.add_group(group_id="g1", dataset_id=DATASET, key_class="raw", epoch_id="e1", wrapped=b"w", objects=64)
    yield made
    with database.write() as connection:
        for table in tables.metadata.sorted_tables:
            connection.execute(text(f'TRUNCATE "{table.name}"'))
    database.close()


def hold(catalog: Catalog, subject: str, group: str = "g1") -> None:
    with catalog._database.write() as connection:
        catalog._hold_wrap(connection, DATASET, subject, WrappedKey(group, "raw", b"x" * 61))


def test_the_life_of_a_group(catalog: Catalog) -> None:
    hold(catalog, SUBJECT)
    hold(catalog, f"{SUBJECT}:{UPLOAD}")
    hold(catalog, "6" * 32)
    assert [(each.groups, each.objects) for each in catalog.usage(DATASET)] == [(1, 3)]
    catalog.rotate_epoch(epoch_id="e2", dataset_id=DATASET, key_class="raw")
    catalog.rotate_epoch(epoch_id="e2", dataset_id=DATASET, key_class="raw")
    assert [each.state for each in catalog.epochs(DATASET)] == ["retired", "active"]
    with pytest.raises(Conflict, match=r"key\.epoch-retired"):
        catalog.add_group(group_id="g9", dataset_id=DATASET, key_class="raw", epoch_id="e1", wrapped=b"w", objects=1)
    catalog.add_group(group_id="g2", dataset_id=DATASET, key_class="raw", epoch_id="e2", wrapped=b"w", objects=64)
    assert catalog.count_groups_elsewhere(DATASET, "raw", "e2") == 1
    catalog.close_groups(["g1"])
    with pytest.raises(Conflict, match=r"key\.group-closed"):
        hold(catalog, "7" * 32)
    assert catalog.find_wrap("7" * 32) is None
    with pytest.raises(Conflict, match=r"key\.group-in-use"):
        catalog.erase_groups(["g1"])
    with catalog._database.write() as connection:
        catalog._drop_wrap(connection, SUBJECT)
    assert [row.subject for row in catalog.wraps_of("g1")] == ["6" * 32]
    assert [row.subject for row in catalog.wraps_for(DATASET, [SUBJECT])] == [SUBJECT]  # deleted, and still known
    catalog.move_wraps([MovedWrap("6" * 32, "g1", "g2", b"y" * 61)])
    with pytest.raises(Conflict, match=r"key\.in-use"):
        catalog.set_epoch_state("e1", "pending-destruction", unused=True)
    catalog.erase_groups(["g1"])
    catalog.set_epoch_state("e1", "pending-destruction", unused=True)
    assert [(each.groups, each.objects) for each in catalog.usage(DATASET)] == [(0, 0), (1, 1)]


def test_groups_move_once(catalog: Catalog) -> None:
    catalog.rotate_epoch(epoch_id="e2", dataset_id=DATASET, key_class="raw")
    moved = [MovedGroup("g1", "e1", "e2", b"new")]
    assert [catalog.move_groups(moved), catalog.move_groups(moved)] == [1, 0]
    with pytest.raises(Conflict, match=r"key\.epoch-retired"):
        catalog.move_groups([MovedGroup("g1", "e2", "e1", b"back")])


def test_closing_waits_for_a_commit_under_way_and_sees_it(url: str, catalog: Catalog) -> None:
    other = Catalog(Database(url), RowSeal(MAC_KEY), Clock())
    closed = threading.Event()

    def close() -> None:
        other.close_groups(["g1"])
        closed.set()

    thread = threading.Thread(target=close)
    with catalog._database.write() as connection:
        catalog._hold_wrap(connection, DATASET, SUBJECT, WrappedKey("g1", "raw", b"x" * 61))
        thread.start()
        time.sleep(0.3)
        assert not closed.is_set()
    thread.join(5)
    assert [row.subject for row in other.wraps_of("g1")] == [SUBJECT]
    other.close()
