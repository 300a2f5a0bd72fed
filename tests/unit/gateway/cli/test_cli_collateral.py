"""`demesne attest collateral`: exit codes, tables and JSON, over a zone's directory and services that are fakes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from gateway.cli import attest, collateral
from tests.fakes.attest_intel import FMSPC
from tests.fakes.attest_manifest import DRIVER
from tests.fakes.attest_pki import NOW_MS, revocations
from tests.fakes.attest_trust import TrustFiles, dcap_form
from tests.fakes.collateral_services import CollateralServices, answer

INTEL_FILE = f"collateral/intel/{FMSPC.hex()}.json"


def run(*arguments: str | Path) -> tuple[int, Any]:
    app = typer.Typer()
    attest.register(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["attest", "collateral", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, json.loads(result.stdout) if "--json" in arguments else result.output


@pytest.fixture(scope="module")
def services() -> Iterator[CollateralServices]:
    with CollateralServices() as running:
        yield running


@pytest.fixture
def files(tmp_path: Path, services: CollateralServices, monkeypatch: pytest.MonkeyPatch) -> TrustFiles:
    """A zone in a development posture, whose roots of development are the fakes', at the fakes' time."""
    services.honest()
    for name, value in (
        ("ZONE", "de"), ("JURISDICTION", "de"), ("STATE_DIR", str(tmp_path)), ("POSTURE", "development"),
        ("COLLATERAL_SOURCES", services.sources), ("COLLATERAL_CA", str(services.ca)),
        ("COLLATERAL_NETWORKS", "127.0.0.0/8,::1/128"),
    ):  # fmt: skip
        monkeypatch.setenv(f"DEMESNE_{name}", value)
    monkeypatch.setattr(collateral, "_now_ms", lambda: NOW_MS)
    found = TrustFiles(tmp_path / "zones" / "de" / "trust")
    found.put("development-roots/intel.pem", services.intel.root.pem)
    found.put("development-roots/amd-milan.pem", services.amd.root.pem)
    found.put("development-roots/nvidia-rim.pem", services.manifests.root.pem)
    return found


def intel_file(services: CollateralServices, path: Path, **changes: Any) -> Path:
    made = services.intel.collateral(**changes)
    path.write_text(json.dumps(dcap_form(made, services.intel.ca.pem + services.intel.root.pem)))
    return path


def test_files_are_taken_in_and_shown(services: CollateralServices, files: TrustFiles, tmp_path: Path) -> None:
    crl, manifest = tmp_path / "crl", tmp_path / f"{DRIVER}.xml"
    crl.write_bytes(revocations(services.amd.root))
    manifest.write_bytes(services.manifests.driver())
    code, document = run("import", intel_file(services, tmp_path / "intel.json"), crl, manifest, "--json")
    assert (code, document["good"]) == (0, True)
    assert {one["file"] for one in document["files"]} == {
        INTEL_FILE, "collateral/amd/milan.crl", f"collateral/nvidia/{DRIVER}.xml"
    }  # fmt: skip
    code, document = run("status", "--json")
    assert (code, document["good"]) == (0, True)
    shown = {one["file"]: one for one in document["files"]}
    assert (shown[INTEL_FILE]["days_left"], shown[INTEL_FILE]["expires"]) == (28, "2026-06-29T12:00:00Z")
    assert shown["platforms.json"]["state"] == "missing"
    code, text = run("status")
    assert code == 0
    assert all(word in text for word in (INTEL_FILE, "present", "2026-06-29", "evaluation 17"))


def test_what_is_refused_exits_3_and_is_not_in_place(
    services: CollateralServices, files: TrustFiles, tmp_path: Path
) -> None:
    bad = intel_file(services, tmp_path / "bad.json", tcb_info_signature=bytes(64))
    code, document = run("import", bad, "--json")
    assert (code, document["good"], document["files"][0]["outcome"]) == (3, False, "failed")
    assert "not signed" in document["files"][0]["detail"]
    code, text = run("import", bad)
    assert (code, "not signed" in text) == (3, True)
    assert not (files.path / INTEL_FILE).exists()


def test_a_file_to_mend_exits_3(services: CollateralServices, files: TrustFiles, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    run("import", intel_file(services, tmp_path / "intel.json"))
    monkeypatch.setattr(collateral, "_now_ms", lambda: NOW_MS + 29 * 86_400_000)
    code, document = run("status", "--json")
    assert (code, document["good"]) == (3, False)
    assert {one["state"] for one in document["files"]} == {"missing", "expired", "present"}
    monkeypatch.setattr(collateral, "_now_ms", lambda: NOW_MS)
    files.put("platforms.json", b"{")
    code, text = run("status")
    assert (code, "no JSON" in text) == (3, True)


def test_refresh_asks_the_zones_sources(services: CollateralServices, files: TrustFiles) -> None:
    code, document = run("refresh", "--fmspc", FMSPC.hex(), "--product", "milan", "--manifest", DRIVER, "--json")
    assert (code, document["good"]) == (0, True)
    assert {one["outcome"] for one in document["files"]} == {"new"}
    code, document = run("refresh", "--json")  # what is in place, and who signed the manifest
    assert (code, {one["outcome"] for one in document["files"]}) == (0, {"unchanged", "new"})
    services.routes[f"/tdx/certification/v4/tcb?fmspc={FMSPC.hex()}"] = answer(b"", status=500)
    code, text = run("refresh")
    assert (code, "answered 500" in text) == (3, True)
    assert (files.path / INTEL_FILE).exists()


def test_nobody_is_asked_unless_somebody_says_whom(files: TrustFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMESNE_COLLATERAL_SOURCES", "")
    code, document = run("refresh", "--fmspc", FMSPC.hex(), "--json")
    assert (code, document["good"]) == (2, False)
    assert "DEMESNE_COLLATERAL_SOURCES" in document["error"]
    files.path.mkdir(exist_ok=True)
    code, text = run("refresh", "--trust", files.path, "--fmspc", FMSPC.hex())
    assert (code, "nobody may be asked" in text) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("import", "/nowhere"), ("import", "/dev/zero"), ("status", "--trust", "/nowhere"),
        ("refresh", "--fmspc", "zz"), ("refresh", "--fmspc", "00" * 6 + ":other"), ("refresh", "--product", "naples"),
        ("refresh", "--source", "intel-pcs=http://localhost"), ("refresh", "--ca", "/nowhere"),
        ("refresh", "--networks", "all"),
    ],
)  # fmt: skip
def test_unusable_input_exits_2(arguments: tuple[str, ...], files: TrustFiles) -> None:
    code, document = run(*arguments, "--json")
    assert (code, document["good"], bool(document["error"])) == (2, False, True)


def test_a_directory_alone_trusts_no_root_of_development(
    services: CollateralServices, files: TrustFiles, tmp_path: Path
) -> None:
    code, document = run("import", intel_file(services, tmp_path / "intel.json"), "--trust", files.path, "--json")
    assert (code, document["files"][0]["outcome"]) == (3, "failed")


def test_without_a_zone_the_settings_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZONE", "JURISDICTION", "STATE_DIR"):
        monkeypatch.delenv(f"DEMESNE_{name}", raising=False)
    code, document = run("status", "--json")
    assert code == 2
    assert "DEMESNE_ZONE" in document["error"]
