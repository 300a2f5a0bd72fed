"""The whole road against the live fake gateway: order, idempotence, and what bad input leaves behind (nothing)."""

import hashlib
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demesne import Client, Conflict, DemesneError, Malformed, Settings, Unavailable
from demesne.cli import app
from demesne.s3 import ObjectWriter, Payload
from demesne.settings import parse_ready_file
from ingest import cli, pipeline
from ingest.errors import BadContract, BadFile
from ingest.pipeline import Order, Report
from tests.fakes.api import FakeGateway

ROWS = 400


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        yield running


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "claims"
    directory.mkdir()
    mails = [f"person{n}@example.org" for n in range(ROWS)]
    table = pa.table({"email": mails, "visits": list(range(ROWS))})
    pq.write_table(table.slice(0, 200), directory / "part-0.parquet")
    pq.write_table(table.slice(200), directory / "part-1.parquet")
    rows = "".join(f"{n},ident{n}@example.org,{n}\n" for n in range(100))
    (directory / "people.csv").write_text("person_id,email,plan\n" + rows + "1,broken\n" + rows)
    return directory


@pytest.fixture
def order(source: Path, tmp_path: Path) -> Order:
    return Order(
        source, "claims", synthetic=True, purposes=("analytics",), numeric_is="none", quarantine=tmp_path / "quarantine"
    )


def _settings(gateway: FakeGateway) -> Settings:
    return parse_ready_file(json.dumps(gateway.ready_document()))


def _run(gateway: FakeGateway, order: Order) -> Report:
    settings = _settings(gateway)
    with Client.from_settings(settings) as client, ObjectWriter.from_settings(settings) as writer:
        return pipeline.run(order, client, writer)


def test_everything_arrives_with_its_contract(gateway: FakeGateway, order: Order, source: Path) -> None:
    report = _run(gateway, order)
    assert report.dataset_status == "created"
    assert gateway.datasets["claims"]["synthetic"] is True
    assert gateway.datasets["claims"]["label"] == "personal"
    labels = {column["name"]: column["label"] for column in gateway.contracts["claims"][0]["columns"]}
    assert labels == {"email": "pii.email", "visits": "none", "person_id": "pii.id", "plan": "none"}
    assert gateway.objects["claims", "part-0.parquet"].body == (source / "part-0.parquet").read_bytes()
    assert gateway.objects["claims", "people.csv"].content_type.startswith("text/csv")
    stored = gateway.objects["claims", "part-1.parquet"]
    assert stored.metadata == {pipeline.SHA256_METADATA: hashlib.sha256(stored.body).hexdigest()}


def test_dataset_then_contract_then_objects(gateway: FakeGateway, order: Order) -> None:
    _run(gateway, order)
    paths = [(port, method, path) for port, method, path in gateway.writes()]
    assert paths[:2] == [("api", "POST", "/v1/datasets"), ("api", "PUT", "/v1/datasets/claims/contract")]
    assert {entry[0] for entry in paths[2:]} == {"s3"}


def test_bad_rows_are_kept_with_their_reason_and_counted(gateway: FakeGateway, order: Order, source: Path) -> None:
    report = _run(gateway, order)
    assert report.as_document()["quarantined_rows"] == 1
    (path,) = map(Path, report.quarantine)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    entry = json.loads(path.read_text())
    assert entry == {
        "file": "people.csv", "line": 102, "reason": "2 columns where the header has 3", "row": "1,broken\n",
    }  # fmt: skip
    whole = (source / "people.csv").read_bytes()
    assert gateway.objects["claims", "people.csv"].body == whole.replace(b"1,broken\n", b"")


def test_running_it_twice_changes_nothing(gateway: FakeGateway, order: Order) -> None:
    first = _run(gateway, order)
    before, writes = gateway.state(), len(gateway.writes())
    second = _run(gateway, order)
    assert gateway.state() == before
    assert len(gateway.writes()) == writes
    assert second.dataset_status == second.contract_status == "unchanged"
    assert {entry.status for entry in second.files} == {"unchanged"}
    assert second.contract == first.contract
    assert second.quarantine == first.quarantine


def test_a_run_cut_off_is_finished_by_running_it_again(gateway: FakeGateway, order: Order) -> None:
    gateway.hook_before = lambda m, path: (503, "SlowDown") if m == "PUT" and path.endswith("part-1.parquet") else None
    with pytest.raises(Unavailable, match="SlowDown"):
        _run(gateway, order)
    assert set(gateway.objects) == {("claims", "part-0.parquet")}
    gateway.hook_before = lambda _m, _p: None
    statuses = {entry.key: entry.status for entry in _run(gateway, order).files}
    assert statuses == {"part-0.parquet": "unchanged", "part-1.parquet": "written", "people.csv": "written"}


def test_an_answer_lost_after_the_effect_is_no_second_version(gateway: FakeGateway, order: Order) -> None:
    gateway.hook_after = lambda m, path: (503, "Lost") if m == "PUT" and path.endswith("part-0.parquet") else None
    with pytest.raises(Unavailable):
        _run(gateway, order)
    gateway.hook_after = lambda _m, _p: None
    statuses = {entry.key: entry.status for entry in _run(gateway, order).files}
    assert statuses["part-0.parquet"] == "unchanged"


def test_a_changed_file_is_written_and_others_are_not(gateway: FakeGateway, order: Order, source: Path) -> None:
    _run(gateway, order)
    (source / "people.csv").write_text("person_id,email,plan\n7,new@example.org,1\n")
    statuses = {entry.key: entry.status for entry in _run(gateway, order).files}
    assert statuses == {"part-0.parquet": "unchanged", "part-1.parquet": "unchanged", "people.csv": "written"}


def _break_parquet(source: Path) -> None:
    path = source / "part-1.parquet"
    path.write_bytes(path.read_bytes()[:-20])


def _change_columns(source: Path) -> None:
    (source / "people.csv").write_text("a,b,c\n1,2,3\n4,5\n")


@pytest.mark.parametrize("spoil", [_break_parquet, _change_columns])
def test_a_bad_file_leaves_nothing_behind(
    gateway: FakeGateway, order: Order, source: Path, tmp_path: Path, spoil: Any
) -> None:
    spoil(source)
    with pytest.raises(BadFile):
        _run(gateway, order)
    assert gateway.requests == []
    assert not (tmp_path / "quarantine").exists()


def test_an_absent_column_in_label_or_contract_leaves_nothing_behind(
    gateway: FakeGateway, order: Order, tmp_path: Path
) -> None:
    with pytest.raises(BadContract, match="--label mail"):
        _run(gateway, replace(order, labels={"mail": "pii.email"}))
    document = {
        "v": 1, "dataset": "claims", "owner": "me", "purposes": [], "keys_personal": False,
        "columns": [{"name": "salary", "type": "number", "label": "none", "finding": None}],
    }  # fmt: skip
    path = tmp_path / "contract.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadContract, match=r"columns\[0\]\.name: names column 'salary'"):
        _run(gateway, replace(order, contract_file=path, purposes=()))
    assert gateway.writes() == []
    assert not (tmp_path / "quarantine").exists()


def test_real_data_does_not_go_where_made_up_data_is(gateway: FakeGateway, order: Order) -> None:
    _run(gateway, order)
    before = gateway.state()
    with pytest.raises(Conflict, match="is synthetic"):
        _run(gateway, replace(order, synthetic=False))
    assert gateway.state() == before


def test_a_file_that_changes_while_it_is_written_is_refused(gateway: FakeGateway, tmp_path: Path) -> None:
    gateway.datasets["claims"] = {"name": "claims"}
    payload = Payload(3, hashlib.sha256(b"abc").hexdigest(), hashlib.md5(b"abc").hexdigest(), lambda: iter([b"abd"]))
    with ObjectWriter.from_settings(_settings(gateway)) as writer, pytest.raises(DemesneError, match="Mismatch"):
        writer.put("claims", "x", payload, content_type="text/csv")
    assert gateway.objects == {}


def _payload(body: bytes) -> Payload:
    return Payload(len(body), hashlib.sha256(body).hexdigest(), hashlib.md5(body).hexdigest(), lambda: iter([body]))


def test_any_key_is_written_and_found_again(gateway: FakeGateway) -> None:
    gateway.datasets["claims"] = {"name": "claims"}
    with ObjectWriter.from_settings(_settings(gateway)) as writer:
        for key in ("x é+%.csv", "a//b", "a b/c?d=e#f", "~", "%2e%2e"):
            writer.put("claims", key, _payload(b"abc"), content_type="text/csv")
            facts = writer.head("claims", key)
            assert facts is not None
            assert facts.etag == hashlib.md5(b"abc").hexdigest()
            assert ("claims", key) in gateway.objects


def test_another_etag_than_was_sent_is_noticed(gateway: FakeGateway) -> None:
    gateway.datasets["claims"] = {"name": "claims"}
    gateway.answered_etag = '"0"'
    with ObjectWriter.from_settings(_settings(gateway)) as writer, pytest.raises(Malformed, match=r"s3\.etag"):
        writer.put("claims", "x", _payload(b"abc"), content_type="text/csv")


def test_progress_counts_every_byte_twice(gateway: FakeGateway, order: Order, source: Path) -> None:
    settings, seen = _settings(gateway), []
    with Client.from_settings(settings) as client, ObjectWriter.from_settings(settings) as writer:
        pipeline.run(order, client, writer, progress=lambda _step, _what, done: seen.append(done))
    assert sum(seen) == 2 * sum(path.stat().st_size for path in source.iterdir())


@pytest.fixture
def command(gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "ingest"

        def load(self) -> object:
            return cli.register

    path = tmp_path / "ready.json"
    path.write_text(json.dumps(gateway.ready_document()))
    monkeypatch.setenv("DEMESNE_READY_FILE", str(path))
    monkeypatch.setattr(app, "entry_points", lambda group: [Entry()])
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("command")
def test_the_command_reports_to_programs_and_people(
    gateway: FakeGateway, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ingest", str(source), "claims", "--synthetic", "--label", "plan=none", "--purpose", "analytics"]
    assert app.run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"] == ROWS + 200
    assert document["quarantined_rows"] == 1
    assert app.run(arguments) == 0
    said = capsys.readouterr().out
    assert "unchanged" in said
    assert "pii.email" in said


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--zone", "it"], 9), (["--label", "nonsense"], 5), (["--label", "absent=none"], 5),
        (["--numeric-is", "x"], 5), (["--bad-rows", "101"], 5),
    ],
)  # fmt: skip
def test_wrong_options_leave_nothing_behind(
    gateway: FakeGateway, source: Path, arguments: list[str], code: int
) -> None:
    assert app.run(["ingest", str(source), "claims", *arguments]) == code
    assert gateway.writes() == []


@pytest.mark.usefixtures("command")
def test_dry_run_asks_nobody(gateway: FakeGateway, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["ingest", str(source), "claims", "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["contract"]["dataset"] == "claims"
    assert gateway.requests == []
