"""Bad input gets a clear error and leaves nothing behind (issue 2, point 13): files, contracts, zones, doctrines."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import demesne
from tests.e2e.conftest import DATASET
from tests.e2e.people import Input
from tests.e2e.world import World, refused, until

pytestmark = pytest.mark.timeout(180)

SETTLED = 2.0  # seconds; each front worker looks at the folder once in one second, and a probe sees one of them
BAD_INPUT, NOT_CONFIGURED = 5, 9  # exit codes, as `demesne --help` lists them


def everything_made(world: World, zone: str = "de") -> dict[str, Any]:
    """What could have been left behind."""
    store = world.zone_dir(zone) / "store"
    return {
        "datasets": world.catalog("select name from dataset order by name", zone=zone),
        "contracts": world.catalog("select count(*) from contract_version", zone=zone),
        "versions": world.catalog("select count(*) from object_version", zone=zone),
        "bodies": world.catalog("select count(*) from body", zone=zone),
        "files": sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()),
        "temporary": sorted(path.name for path in (world.zone_dir(zone) / "tmp").iterdir()),
        "quarantine": (world.work_dir / "quarantine").exists(),
    }


def broken_parquet(folder: Path, made: Input) -> Path:
    whole = (made.directory / "part-0.parquet").read_bytes()
    path = folder / "broken.parquet"
    path.write_bytes(whole[: len(whole) // 2] + whole[-200:])
    return path


def footless_parquet(folder: Path, made: Input) -> Path:
    path = folder / "cut.parquet"
    path.write_bytes((made.directory / "part-0.parquet").read_bytes()[:-100])
    return path


def changing_csv(folder: Path, made: Input) -> Path:
    lines = (made.directory / "members.csv").read_text().splitlines()
    path = folder / "changing.csv"
    path.write_text("\n".join(lines[:50] + ["id,amount,currency"] + [f"{n},{n * 2},EUR" for n in range(50)]) + "\n")
    return path


def good_beside_broken(folder: Path, made: Input) -> Path:
    """One bad file of a directory: nothing of the good ones may be taken either."""
    inner = folder / "mixed"
    inner.mkdir()
    shutil.copy(made.directory / "members.csv", inner)
    broken_parquet(inner, made)
    return inner


@pytest.mark.parametrize("bad", [broken_parquet, footless_parquet, changing_csv, good_beside_broken])
def test_a_broken_file_is_named_and_nothing_is_created(bad: Any, world: World, made: Input, tmp_path: Path) -> None:
    path = bad(tmp_path, made)
    before = everything_made(world)
    done = world.run("ingest", str(path), "never-made", "--zone", "de", "--synthetic")
    assert done.returncode == BAD_INPUT, (done.stdout, done.stderr)
    named = path if path.is_file() else path / "broken.parquet"
    assert str(named) in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    if bad is changing_csv:
        assert "line 51" in done.stderr
    assert not any(canary in done.stderr for canary in made.canaries)
    assert everything_made(world) == before
    told = world.run("ingest", str(path), "never-made", "--zone", "de", "--synthetic", "--json")
    assert json.loads(told.stdout)["error"]["code"]


def test_an_unknown_zone_is_a_sentence_that_names_the_known_ones(world: World, made: Input) -> None:
    before = everything_made(world)
    done = world.run("ingest", str(made.directory), "never-made", "--zone", "atlantis", "--synthetic")
    assert done.returncode == NOT_CONFIGURED
    assert "atlantis" in done.stderr
    assert "de, fr" in done.stderr
    with world.api() as api, pytest.raises(demesne.DemesneError) as refusal:
        api.create_dataset("never-made", zone="atlantis")
    assert 400 <= (refusal.value.status or 0) < 500
    assert "atlantis" in str(refusal.value)
    assert everything_made(world) == before


def test_a_contract_that_names_an_absent_column_is_refused_with_the_field(
    world: World, made: Input, tmp_path: Path
) -> None:
    document = {
        "v": 1, "dataset": "never-made", "owner": "tests", "purposes": ["analytics"], "keys_personal": False,
        "columns": [{"name": "shoe_size", "type": "string", "label": "none", "finding": None}],
    }  # fmt: skip
    contract = tmp_path / "contract.json"
    contract.write_text(json.dumps(document))
    before = everything_made(world)
    done = world.run(
        "ingest", str(made.directory / "members.csv"), "never-made", "--zone", "de", "--synthetic",
        "--contract", str(contract),
    )  # fmt: skip
    assert done.returncode == BAD_INPUT
    assert "shoe_size" in done.stderr
    assert "columns" in done.stderr
    assert everything_made(world) == before


def test_a_contract_the_api_cannot_read_changes_nothing(world: World) -> None:
    before = everything_made(world)
    with world.api() as api:
        for document in ({"v": 1}, {"v": 2, "dataset": DATASET}, {"v": 1, "dataset": "other", "columns": []}):
            with pytest.raises(demesne.DemesneError) as refusal:
                api.put_contract(DATASET, document)
            assert refusal.value.status in {400, 422}
    assert everything_made(world) == before


def doctrine_of(world: World) -> dict[str, Any]:
    with world.api() as api:
        document: dict[str, Any] = api.doctrine()
    return document


def all_workers(world: World, good: Any) -> dict[str, Any]:
    """What /v1/doctrine says once every front worker says so; connections fall on either of them."""

    def answers() -> list[dict[str, Any]]:
        return [doctrine_of(world) for _ in range(8)]

    return until(answers, 20, "the doctrine is not as expected", lambda found: all(good(each) for each in found))[0]


def test_a_doctrine_that_does_not_compile_leaves_the_last_good_one_serving(spare: World, doctrine_dir: Path) -> None:
    analyst = spare.s3("analyst")
    analyst.head_object(Bucket=DATASET, Key="members.csv")
    before = doctrine_of(spare)
    assert before["refused"] is None
    broken = doctrine_dir / "access" / "broken.rego"
    rule = doctrine_dir / "access" / "no_role" / "no_role.rego"
    shipped = rule.read_text()
    try:
        broken.write_text("package demesne.access.broken\n\ndeny contains reason if { this is not rego\n")
        refusal = all_workers(spare, lambda found: found["refused"] is not None)
        assert "broken.rego" in json.dumps(refusal["refused"])
        assert refusal["revision"] == before["revision"]
        status, ready = spare.readiness()
        assert status == 200  # it serves, and says what is wrong
        assert ready["doctrine"]["revision"] == before["revision"]
        assert "broken.rego" in json.dumps(ready["doctrine"]["refused"])
        analyst.head_object(Bucket=DATASET, Key="members.csv")  # still decided by the last good one

        broken.unlink()
        rule.write_text(shipped + CLOSED)
        active = all_workers(spare, lambda found: found["refused"] is None and found["revision"] != before["revision"])
        assert active["revision"]
        time.sleep(SETTLED)
        refusal_of_read = refused(lambda: analyst.get_object(Bucket=DATASET, Key="members.csv"))
        assert refusal_of_read.status == 403
        assert "access.closed-for-tests" in refusal_of_read.message
    finally:
        broken.unlink(missing_ok=True)
        rule.write_text(shipped)
    all_workers(spare, lambda found: found["refused"] is None and found["revision"] == before["revision"])
    time.sleep(SETTLED)
    analyst.get_object(Bucket=DATASET, Key="members.csv")["Body"].read()
    with spare.api() as api:
        entries = [entry for entry in api.decisions(limit=1000) if entry["type"] == "doctrine"]
    told = {(entry["state"], entry["revision"]) for entry in entries}
    assert {("refused", before["revision"]), ("active", before["revision"]), ("active", active["revision"])} <= told


CLOSED = """
deny contains reason if {
	input.request.action == "read"
	reason := {
		"rule": "access/no_role",
		"code": "access.closed-for-tests",
		"message": "Reads are closed while this test runs",
		"remedy": "wait for the test",
	}
}
"""
