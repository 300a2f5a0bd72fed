"""What the doctor says of a key provider: everything that can be known without reading a credential."""

from pathlib import Path

import pytest

from demesne.doctor.findings import State
from gateway.cli.provider_checks import key_provider

TRANSIT = "vault+https://bao.example:8200/transit?location=de"


def environment(tmp_path: Path, provider: str, **more: str) -> dict[str, str]:
    for name in ("raw", "view"):
        (tmp_path / name).write_text(f"secret of {name}")
        (tmp_path / name).chmod(0o600)
    return {
        "DEMESNE_KEY_PROVIDER": provider, "DEMESNE_KEY_CREDENTIAL_RAW": str(tmp_path / "raw"),
        "DEMESNE_KEY_CREDENTIAL_VIEW": str(tmp_path / "view"), **more,
    }  # fmt: skip


def test_nothing_is_said_of_local_files() -> None:
    assert key_provider({}, lambda url, ca: "never asked") == []


def test_provider_that_answers_is_well_and_no_secret_is_shown(tmp_path: Path) -> None:
    asked: list[tuple[str, str | None]] = []

    def reach(url: str, ca: str | None) -> str:
        asked.append((url, ca))
        return ""

    found = key_provider(environment(tmp_path, TRANSIT, DEMESNE_KEY_PROVIDER_CA="/ca.pem"), reach)
    assert {finding.state for finding in found} == {State.OK}
    assert asked == [("https://bao.example:8200/v1/sys/health?standbyok=true", "/ca.pem")]
    assert "secret of" not in str(found)
    key_provider(environment(tmp_path, "awskms://eu-central-1"), reach)
    assert asked[1] == ("https://kms.eu-central-1.amazonaws.com", None)


@pytest.mark.parametrize(
    ("provider", "said"),
    [
        (TRANSIT.replace("?location=de", ""), "no location="),
        ("https://bao.example", "https://bao.example"),
        ("pkcs11:/nowhere/module.so?token=t&location=de", "is not there"),
    ],
)
def test_what_would_keep_the_zone_closed_is_found(tmp_path: Path, provider: str, said: str) -> None:
    found = [each for each in key_provider(environment(tmp_path, provider), lambda *_: "") if each.state is State.FAIL]
    assert [said in finding.detail for finding in found] == [True]
    assert found[0].remedy


def test_provider_that_cannot_be_reached_and_files_that_are_no_good_are_found(tmp_path: Path) -> None:
    given = environment(tmp_path, TRANSIT)
    assert key_provider(given, lambda *_: "connection refused")[0].state is State.FAIL
    (tmp_path / "raw").chmod(0o644)
    (tmp_path / "view").unlink()
    states = {finding.what: finding.state for finding in key_provider(given, lambda *_: "")}
    assert states["key provider: raw credential"] is State.WARN
    assert states["key provider: view credential"] is State.FAIL
    same = given | {"DEMESNE_KEY_CREDENTIAL_VIEW": given["DEMESNE_KEY_CREDENTIAL_RAW"]}
    assert key_provider(same, lambda *_: "")[-1].detail == "not two different files"
