"""Secrets of a zone survive a restart, stand nowhere in clear, and end with their epoch."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vault.errors import Refused, Unavailable
from vault.keys.local import LocalProvider
from vault.keys.provider import KeyClass
from vault.keys.zone_secrets import ZoneSecrets, pseudonym_name


def opened(directory: Path) -> ZoneSecrets:
    LocalProvider.initialise(directory)
    return ZoneSecrets(directory, LocalProvider.connect(directory, KeyClass.RAW))


def test_secrets_survive_a_restart_and_stand_nowhere_in_clear(tmp_path: Path) -> None:
    first = opened(tmp_path)
    root, token = first.named("root"), first.derived("token")
    second = opened(tmp_path)
    assert (second.named("root"), second.derived("token")) == (root, token)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert bytes(root) not in path.read_bytes()
            assert bytes(token) not in path.read_bytes()


def test_ended_secret_is_gone_even_with_its_file_restored(tmp_path: Path) -> None:
    zone = opened(tmp_path)
    zone.pseudonym_key("main", "analytics")
    name = pseudonym_name("main", "analytics")
    backup = (tmp_path / "secrets" / f"{name}.wrapped").read_bytes()
    zone.end(name)
    for again in (zone, opened(tmp_path)):
        with pytest.raises(Refused, match=r"key\.destroyed"):
            again.pseudonym_key("main", "analytics")
    (tmp_path / "secrets" / f"{name}.wrapped").write_bytes(backup)
    with pytest.raises(Refused, match=r"key\.destroyed"):
        opened(tmp_path).pseudonym_key("main", "analytics")
    assert zone.pseudonym_key("main", "training")  # others live on


def test_secret_file_moved_to_another_name_does_not_open(tmp_path: Path) -> None:
    zone = opened(tmp_path)
    zone.named("decisions")
    zone.named("root")
    (tmp_path / "secrets" / "decisions.wrapped").replace(tmp_path / "secrets" / "root.wrapped")
    with pytest.raises(Refused, match=r"key\.context"):
        opened(tmp_path).named("root")


def test_lost_file_of_a_living_epoch_is_made_anew_after_a_crash(tmp_path: Path) -> None:
    LocalProvider.initialise(tmp_path)
    LocalProvider.connect(tmp_path, KeyClass.RAW).create_epoch("secret-root", KeyClass.RAW)
    assert len(opened(tmp_path).named("root")) == 32


def test_pseudonym_names_cannot_be_made_to_meet() -> None:
    assert pseudonym_name("a", "bc") != pseudonym_name("ab", "c")
    assert pseudonym_name("1:a", "") != pseudonym_name("1", ":a")


@pytest.mark.parametrize("name", ["", "../root", "Root", "a" * 58])
def test_name_that_is_no_plain_file_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused, match=r"secret\.name"):
        opened(tmp_path).named(name)


def test_unreadable_secret_is_unavailable_and_not_replaced(tmp_path: Path) -> None:
    opened(tmp_path).named("root")
    path = tmp_path / "secrets" / "root.wrapped"
    path.unlink()
    path.mkdir()
    with pytest.raises(Unavailable, match=r"secret\.file"):
        opened(tmp_path).named("root")


def test_brokers_that_ask_for_a_new_secret_at_once_are_given_one(tmp_path: Path) -> None:
    """Two gateways of a zone are started together: neither may end because the other was faster."""
    for attempt in range(10):
        LocalProvider.initialise(tmp_path / str(attempt))
        start = threading.Barrier(4)

        def ask(directory: Path, start: threading.Barrier = start) -> bytes:
            secrets = ZoneSecrets(directory, LocalProvider.connect(directory, KeyClass.RAW))
            start.wait()
            return bytes(secrets.named("decisions"))

        with ThreadPoolExecutor(4) as pool:
            assert len(set(pool.map(ask, [tmp_path / str(attempt)] * 4))) == 1


def test_pseudonym_key_is_asked_for_again_after_half_a_minute(tmp_path: Path) -> None:
    LocalProvider.initialise(tmp_path)
    provider, now = LocalProvider.connect(tmp_path, KeyClass.RAW), [100.0]
    zone_secrets = ZoneSecrets(tmp_path, provider, lambda: now[0])
    key = zone_secrets.pseudonym_key("main", "research")
    provider.disable(f"secret-{pseudonym_name('main', 'research')}")
    now[0] += 29
    assert zone_secrets.pseudonym_key("main", "research") == key
    now[0] += 1
    for _ in range(2):
        with pytest.raises(Refused, match=r"key\.disabled"):
            zone_secrets.pseudonym_key("main", "research")
    provider.enable(f"secret-{pseudonym_name('main', 'research')}")
    assert zone_secrets.pseudonym_key("main", "research") == key
