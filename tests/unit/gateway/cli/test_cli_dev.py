"""`demesne dev` before anything starts: what it refuses, in a sentence. The zones themselves: tests/e2e."""

import json
import socket
from pathlib import Path

import pytest
import typer

from demesne.cli import app
from gateway.cli.dev import parse_zones


@pytest.mark.parametrize(("text", "zones"), [("de", ("de",)), ("de,fr", ("de", "fr")), (" de , fr,", ("de", "fr"))])
def test_zones_are_names_that_double_as_jurisdictions(text: str, zones: tuple[str, ...]) -> None:
    assert parse_zones(text) == zones


@pytest.mark.parametrize("text", ["", ",", "de,de", "DE", "d", "de-1", "../de", "toolongname"])
def test_other_zones_are_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_zones(text)


def test_a_port_in_use_is_one_sentence_and_leaves_no_ready_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = ["dev", "--state-dir", str(tmp_path / "state"), "--s3-port", port, "--api-port", "0", "--json"]
        assert app.run(arguments) == 2
    said = capsys.readouterr()
    sentence = f"Port {port} on 127.0.0.1 is already in use. Choose another with --s3-port, or 0 for a free one."
    assert said.err == f"demesne dev: {sentence}\n"
    assert json.loads(said.out) == {"error": sentence}
    assert not (tmp_path / "state" / "ready.json").exists()
    assert not (tmp_path / "state" / "zones").exists()


def test_half_of_tls_is_refused(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.touch()
    assert app.run(["dev", "--state-dir", str(tmp_path / "state"), "--tls-cert", str(cert)]) == 2
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("option", [["--workers", "0"], ["--created-buckets", "any"], ["--zones", "de,de"]])
def test_options_out_of_range_are_refused(tmp_path: Path, option: list[str]) -> None:
    assert app.run(["dev", "--state-dir", str(tmp_path / "state"), *option]) == 2
    assert not (tmp_path / "state").exists()
