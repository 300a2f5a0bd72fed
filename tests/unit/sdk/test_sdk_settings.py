"""Where the gateway is: ready file, environment, and what is said when neither helps."""

import json
from pathlib import Path

import pytest

from demesne import settings
from demesne.client import Client
from demesne.errors import Malformed, NotConfigured
from demesne.s3 import ObjectWriter

READY = {
    "s3_endpoint": "http://127.0.0.1:9000", "api_endpoint": "http://127.0.0.1:9001", "region": "de", "pid": 7,
    "zones": [
        {"name": "de", "jurisdiction": "de", "s3_endpoint": "http://127.0.0.1:9000", "api_endpoint": "http://127.0.0.1:9001"},
        {"name": "fr", "jurisdiction": "fr", "s3_endpoint": "http://127.0.0.1:9100", "api_endpoint": "http://127.0.0.1:9101"},
    ],
    "credentials": {"steward": {"access_key_id": "AK", "secret_access_key": "s"}},
}  # fmt: skip


def test_ready_file_names_zones_and_steward(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    path.write_text(json.dumps(READY))
    found = settings.read(environ={settings.READY_FILE: str(path)})
    assert [zone.name for zone in found.zones] == ["de", "fr"]
    assert found.zone().region == "de"
    assert found.zone("fr").api_endpoint == "http://127.0.0.1:9101"
    assert found.caller().access_key_id == "AK"


def test_unknown_zone_names_those_there_are() -> None:
    with pytest.raises(NotConfigured, match=r"zone\.unknown.*de, fr"):
        settings.parse_ready_file(json.dumps(READY)).zone("it")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"zones": [], "credentials": {}}', '{"zones": [1], "credentials": {}}']
)
def test_a_broken_ready_file_is_malformed(text: str) -> None:
    with pytest.raises(Malformed, match=r"ready-file\.malformed"):
        settings.parse_ready_file(text)


def test_a_ready_file_that_is_not_text_is_malformed(tmp_path: Path) -> None:
    (tmp_path / "ready.json").write_bytes(b"\x7fELF\xd0")
    with pytest.raises(Malformed, match=r"ready-file\.malformed.*ready\.json is not text"):
        settings.read(tmp_path / "ready.json", environ={})


def test_an_absent_ready_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match=r"ready-file\.absent.*demesne dev"):
        settings.read(tmp_path / "absent", environ={})


def test_environment_names_a_deployment() -> None:
    env = {settings.ENDPOINT: "https://api.example/", "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "s"}
    found = settings.read(environ=env)
    assert found.zone().api_endpoint == "https://api.example"
    assert found.caller("steward").access_key_id == "AK"


@pytest.mark.parametrize(
    ("given", "region"),
    [
        ({"DEMESNE_REGION": "de", "AWS_REGION": "fr"}, "de"), ({"AWS_REGION": "fr", "AWS_DEFAULT_REGION": "it"}, "fr"),
        ({"AWS_DEFAULT_REGION": "it"}, "it"), ({"DEMESNE_REGION": "", "AWS_REGION": "fr"}, "fr"),
    ],
)  # fmt: skip
def test_a_deployments_region_is_the_one_that_s3_clients_are_told(given: dict[str, str], region: str) -> None:
    found = settings.read(environ={settings.ENDPOINT: "https://api.example", **given})
    assert found.zone().signing_region() == region


def test_no_region_is_told_before_anything_is_signed() -> None:
    """Signed with an empty one, the gateway's answer named neither the variable nor the way out."""
    env = {settings.ENDPOINT: "https://api.example", "AWS_ACCESS_KEY_ID": "AK", "AWS_SECRET_ACCESS_KEY": "s"}
    found = settings.read(environ=env)
    for make in (Client, ObjectWriter):
        with pytest.raises(NotConfigured, match=r"region\.missing.*DEMESNE_REGION"):
            make.from_settings(found)
    assert Client.from_settings(found, zone="de").endpoint == "https://api.example"


def test_nothing_named_is_refused_with_a_remedy() -> None:
    with pytest.raises(NotConfigured, match=r"endpoint\.missing.*DEMESNE_READY_FILE"):
        settings.read(environ={})
