"""`demesne attest` on the machine's side: what it says, and that bad usage reaches neither TPM nor gateway."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from demesne.cli import app
from tests.fakes.api import FakeGateway
from tests.fakes.attest_pki import Shape as Certificate
from tests.fakes.attest_pki import ec_key, issue
from tests.fakes.swtpm import Swtpm, need_swtpm


@pytest.fixture(autouse=True)
def _only_the_clients_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "entry_points", lambda group: [])


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        path = tmp_path / "ready.json"
        path.write_text(json.dumps(running.ready_document()))
        monkeypatch.setenv("DEMESNE_READY_FILE", str(path))
        yield running


def test_detect_says_of_each_kind_whether_and_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    absent = str(tmp_path / "tpm")
    assert app.run(["attest", "detect", "--device", absent, "--json"]) == 0
    found = {each["kind"]: each for each in json.loads(capsys.readouterr().out)["evidence"]}
    assert set(found) == {"nitro", "confidential-space", "azure-vtpm", "snp", "tdx", "tpm", "nvgpu"}
    assert (found["tpm"]["found"], absent in found["tpm"]["why"]) == (False, True)
    assert app.run(["attest", "detect", "--device", absent]) == 0
    assert "confidential-space" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["enrol-tpm", "--purpose", "train", "--handle", "0x01"], 5),
        (["enrol-tpm", "--purpose", "train", "--handle", "none"], 5),
        (["enrol-tpm", "--purpose", "train", "--ek", "dsa"], 5),
        (["enrol-tpm", "--purpose", "train", "--ek-certificate", "/absent"], 5),
        (["enrol-tpm", "--purpose", "train", "--device", "/absent", "--as", "steward"], 9),
        (["enrol-tpm"], 2),
        (["pcrs", "--pcr", "24", "--device", "/absent"], 5),
        (["pcrs", "--pcr", "7", "--device", "/absent"], 9),
        (["approve-tpm", "key", "--pcrs", "/absent", "--reason", "r"], 5),
        (["approve-tpm", "../keys", "--pcrs", "POLICY", "--reason", "r"], 5),
        (["retire-tpm", "a/b", "--reason", "r"], 5),
    ],
)
def test_bad_usage_is_said_and_asks_nobody(
    gateway: FakeGateway, tmp_path: Path, arguments: list[str], code: int
) -> None:
    policy = tmp_path / "policy.json"
    policy.write_text('{"7": []}')
    given = [str(policy) if argument == "POLICY" else argument for argument in arguments]
    assert app.run(["attest", *given]) == code
    assert gateway.identities == []


@pytest.mark.servers
def test_pcrs_are_printed_as_a_policy(capsys: pytest.CaptureFixture[str]) -> None:
    need_swtpm()
    with Swtpm() as machine:
        device = str(machine.path / "s")
        assert app.run(["attest", "pcrs", "--device", device, "--pcr", "0,17", "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {"0": ["00" * 32], "17": ["ff" * 32]}
        assert app.run(["attest", "pcrs", "--device", device, "--pcr", "0"]) == 0
        assert "00" * 32 in capsys.readouterr().out
        assert app.run(["attest", "pcrs", "--device", device, "--pcr", "24"]) == 5


@pytest.mark.servers
def test_a_tpm_without_a_makers_certificate_takes_one_from_a_file(
    gateway: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need_swtpm()
    certificate = tmp_path / "ek.pem"
    certificate.write_bytes(issue("EK", ec_key(), None, Certificate()).pem)
    with Swtpm() as machine:
        enrol = ["attest", "enrol-tpm", "--purpose", "train", "--device", str(machine.path / "s"), "--as", "steward"]
        assert app.run(enrol) == 9
        assert "--ek-certificate" in capsys.readouterr().err
        assert app.run([*enrol, "--ek-certificate", str(certificate)]) == 4  # the fake gateway has no such route
    assert len(gateway.identities) == 0
