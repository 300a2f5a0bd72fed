"""Settings are documented, and a deployment names none that the code does not read."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.directory import read_directory
from gateway.settings import Settings
from tests.meta.settings_page import page, variable
from vault.errors import Refused

ROOT = Path(__file__).parents[2]
KNOWN = {variable(name) for name in Settings.model_fields}
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
ROLES = ("broker", "builder", "front", "jobs")


def environment_of(service: str) -> dict[str, str]:
    """The service's variables, whether written as a mapping or as a list."""
    given = SERVICES[service].get("environment", {})
    pairs = given.items() if isinstance(given, dict) else (line.split("=", 1) for line in given)
    return {str(name): str(value) for name, value in pairs}


def ours() -> Iterator[str]:
    for name, service in SERVICES.items():
        if str(service["image"]).startswith("demesne:"):
            yield name


def test_the_settings_page_is_what_the_code_reads() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == page(), (
        "run: python -m tests.meta.settings_page > docs/settings.md"
    )


def test_every_setting_says_what_it_means() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_compose_names_only_settings_that_exist() -> None:
    named = {name for service in SERVICES for name in environment_of(service) if name.startswith("DEMESNE_")}
    assert named
    assert named <= KNOWN
    text = (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text()
    words = {word.strip("${}:?'\",") for word in text.split()}
    assert {word for word in words if word.startswith("DEMESNE_")} <= KNOWN


@pytest.mark.parametrize("zone", ["de", "fr"])
@pytest.mark.parametrize("role", ROLES)
def test_compose_settings_are_settings_the_code_accepts(zone: str, role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment_of(f"{role}-{zone}").items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert (settings.zone, settings.jurisdiction) == (zone, zone)
    assert settings.store_location.startswith("s3://")
    assert settings.catalog_location.startswith("postgresql")
    assert str(settings.run_dir).startswith("/state/")  # sockets are shared by the volume


def test_each_zone_has_each_role_as_a_service_of_its_own() -> None:
    assert {f"{role}-{zone}" for role in ROLES for zone in ("de", "fr")} <= set(SERVICES)
    assert {environment_of(f"front-{zone}")["DEMESNE_ENGINE"] for zone in ("de", "fr")} == {"opa", "regorus"}


@pytest.mark.parametrize("role", ["front", "builder"])
@pytest.mark.parametrize("zone", ["de", "fr"])
def test_front_and_builder_do_not_mount_the_providers_keys(zone: str, role: str) -> None:
    mounts = SERVICES[f"{role}-{zone}"]["volumes"]
    assert mounts
    assert not any(f"keys-{zone}" in str(mount) for mount in mounts)


@pytest.mark.parametrize("zone", ["de", "fr"])
def test_nothing_that_serves_writes_what_the_zone_trusts(zone: str) -> None:
    """A front worker taken over could else name an issuer of tokens, and attest whatever it likes."""
    place = f"/state/zones/{zone}/trust"
    for role in ("broker", "front", "jobs"):
        assert f"trust-{zone}:{place}:ro" in SERVICES[f"{role}-{zone}"]["volumes"]
    writers = [name for name, service in SERVICES.items() if f"trust-{zone}:{place}" in service.get("volumes", ())]
    assert writers == [f"init-{zone}"]


def test_zones_share_nothing_but_the_directory() -> None:
    def mounted(zone: str) -> set[str]:
        found = [
            mount for name, service in SERVICES.items() if name.endswith(f"-{zone}")
            for mount in service.get("volumes", ())
        ]  # fmt: skip
        return {str(mount).split(":", 1)[0] for mount in found}

    assert mounted("de") & mounted("fr") == {"directory"}
    networks = [
        {net for name, s in SERVICES.items() if name.endswith(f"-{zone}") for net in s.get("networks", ())}
        for zone in ("de", "fr")
    ]
    assert networks[0].isdisjoint(networks[1])


def test_the_directory_that_compose_signs_is_one_the_gateway_reads(tmp_path: Path) -> None:
    environment = {**os.environ, **environment_of("directory"), "DIRECTORY": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for _ in range(2):  # the same key again, so that a restarted deployment goes on
        subprocess.run([sys.executable, str(ROOT / "deploy" / "sign_directory.py")], env=environment, check=True)
    key = (tmp_path / "directory.pub").read_text()
    found = read_directory(tmp_path / "directory.json", key)
    assert [zone.name for zone in found.zones] == ["de", "fr"]
    ports = {zone: environment_of(f"front-{zone}") for zone in ("de", "fr")}
    assert found.zones[1].s3_endpoint.endswith(":" + ports["fr"]["DEMESNE_S3_PORT"])
    with pytest.raises(Refused, match="signature"):
        read_directory(tmp_path / "directory.json", "00" * 32)


def test_images_are_pinned_by_version() -> None:
    images = [str(service["image"]) for service in SERVICES.values()]
    images += [line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")]
    for image in images:
        _, colon, tag = image.rpartition(":")
        assert colon, image
        assert tag not in {"", "latest", "main", "edge"}, image
        assert any(character.isdigit() for character in tag), image


def test_no_secret_is_written_into_compose() -> None:
    for service in SERVICES:
        for name, value in environment_of(service).items():
            if any(word in name for word in ("SECRET", "PASSWORD")):
                assert value.startswith("${"), f"{service}: {name}"


def test_ports_are_published_on_loopback() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", ()):
            assert str(port).startswith("127.0.0.1:")
