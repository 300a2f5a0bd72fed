"""LIST against a model that sorts everything in memory, and by the plan the engine makes of it."""


import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fakes.clock import Clock
from tests.fakes.vault_world import RECORD, RUN, WRITER, new_catalog
from vault.catalog.catalog import Catalog
from vault.catalog.listing import _PAGES, ListPage, after_prefix
from vault.catalog.section import new_id
from vault.catalog.versions import NewManifest, NewVersion

KEYS = sorted(
    {
        "a", "a/", "a/1", "a/2/x", "a/2/y", "a/3", "b", "b//c", "b/c", "ä/1", "ä/2", "\U0001f600/x", "\uffff", "z-1",
        "z/1", "z/1/2", "zz", "dir/", "dir/sub/", "dir/sub/file", "a/2", "a//", "\ue000", "%2F/a", " ",
    },
    key=lambda key: key.encode(),
)  # fmt: skip


def add(catalog: Catalog, dataset_id: str, key: str) -> None:
    manifest, body = new_id(), new_id()
    catalog.add_bodies([(manifest, f"m/{manifest}", "v"), (body, f"b/{body}", "v")], dataset_id)
    catalog.commit_version(NewVersion(
        dataset_id=dataset_id, version_id=new_id(), key=key, size=1, etag="0" * 32, content_type="", key_class="raw",
        manifest=NewManifest(manifest, 1, b"h" * 32, f"m/{manifest}"), bodies=((manifest, 1), (body, 1)),
        label="none", placement=(), contract_version=0, written_by=WRITER, run_id=RUN, record=RECORD,
    ))  # fmt: skip


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalog, str]:
    catalog = new_catalog(tmp_path_factory.mktemp("listing"), Clock())
    dataset_id = catalog.create_dataset("claims", "de", "none", False, RECORD, versioning="enabled").dataset_id
    for key in reversed(KEYS):
        add(catalog, dataset_id, key)
    for key in ("gone", "a/gone", "zzz"):
        add(catalog, dataset_id, key)
        catalog.put_delete(dataset_id, key, WRITER, RUN, RECORD)
    return catalog, dataset_id


def model(prefix: str, delimiter: str) -> list[tuple[str, bool]]:
    """(entry, is a common prefix) in order, computed the plain way."""
    entries: list[tuple[str, bool]] = []
    for key in KEYS:
        if not key.startswith(prefix):
            continue
        at = key.find(delimiter, len(prefix)) if delimiter else -1
        entry = (key, False) if at < 0 else (key[: at + len(delimiter)], True)
        if entry not in entries:
            entries.append(entry)
    return sorted(entries, key=lambda entry: entry[0].encode())


def walk(catalog: Catalog, dataset_id: str, prefix: str, delimiter: str, limit: int) -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    after = ""
    for _ in range(100):
        page: ListPage = catalog.list_page(dataset_id, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        entries = [(row.key, False) for row in page.versions] + [(entry, True) for entry in page.common_prefixes]
        assert len(entries) <= limit
        found += sorted(entries, key=lambda entry: entry[0].encode())
        if not page.truncated:
            return found
        assert page.last is not None
        assert page.last > after or page.last.encode() > after.encode()
        after = page.last
    pytest.fail("the listing does not end")


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("delimiter", ["", "/", "//", "2", "ub/"])
@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/2", "b", "b/", "dir/", "ä", "z", "\U0001f600", "nothing"])
def test_pages_join_to_what_a_sort_in_memory_gives(
    listed: tuple[Catalog, str], prefix: str, delimiter: str, limit: int
) -> None:
    assert walk(*listed, prefix, delimiter, limit) == model(prefix, delimiter)


def test_an_empty_page_was_asked_for(listed: tuple[Catalog, str]) -> None:
    catalog, dataset_id = listed
    assert catalog.list_page(dataset_id, limit=0) == ListPage((), (), False, None)


def test_after_a_key_inside_a_common_prefix_the_prefix_is_still_named(listed: tuple[Catalog, str]) -> None:
    catalog, dataset_id = listed
    page = catalog.list_page(dataset_id, delimiter="/", after="a/1", limit=1)
    assert page.common_prefixes == ("a/",)
    page = catalog.list_page(dataset_id, delimiter="/", after="a/", limit=1)
    assert page.common_prefixes == ()
    assert [row.key for row in page.versions] == ["b"]


@given(st.text(max_size=5), st.text(max_size=8))
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_after_prefix_is_the_least_bound(prefix: str, rest: str) -> None:
    bound = after_prefix(prefix)
    if bound is None:
        assert set(prefix) <= {"\U0010ffff"}
        return
    assert (prefix + rest).encode("utf-8") < bound.encode("utf-8")
    assert not bound.startswith(prefix) or not prefix


@pytest.mark.parametrize("which", list(_PAGES))
def test_every_page_walks_the_index_and_sorts_nothing(listed: tuple[Catalog, str], which: tuple[bool, bool]) -> None:
    catalog, _ = listed
    dialect = catalog._database._engine.dialect
    statement = _PAGES[which].compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    names = list(statement.positiontup or ())
    plan = catalog._database._connection().exec_driver_sql(
        f"EXPLAIN QUERY PLAN {statement}", tuple(1 if name == "limit" else "x" for name in names)
    )
    said = " ".join(str(row[-1]) for row in plan)
    assert "object_version_listed" in said
    assert "TEMP B-TREE" not in said


def test_keys_are_ordered_by_their_bytes(listed: tuple[Catalog, str]) -> None:
    catalog, dataset_id = listed
    found = [row.key for row in catalog.list_versions_page(dataset_id)]
    assert found == KEYS
