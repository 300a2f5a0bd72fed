"""Documents that break what comes after them, and a ledger asked by who should see a masked view."""

from pathlib import Path
from typing import Any

import pytest

from gateway.api.records import Records
from gateway.contract import check_contract
from gateway.errors import BadRequest, Denied, NotFound
from lineage.errors import NotFound as NotOnRecord
from tests.fakes.gateway_world import GatewayWorld, contract_for

LONE = "em\ud800il"


def changed(field: str, value: Any) -> dict[str, Any]:
    document = contract_for("claims")
    columns = [dict(column) for column in document["columns"]]
    if field in {"name", "type", "finding"}:
        columns[0][field] = value
        return document | {"columns": columns}
    return document | {field: value}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("v", True), ("v", 1.0), ("owner", LONE), ("name", LONE), ("type", LONE), ("finding", {"x": 1.5}),
        ("finding", {"x": 2**53}), ("finding", {"x": {"y": 1}}), ("finding", {LONE: 1}), ("finding", {"x": LONE}),
        ("finding", {"x": True}), ("finding", []),
    ],
)  # fmt: skip
def test_a_contract_that_has_no_canonical_form_is_refused_by_its_field(field: str, value: Any) -> None:
    with pytest.raises(BadRequest, match=field) as refused:
        check_contract(changed(field, value), "claims")
    assert refused.value.rule == "contract.schema"


def test_a_finding_as_ingest_writes_it_is_taken() -> None:
    finding = {"detector": "value.email", "confidence": 99, "sampled": 400, "matched": 396}
    assert check_contract(changed("finding", finding), "claims")
    assert check_contract(changed("finding", None), "claims")


@pytest.mark.parametrize("name", [LONE, "x" * 201, "two\nlines"])
def test_a_principals_name_that_cannot_be_recorded_is_refused(tmp_path: Path, name: str) -> None:
    world = GatewayWorld(tmp_path)
    document = {
        "name": name, "kind": "person", "roles": ["analyst"], "jurisdiction": "de", "purposes": ["analytics"],
        "purpose": "analytics",
    }  # fmt: skip
    try:
        refusal = world.refused(world.registry.create_principal(world.steward, document, "req"))
        assert isinstance(refusal, BadRequest)
    finally:
        world.close()


class Published:
    """A published ledger in memory: one reader's own read of a view, and a commit and a raw read of others."""

    rows: tuple[dict[str, Any], ...] = (
        {"id": "i1", "type": "intent", "principal": "me"},
        {"id": "i2", "type": "intent", "principal": "job", "dataset": "jane-doe-example-com"},
        {"id": "c1", "type": "commit", "principal": "steward", "bytes": 758, "intent": "i0"},
        {"id": "s1", "type": "session", "principal": "job", "run_name": "jane@example.com"},
        {"id": "o2", "type": "outcome", "intent": "i2", "bytes": 758},
        {"id": "o1", "type": "outcome", "intent": "i1", "bytes": 610},
    )
    size = len(rows)

    def entries(self, start: int, stop: int) -> list[dict[str, Any]]:
        return list(self.rows[start:stop])

    def find(self, entry_id: str) -> int:
        for index, row in enumerate(self.rows):
            if row["id"] == entry_id:
                return index
        raise NotOnRecord("entry", entry_id)

    def receipt(self, entry_id: str) -> str:
        return f"receipt of {self.find(entry_id)}"

    def resource(self, path: str) -> bytes:
        return path.encode()


@pytest.fixture
def records(tmp_path: Path) -> Records:
    made = Records(tmp_path, tmp_path / "graph", b"k" * 32)
    made._reader = Published()  # type: ignore[assignment]
    return made


def test_a_reader_sees_its_own_entries_and_what_became_of_them(records: Records) -> None:
    """The size of a raw object stands in its commit; a hostile job chooses run names and asks for dataset names."""
    assert [entry["id"] for entry in records.decisions(100, whose="me")] == ["o1", "i1"]
    assert records.decisions(1, whose="job") == []
    assert len(records.decisions(100)) == Published.size


def test_a_receipt_of_another_is_as_absent_as_one_that_never_was(records: Records) -> None:
    assert records.receipt("i1", whose="me") == "receipt of 0"
    assert records.receipt("i2") == "receipt of 1"
    told = []
    for decision in ("i2", "c1", "never"):
        with pytest.raises(NotFound) as refused:
            records.receipt(decision, whose="me")
        told.append((refused.value.rule, refused.value.message))
    assert len(set(told)) == 1


def test_bundles_of_entries_are_for_those_who_audit(records: Records) -> None:
    with pytest.raises(Denied):
        records.tile("entries/000", whose="me")
    assert records.tile("entries/000")
    assert records.tile("0/000", whose="me")
