"""Lineage from ledger entries alone: files -> dataset -> run -> model, with columns and view."""

import json
import os
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from lineage.errors import NotFound, Unavailable
from lineage.graph import ENTRIES, GraphWriter, open_readonly
from lineage.ledger.reader import LedgerReader
from lineage.names import NoNames, Ranges, RunName, VersionName
from lineage.outbox import Outbox
from lineage.projector import Projector
from lineage.questions import Lineage, Questions
from lineage.transports.file import FileTransport
from lineage.tree import dataset_tree, run_tree
from tests.fakes.ledger import commit, entry_id, intent, outcome
from tests.unit.lineage.ledger.running import write_ledger

VECTORS = Path(os.environ.get("DEMESNE_VECTORS", Path(__file__).resolve().parents[4] / "shared" / "vectors"))
CLAIMS, MODELS, SCORES = "c" * 32, "0a" * 16, "0b" * 16
PART0, PART1, MODEL, SCORED = "a0" * 16, "a1" * 16, "b0" * 16, "b1" * 16
INGEST, TRAIN, SCORE, ANALYST = "d0" * 16, "d1" * 16, "d2" * 16, "d3" * 16
PLAN = "5e" * 16
EXTENTS = {"name": (4, 100), "birth_date": (100, 200), "postcode": (200, 300)}


class CatalogNames:
    """A live stand-in for the gateway's names: two columns-bearing files, a model, four runs."""

    def version(self, dataset_id: str, version_id: str) -> VersionName | None:
        fields = tuple((name, "string") for name in EXTENTS)
        known = {
            PART0: VersionName("claims", "2026/part-0.parquet", 1, fields),
            PART1: VersionName("claims", "2026/part-1.parquet", 1, fields),
            MODEL: VersionName("models", "risk/model.joblib", 0),
            SCORED: VersionName("scores", "all.csv", 0),
        }
        return known.get(version_id)

    def run(self, run_id: str) -> RunName | None:
        names = {INGEST: "ingest", TRAIN: "train-risk", SCORE: "score"}
        return RunName(names[run_id], "p", "trainer") if run_id in names else None

    def statement(self, statement_id: str) -> str | None:
        return None

    def columns(self, dataset_id: str, version_id: str, view: str, ranges: Ranges | None) -> Sequence[str]:
        if version_id not in {PART0, PART1}:
            return ()
        if ranges is None:
            return list(EXTENTS)
        return [n for n, (low, high) in EXTENTS.items() if any(a < high and b > low for a, b in ranges)]


def wrote(number: int, version: str, dataset_id: str, dataset: str, run: str, **more: Any) -> dict[str, Any]:
    return commit(number, version=version, dataset_id=dataset_id, dataset=dataset, run=run, **more)


STORY = [
    wrote(1, PART0, CLAIMS, "claims", INGEST),
    wrote(2, PART1, CLAIMS, "claims", INGEST),
    intent(10, version=PART0, run=TRAIN, view="raw"),
    intent(11, version=PART1, run=TRAIN, view="raw"),
    outcome(entry_id(10), 12, ranges=[[100, 200]], bytes=100),
    outcome(entry_id(11), 13, ranges=[[120, 130], [200, 220]], bytes=30),
    intent(14, version=PART0, run=ANALYST, view=PLAN),
    outcome(entry_id(14), 15),
    intent(16, version=PART0, run=TRAIN, action="head", view="raw"),
    intent(
        17, version=PART0, run=ANALYST, view="none", decision={
            "id": entry_id(17), "allow": False, "revision": "r", "codes": ["attestation.required"]},
    ),
    wrote(20, MODEL, MODELS, "models", TRAIN, format="opaque", label="personal"),
    intent(21, version=MODEL, run=SCORE, view="raw", dataset_id=MODELS, dataset="models"),
    outcome(entry_id(21), 22),
    wrote(23, SCORED, SCORES, "scores", SCORE, format="csv"),
]  # fmt: skip


def project(root: Path, entries: list[dict[str, Any]], names: Any = None) -> Path:
    write_ledger(root, entries)
    graph = GraphWriter(root / "lineage.sqlite3")
    Projector(LedgerReader(root / "ledger"), graph, names or CatalogNames(), "de").catch_up()
    graph.close()
    return root / "lineage.sqlite3"


def ask(path: Path) -> Any:
    return closing(open_readonly(path))


def test_columns_and_view_of_each_input_are_known(tmp_path: Path) -> None:
    with ask(project(tmp_path, STORY)) as connection:
        questions = Questions(connection)
        inputs = {read.object.key: read for read in questions.inputs(TRAIN)}
        masked = questions.inputs(ANALYST)
    assert inputs["2026/part-0.parquet"].columns == ("birth_date",)
    assert inputs["2026/part-1.parquet"].columns == ("birth_date", "postcode")
    assert {read.rendering for read in inputs.values()} == {"raw"}
    assert [(read.rendering, read.columns, read.assumed) for read in masked] == [("masked", tuple(EXTENTS), False)]


def test_which_models_saw_a_column_raw(tmp_path: Path) -> None:
    lineage = Lineage(project(tmp_path, STORY))
    (reader,) = lineage.raw_readers_of("claims", "postcode")
    assert reader.run.name == "train-risk"
    assert [version.key for version in reader.read] == ["2026/part-1.parquet"]
    assert [version.key for version in reader.outputs] == ["risk/model.joblib"]
    assert [version.key for version in reader.derived] == ["all.csv"]
    assert lineage.raw_readers_of("claims", "name") == []  # the analyst's view of it was masked


def test_reading_a_footer_alone_reads_no_column(tmp_path: Path) -> None:
    footer = [intent(40, version=PART0, run=SCORE), outcome(entry_id(40), 41, ranges=[[300, 400]], bytes=100)]
    path = project(tmp_path, [*STORY[:2], *footer])
    with ask(path) as connection:
        assert [read.columns for read in Questions(connection).inputs(SCORE)] == [()]
    assert Lineage(path).raw_readers_of("claims", "name") == []


def test_an_intent_without_outcome_counts_as_read_whole(tmp_path: Path) -> None:
    lineage = Lineage(project(tmp_path, [*STORY, intent(30, version=PART0, run=TRAIN, view="raw")]))
    (reader,) = lineage.raw_readers_of("claims", "name")
    assert reader.run.name == "train-risk"


def test_a_late_outcome_narrows_it_and_a_repeated_one_changes_nothing(tmp_path: Path) -> None:
    path = project(tmp_path, [*STORY, intent(30, version=PART0, run=TRAIN, view="raw")])
    late = outcome(entry_id(30), 31, ranges=[[200, 210]], bytes=10)
    for _ in range(2):
        project(tmp_path, [late])
        with ask(path) as connection:
            found = {read.object.key: read for read in Questions(connection).inputs(TRAIN)}["2026/part-0.parquet"]
        assert (found.columns, found.reads, found.bytes, found.assumed) == (("birth_date", "postcode"), 2, 110, False)


@pytest.mark.parametrize("status", ["refused", "aborted"])
def test_a_read_of_which_nothing_was_sent_is_no_input(tmp_path: Path, status: str) -> None:
    path = project(
        tmp_path, [intent(1, version=PART0, run=TRAIN), outcome(entry_id(1), 2, status=status, bytes=0, ranges=[])]
    )
    with ask(path) as connection:
        assert Questions(connection).inputs(TRAIN) == []


def test_the_tree_tells_the_story(tmp_path: Path) -> None:
    tree = dataset_tree(project(tmp_path, STORY), "claims")
    assert (tree.title, tree.facts) == ("s3://claims", {"objects": 2, "label": "personal"})
    files = [node for node in tree.children if node.kind == "file"]
    assert [(node.title, node.facts["written by"]) for node in files] == [
        ("2026/part-0.parquet", "ingest"),
        ("2026/part-1.parquet", "ingest"),
    ]
    train = next(node for node in tree.children if node.title == "train-risk")
    assert train.facts["reads"] == [
        {
            "dataset": "claims", "view": "raw", "plan": None, "objects": 2, "bytes": 130,
            "columns": ["birth_date", "postcode"], "assumed whole": False,
        }
    ]  # fmt: skip
    (model,) = train.children
    assert (model.title, model.facts["label"]) == ("s3://models/risk/model.joblib", "personal")
    assert [child.title for child in model.children[0].children] == ["s3://scores/all.csv"]
    assert json.loads(json.dumps(tree.as_document()))["children"][0]["kind"] == "file"
    assert run_tree(tmp_path / "lineage.sqlite3", TRAIN).children[0].title == "s3://models/risk/model.joblib"


def test_a_run_that_reads_what_it_wrote_does_not_loop(tmp_path: Path) -> None:
    loop = [
        wrote(1, PART0, CLAIMS, "claims", TRAIN), intent(2, version=PART0, run=SCORE, view="raw"),
        outcome(entry_id(2), 3), wrote(4, PART1, CLAIMS, "claims", SCORE),
        intent(5, version=PART1, run=TRAIN, view="raw"), outcome(entry_id(5), 6),
    ]  # fmt: skip
    path = project(tmp_path, loop)
    assert dataset_tree(path, "claims").children
    assert len(Lineage(path).neighbourhood(dataset="claims")["nodes"]) == 5


def test_the_neighbourhood_is_the_whole_story_from_either_end(tmp_path: Path) -> None:
    lineage = Lineage(project(tmp_path, STORY))
    for question in ({"dataset": "claims"}, {"run": SCORE}):
        found = lineage.neighbourhood(**question)
        assert {node["id"] for node in found["nodes"] if node["kind"] == "run"} == {INGEST, TRAIN, SCORE, ANALYST}
        assert {"dataset:claims", "dataset:models", "dataset:scores"} <= {node["id"] for node in found["nodes"]}
        reads = [edge for edge in found["edges"] if edge["kind"] == "read" and edge["target"] == TRAIN]
        assert {edge["rendering"] for edge in reads} == {"raw"}
    for absent in ({"dataset": "nothing"}, {"run": "f" * 32}):
        with pytest.raises(NotFound):
            lineage.neighbourhood(**absent)
    with pytest.raises(NotFound):
        Lineage(tmp_path / "absent").events()


def test_without_names_the_ledger_still_gives_the_shape(tmp_path: Path) -> None:
    path = project(tmp_path, STORY, NoNames())
    (reader, *_) = Lineage(path).raw_readers_of("claims", "anything")  # unknown columns: each may have been read
    assert reader.outputs[0].dataset == "models"


def test_a_step_that_fails_is_repeated_whole(tmp_path: Path) -> None:
    class FailingNames(CatalogNames):
        def run(self, run_id: str) -> RunName | None:
            if run_id == SCORE:
                raise Unavailable("catalog")
            return super().run(run_id)

    with pytest.raises(Unavailable):
        project(tmp_path, STORY, FailingNames())
    graph = GraphWriter(tmp_path / "lineage.sqlite3")
    assert graph.cursor(ENTRIES) == 0
    assert graph.outgoing(0, 10) == []
    projector = Projector(LedgerReader(tmp_path / "ledger"), graph, CatalogNames(), "de")
    assert (projector.catch_up(), projector.catch_up()) == (len(STORY), 0)
    graph.close()
    assert len(Lineage(tmp_path / "lineage.sqlite3").raw_readers_of("claims", "postcode")) == 1


def test_events_tell_start_reads_and_outputs(tmp_path: Path) -> None:
    events = Lineage(project(tmp_path, STORY)).events()
    kinds = [(event["eventType"], event["job"]["name"]) for event in events]
    assert kinds[:2] == [("START", "ingest"), ("START", "train-risk")]
    trained = next(e for e in events if e["eventType"] == "COMPLETE" and e["job"]["name"] == "train-risk")
    assert trained["run"]["runId"] == str(uuid.UUID(TRAIN))
    assert [i["name"] for i in trained["inputs"]] == ["2026/part-0.parquet", "2026/part-1.parquet"]
    access = trained["inputs"][1]["inputFacets"]["demesne_access"]
    assert (access["view"], access["columns"]) == ("raw", ["birth_date", "postcode"])
    lineage = trained["outputs"][0]["facets"]["columnLineage"]["dataset"]
    assert [(source["name"], source["field"]) for source in lineage] == [
        ("2026/part-0.parquet", "birth_date"),
        ("2026/part-1.parquet", "birth_date"),
        ("2026/part-1.parquet", "postcode"),
    ]
    (masked,) = [e for e in events if e["eventType"] == "RUNNING"]
    assert masked["inputs"][0]["inputFacets"]["demesne_access"]["plan"] == PLAN


@pytest.mark.peers
def test_events_validate_against_the_official_schemas(tmp_path: Path) -> None:
    folder = VECTORS / "openlineage"
    if not folder.exists():
        pytest.skip("the OpenLineage schemas are not here (DEMESNE_VECTORS)")
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    documents = [json.loads(path.read_text()) for path in folder.rglob("*.json")]
    resources = [(d["$id"], Resource.from_contents(d)) for d in documents]
    registry: Registry[Any] = Registry().with_resources(resources)
    core = Draft202012Validator(
        {"$ref": "https://openlineage.io/spec/2-0-2/OpenLineage.json"},
        registry=registry, format_checker=Draft202012Validator.FORMAT_CHECKER,
    )  # fmt: skip
    checked = set()
    for event in Lineage(project(tmp_path, STORY)).events():
        core.validate(event)
        owners = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
        for owner in owners:
            for kind in ("facets", "inputFacets", "outputFacets"):
                for name, facet in owner.get(kind, {}).items():
                    if not facet["_schemaURL"].startswith("urn:demesne:"):
                        Draft202012Validator({"$ref": facet["_schemaURL"]}, registry=registry).validate(facet)
                        checked.add(name)
    assert checked == {"version", "schema", "columnLineage", "subset", "inputStatistics", "outputStatistics", "jobType"}


def test_the_outbox_delivers_each_event_once_when_nothing_fails(tmp_path: Path) -> None:
    project(tmp_path, STORY)
    graph = GraphWriter(tmp_path / "lineage.sqlite3")
    outbox = Outbox(graph, FileTransport(tmp_path / "events.jsonl"))
    assert outbox.deliver() > 0
    assert outbox.deliver() == 0
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == Lineage(tmp_path / "lineage.sqlite3").events()
    graph.close()


def test_a_transport_that_fails_keeps_its_place(tmp_path: Path) -> None:
    project(tmp_path, STORY)
    graph = GraphWriter(tmp_path / "lineage.sqlite3")
    with pytest.raises(Unavailable):
        Outbox(graph, FileTransport(tmp_path)).deliver()
    assert graph.cursor("sink:file") == 0
    path = tmp_path / "events.jsonl"
    path.write_text('{"half":')  # what a crash left
    Outbox(graph, FileTransport(path)).deliver()
    assert all(json.loads(line) for line in path.read_text().splitlines())
    graph.close()
