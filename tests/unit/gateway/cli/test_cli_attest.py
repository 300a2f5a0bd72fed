"""`demesne attest`: exit codes, JSON, bounds; which evidence holds is the verifiers' tests' business."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import attest
from tests.fakes.attest_trust import EXPECTED as ZONE_EXPECTED
from tests.fakes.attest_trust import Machines, TrustFiles
from vault.attest.binding import ExpectedBinding
from vault.attest.sample import sample_evidence

EXPECTED = ExpectedBinding("n", "g", "k", "p", ("a",))


def run(*arguments: str | Path) -> tuple[int, Any]:
    app = typer.Typer()
    attest.register(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["attest", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, json.loads(result.stdout) if "--json" in arguments else result.output


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.json"
    path.write_text(json.dumps(sample_evidence(EXPECTED)))
    return path


def test_verified_evidence_exits_0_with_its_claims(sample: Path) -> None:
    bound = EXPECTED.report_data().hex()
    code, document = run(
        "verify", "--kind", "sample", "--evidence", sample, "--expect-report-data", bound, "--json"
    )  # fmt: skip
    assert (code, document["verified"], document["claims"]["hardware"]) == (0, True, False)
    code, text = run("verify", "--kind", "sample", "--evidence", sample)
    assert code == 0
    assert "Not bound" in text


def test_refused_evidence_exits_3_with_the_name(sample: Path) -> None:
    code, document = run(
        "verify", "--kind", "sample", "--evidence", sample, "--expect-report-data", "00" * 64, "--json"
    )  # fmt: skip
    assert (code, document["verified"], document["refusal"]) == (3, False, "binding")
    code, text = run("verify", "--kind", "snp", "--evidence", sample)
    assert code == 3
    assert "attest.malformed" in text


@pytest.mark.parametrize(
    "change", [("--kind", "new"), ("--at", "yesterday"), ("--expect-report-data", "zz"),
               ("--expect-report-data", "00" * 65), ("--evidence", "/nowhere"), ("--endorsement", "/nowhere"),
               ("--collateral", "/dev/zero")],
)  # fmt: skip
def test_unusable_input_exits_2(sample: Path, change: tuple[str, str]) -> None:
    options = {"--kind": "sample", "--evidence": str(sample)} | dict([change])
    code, document = run("verify", *(word for pair in options.items() for word in pair), "--json")
    assert (code, document["verified"]) == (2, False)


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_huge_or_endless_or_hostile_file_ends_at_once(tmp_path: Path, command: str) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    assert run(command, "--kind", "tdx", "--evidence", huge, "--json")[1]["refusal"] == "malformed"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert run(command, "--kind", "tdx", "--evidence", pipe, "--json")[0] == 2
    deep = tmp_path / "deep"
    deep.write_text('{"a":' + "[" * 500_000)
    assert run(command, "--kind", "sample", "--evidence", deep, "--json")[1]["refusal"] == "malformed"


def test_inspection_believes_nothing_and_explains(sample: Path, tmp_path: Path) -> None:
    code, document = run("inspect", "--evidence", sample, "--json")
    assert (code, document["verified"], document["kind"]) == (0, False, "sample")
    meanings = {field["name"]: field["meaning"] for field in document["fields"]}
    assert "binding" in meanings["report_data"]
    nothing = tmp_path / "nothing"
    nothing.write_bytes(b"")
    assert run("inspect", "--evidence", nothing, "--json")[1]["refusal"] == "unknown-kind"
    assert run("inspect", "--evidence", tmp_path, "--json")[0] == 2


def manifest(folder: Path, *entries: dict[str, Any] | object) -> Path:
    (folder / "MANIFEST.json").write_text(json.dumps(list(entries)))
    return folder


def entry(**changes: Any) -> dict[str, Any]:
    return {"id": "one", "kind": "sample", "files": ["sample.json"], "at": None, "expect": "ok"} | changes


def test_a_manifest_that_agrees_exits_0(sample: Path) -> None:
    folder = manifest(sample.parent, entry(), entry(id="two", kind="snp", expect="malformed", at="2026-01-01"))
    code, document = run("check-manifest", folder, "--json")
    assert (code, document["all_agree"], document["entries"], document["agreed"]) == (0, True, 2, 2)
    assert run("check-manifest", folder)[0] == 0


@pytest.mark.parametrize(
    ("change", "outcome"),
    [({"expect": "debug"}, "ok"), ({"kind": "snp"}, "malformed"), ({"kind": "new"}, "unknown-kind"),
     ({"files": ["gone"]}, "unusable"), ({"files": ["../../etc/passwd"]}, "unusable"), ({"at": "soon"}, "unusable"),
     ({"files": ["/dev/zero"]}, "unusable")],
)  # fmt: skip
def test_one_entry_that_differs_exits_3(sample: Path, change: dict[str, Any], outcome: str) -> None:
    folder = manifest(sample.parent, entry(), entry(id="two", **change))
    code, document = run("check-manifest", folder, "--json")
    assert (code, document["all_agree"], document["agreed"]) == (3, False, 1)
    assert document["results"][1]["outcome"] == outcome


@pytest.mark.parametrize("content", ["", "{}", "[]", "[1]", '[{"id":"a"}]', "[" * 100_000,
                                     '[{"id":"a","kind":"snp","expect":"ok","files":[]}]',
                                     '[{"id":"a","kind":"snp","expect":"ok","files":["a"],"at":1}]'])  # fmt: skip
def test_a_manifest_with_nothing_to_check_exits_2(tmp_path: Path, content: str) -> None:
    (tmp_path / "MANIFEST.json").write_text(content)
    assert run("check-manifest", tmp_path, "--json")[0] == 2
    assert run("check-manifest", tmp_path / "gone", "--json")[0] == 2


@pytest.fixture(scope="module")
def machines() -> Machines:
    return Machines()


@pytest.fixture
def zone(tmp_path: Path, machines: Machines) -> Path:
    files = TrustFiles(tmp_path / "trust")
    machines.trust(files)
    files.put("development-roots/amd-milan.pem", machines.amd.root.pem)
    files.put("development-roots/nvidia.pem", machines.nvidia.root.pem)
    return files.path


class TestWithAZonesTrust:
    """`--trust`: as a broker would judge, with every list and floor."""

    def ask(self, zone: Path, kind: str, evidence: Path, *more: str | Path) -> tuple[int, Any]:
        bound = ZONE_EXPECTED.device_nonce() if kind == "nvgpu" else ZONE_EXPECTED.report_data()
        return run("verify", "--kind", kind, "--evidence", evidence, "--trust", zone, "--at", "2026-06-01T12:00:00Z",
                   "--expect-report-data", bound.hex(), "--json", *more)  # fmt: skip

    @pytest.mark.parametrize("kind", ["snp", "nvgpu", "maa", "tpm", "sample"])
    def test_evidence_is_judged_by_the_directory(
        self, zone: Path, machines: Machines, kind: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "evidence"
        form = machines.evidence(kind)
        path.write_text(form["token"] if kind == "maa" else json.dumps(form))
        code, document = self.ask(zone, kind, path, "--development")
        assert (code, document["verified"]) == (0, True), document
        assert document["claims"]["platform" if kind != "sample" else "kind"]
        code, document = self.ask(zone, kind, path)
        hardware = {"snp": "chain", "nvgpu": "chain", "sample": "no-trust"}
        assert (code, document.get("refusal")) == ((3, hardware[kind]) if kind in hardware else (0, None))
        empty = tmp_path / "empty"
        empty.mkdir()
        code, document = self.ask(empty, kind, path)
        assert (code, document["refusal"]) == (3, "no-trust")

    def test_a_report_in_bytes_with_its_certificates(self, zone: Path, machines: Machines, tmp_path: Path) -> None:
        report, chain = tmp_path / "report", tmp_path / "chain"
        report.write_bytes(machines.amd.report(report_data=ZONE_EXPECTED.report_data()))
        chain.write_bytes(machines.amd.leaf.pem + machines.amd.middle.pem)
        code, document = self.ask(zone, "snp", report, "--endorsement", chain, "--development")
        assert (code, document["claims"]["hardware"], document["claims"]["synthetic_only"]) == (0, False, True)

    @pytest.mark.parametrize(
        "change", [("--kind", "tdx-quote"), ("--trust", "/nowhere"), ("--collateral", "/etc/hostname")]
    )
    def test_what_a_broker_does_not_do_is_unusable(self, zone: Path, sample: Path, change: tuple[str, str]) -> None:
        code, _ = self.ask(zone, "sample", sample, *change)
        assert code == 2
        code, document = run("verify", "--kind", "sample", "--evidence", sample, "--trust", zone, "--json")
        assert (code, "--expect-report-data" in document["error"]) == (2, True)
