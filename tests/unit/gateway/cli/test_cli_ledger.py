"""`demesne ledger verify` and `verify-receipt`: exit codes, places, and a key that is given rather than told."""

import json
import shutil
from pathlib import Path

import pytest

from demesne.cli import app
from gateway.cli.ledger_over_api import split_bundle, verify_over_api
from lineage.errors import Malformed
from lineage.ledger.reader import LedgerReader
from tests.fakes.ledger import entry_id, intent, verify_ed25519
from tests.unit.lineage.ledger.running import KEY, write_ledger

COUNT = 300
PUBLIC = KEY.public_key.hex()


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zone")
    write_ledger(root, [intent(i) for i in range(COUNT)])
    return root / "ledger"


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture(autouse=True)
def _no_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEMESNE_READY_FILE", "DEMESNE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def change_a_byte(directory: Path) -> None:
    path = next((directory / "log").iterdir())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_an_untouched_copy_verifies(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["ledger", "verify", "--dir", str(copy), "--key", PUBLIC]) == 0
    assert f"Verified: {COUNT} entries" in capsys.readouterr().out


def test_one_changed_byte_fails_and_its_place_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_a_byte(copy)
    assert app.run(["ledger", "verify", "--dir", str(copy), "--key", PUBLIC, "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["verified"] is False
    assert said["problems"][0]["place"].startswith("entry ")
    assert said["problems"][0]["file"].startswith("log/")
    assert app.run(["ledger", "verify", "--dir", str(copy), "--key", PUBLIC]) == 1
    assert capsys.readouterr().out.startswith("NOT VERIFIED")


def test_another_zones_key_does_not_verify_it(copy: Path) -> None:
    assert app.run(["ledger", "verify", "--dir", str(copy), "--key", "00" * 32]) == 1


def test_another_zones_name_does_not_verify_it(copy: Path) -> None:
    assert app.run(["ledger", "verify", "--dir", str(copy), "--key", PUBLIC, "--zone", "fr"]) == 1
    assert app.run(["ledger", "verify", "--dir", str(copy), "--key", PUBLIC, "--zone", "de"]) == 0


@pytest.mark.parametrize("key", ["", "zz", "ab" * 31])
def test_a_key_that_is_none_is_unusable_not_a_pass(copy: Path, key: str) -> None:
    assert app.run(["ledger", "verify", "--dir", str(copy), "--key", key]) == 2


def test_without_key_and_gateway_nothing_is_verified(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["ledger", "verify", "--dir", str(copy)]) == 2
    assert "no --key" in capsys.readouterr().err


def test_a_directory_without_a_ledger_is_unusable_not_an_empty_pass(tmp_path: Path) -> None:
    assert app.run(["ledger", "verify", "--dir", str(tmp_path), "--key", PUBLIC]) == 2


def test_a_removed_checkpoint_line_fails(copy: Path) -> None:
    (copy / "checkpoint").write_text("nonsense\n")
    assert app.run(["ledger", "verify", "--dir", str(copy), "--key", PUBLIC]) == 1


def test_a_receipt_verifies_and_a_changed_one_does_not(
    original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = LedgerReader(original).receipt(entry_id(17))
    path = tmp_path / "receipt"
    path.write_text(receipt)
    assert app.run(["ledger", "verify-receipt", str(path), "--key", PUBLIC, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["verified"], said["entry"]["id"], said["index"]) == (True, entry_id(17), 17)
    path.write_text(receipt.replace("index 17", "index 18"))
    assert app.run(["ledger", "verify-receipt", str(path), "--key", PUBLIC]) == 1
    assert "NOT VERIFIED: inclusion" in capsys.readouterr().out
    assert app.run(["ledger", "verify-receipt", str(tmp_path / "absent"), "--key", PUBLIC]) == 2


def test_over_the_api_the_whole_ledger_is_recomputed(original: Path) -> None:
    report = verify_over_api(LedgerReader(original).resource, "de", KEY.public_key, verify_ed25519)
    assert report.verified
    assert (report.size, report.root) == (COUNT, LedgerReader(original).checkpoint().root)


def test_over_the_api_a_changed_entry_is_found_in_its_place(original: Path) -> None:
    def lying(path: str) -> bytes:
        raw = LedgerReader(original).resource(path)
        return raw.replace(entry_id(260).encode(), b"f" * 32) if "entries" in path else raw

    report = verify_over_api(lying, "de", KEY.public_key, verify_ed25519)
    assert [problem.place for problem in report.problems] == ["entry 260", "checkpoint"]


def test_over_the_api_a_changed_entry_with_its_hash_still_misses_the_root(original: Path) -> None:
    reader = LedgerReader(original)

    def short(path: str) -> bytes:
        raw = reader.resource(path)
        return (
            b"".join(len(e).to_bytes(2, "big") + e for e in list(split_bundle(raw))[1:]) if "entries" in path else raw
        )

    report = verify_over_api(short, "de", KEY.public_key, verify_ed25519)
    assert not report.verified
    assert "instead of 256" in report.problems[0].detail


def test_over_the_api_a_checkpoint_of_another_key_stops_everything(original: Path) -> None:
    report = verify_over_api(LedgerReader(original).resource, "de", b"\1" * 32, verify_ed25519)
    assert [problem.place for problem in report.problems] == ["checkpoint"]
    assert report.size == 0


def test_a_cut_bundle_is_malformed() -> None:
    with pytest.raises(Malformed, match=r"tile\.entries"):
        list(split_bundle(b"\x00\x05abc"))
    with pytest.raises(Malformed, match=r"tile\.entries"):
        list(split_bundle(b"\x00"))
    assert list(split_bundle(b"\x00\x03abc\x00\x00")) == [b"abc", b""]
