"""The directory is what its operator signed, or there is none."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.directory import Directory, ZoneEntry, read_directory
from vault.errors import Refused
from vault.keys.signing import ZoneSigner

ZONE = {"name": "de", "jurisdiction": "de", "s3_endpoint": "https://s3", "api_endpoint": "https://api"}
SIGNER = ZoneSigner.generate()
KEY = SIGNER.public_key.hex()


def written(path: Path, body: Any, signer: ZoneSigner = SIGNER, prefix: bytes = b"demesne/directory/1\n") -> Path:
    document = json.dumps(body)
    signature = signer.sign(prefix + document.encode()).hex()
    file = path / "directory.json"
    file.write_text(json.dumps({"directory": document, "signature": signature}))
    return file


def reason(path: Path | None, key: str = KEY) -> str:
    with pytest.raises(Refused) as caught:
        read_directory(path, key)
    return caught.value.reason


def test_a_signed_directory(tmp_path: Path) -> None:
    body = {"v": 1, "zones": [ZONE], "locations": {"eu-central-1": "de"}}
    found = read_directory(written(tmp_path, body), KEY)
    assert found.find("de") == ZoneEntry("de", "de", "https://s3", "https://api")
    assert found.find("fr") is None
    assert found.locations == {"eu-central-1": "de"}


def test_none_configured_is_an_empty_one() -> None:
    assert read_directory(None, "") == Directory()


def test_a_file_without_the_key_to_check_it_by(tmp_path: Path) -> None:
    assert reason(written(tmp_path, {"v": 1, "zones": []}), "") == "directory.key"


def test_another_signer(tmp_path: Path) -> None:
    assert reason(written(tmp_path, {"v": 1, "zones": [ZONE]}, ZoneSigner.generate())) == "signature"


def test_a_signature_made_for_something_else(tmp_path: Path) -> None:
    assert reason(written(tmp_path, {"v": 1, "zones": [ZONE]}, prefix=b"")) == "signature"


def test_one_changed_byte(tmp_path: Path) -> None:
    file = written(tmp_path, {"v": 1, "zones": [ZONE]})
    signed = json.loads(file.read_text())
    signed["directory"] = signed["directory"].replace("https://s3", "https://evil")
    file.write_text(json.dumps(signed))
    assert reason(file) == "signature"


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"directory":"{}"}', '{"directory":"{}","signature":"zz"}'])
def test_a_file_that_is_none(tmp_path: Path, text: str) -> None:
    file = tmp_path / "directory.json"
    file.write_text(text)
    assert reason(file) == "directory.format"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert reason(tmp_path / "absent.json") == "directory.format"


@pytest.mark.parametrize(
    "body",
    [
        {"v": 2, "zones": []}, {"v": 1}, {"v": 1, "zones": [{"name": "de"}]}, {"v": 1, "zones": [ZONE | {"odd": 1}]},
        {"v": 1, "zones": 3}, [], {"v": 1, "zones": [], "locations": 3},
    ],
)  # fmt: skip
def test_what_was_signed_must_be_a_directory(tmp_path: Path, body: Any) -> None:
    assert reason(written(tmp_path, body)) == "directory.format"


def test_a_key_that_is_none(tmp_path: Path) -> None:
    assert reason(written(tmp_path, {"v": 1, "zones": []}), "not hex") == "directory.format"
