"""The embedded provider keeps its two classes apart by itself, and destroys for good."""

import shutil
import stat
from pathlib import Path

import pytest

from vault.errors import Malformed, NotFound, Refused, Unavailable
from vault.keys.local import LocalProvider
from vault.keys.provider import EpochState, KeyClass, KeyProvider

KEY = bytes(range(32))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    LocalProvider.initialise(tmp_path / "keys", "DE")
    return tmp_path / "keys"


@pytest.fixture
def raw(directory: Path) -> KeyProvider:
    return LocalProvider.connect(directory, KeyClass.RAW)


@pytest.fixture
def view(directory: Path) -> KeyProvider:
    return LocalProvider.connect(directory, KeyClass.VIEW)


def test_wrap_opens_under_its_epoch_and_context(raw: KeyProvider) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"context")
    assert raw.unwrap("e1", wrapped, b"context") == KEY
    assert KEY not in wrapped


def test_view_credential_is_refused_a_raw_unwrap_by_the_provider(raw: KeyProvider, view: KeyProvider) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"context")
    with pytest.raises(Refused) as caught:
        view.unwrap("e1", wrapped, b"context")
    assert caught.value.reason == "key.class"


def test_raw_credential_is_refused_a_view_unwrap_too(raw: KeyProvider, view: KeyProvider) -> None:
    view.create_epoch("e1", KeyClass.VIEW)
    with pytest.raises(Refused, match=r"key\.class"):
        raw.unwrap("e1", view.wrap("e1", KEY, b""), b"")


def test_view_credential_opens_no_raw_epoch_file_however_it_is_relabelled(
    directory: Path, raw: KeyProvider, view: KeyProvider
) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"")
    path = directory / "epochs" / "e1.key"
    path.write_bytes(b"V" + path.read_bytes()[1:])
    with pytest.raises(Refused, match=r"key\.class"):
        view.unwrap("e1", wrapped, b"")
    shutil.copy(path, directory / "epochs" / "e2.key")
    with pytest.raises(Refused, match=r"key\.class"):
        view.unwrap("e2", wrapped, b"")


def test_view_credential_makes_wraps_and_destroys_nothing_raw(raw: KeyProvider, view: KeyProvider) -> None:
    with pytest.raises(Refused, match=r"key\.class"):
        view.create_epoch("e0", KeyClass.RAW)
    raw.create_epoch("e1", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"")
    with pytest.raises(Refused, match=r"key\.class"):
        view.wrap("e1", KEY, b"")
    with pytest.raises(Refused, match=r"key\.class"):
        view.destroy("e1")
    assert raw.unwrap("e1", wrapped, b"") == KEY
    assert raw.status("e0").state is EpochState.UNKNOWN


def test_provider_under_one_credential_never_reads_the_other(directory: Path) -> None:
    (directory / "credentials" / "raw.credential").unlink()
    view = LocalProvider.connect(directory, KeyClass.VIEW)
    view.create_epoch("e1", KeyClass.VIEW)
    assert view.unwrap("e1", view.wrap("e1", KEY, b""), b"") == KEY
    with pytest.raises(Unavailable, match=r"key\.credential"):
        LocalProvider.connect(directory, KeyClass.RAW)


@pytest.mark.parametrize("context", [b"", b"contex", b"context\x00"])
def test_wrap_does_not_open_in_another_context(raw: KeyProvider, context: bytes) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    with pytest.raises(Refused, match=r"key\.context"):
        raw.unwrap("e1", raw.wrap("e1", KEY, b"context"), context)


def test_wrap_does_not_open_under_another_epoch_or_when_changed(raw: KeyProvider) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    raw.create_epoch("e2", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"")
    with pytest.raises(Refused, match=r"key\.context"):
        raw.unwrap("e2", wrapped, b"")
    for place in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[place] ^= 0x80
        with pytest.raises(Refused, match=r"key\.context"):
            raw.unwrap("e1", bytes(changed), b"")


def test_destroyed_epoch_opens_nothing_ever_again(directory: Path, raw: KeyProvider) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"")
    raw.destroy("e1")
    assert raw.status("e1").state is EpochState.DESTROYED
    assert not (directory / "epochs" / "e1.key").exists()
    for attempt in (raw, LocalProvider.connect(directory, KeyClass.RAW)):
        with pytest.raises(Refused, match=r"key\.destroyed"):
            attempt.unwrap("e1", wrapped, b"")
        with pytest.raises(Refused, match=r"key\.destroyed"):
            attempt.wrap("e1", KEY, b"")
    with pytest.raises(Refused, match=r"key\.exists"):
        raw.create_epoch("e1", KeyClass.RAW)
    raw.destroy("e1")


def test_destruction_that_was_interrupted_refuses_and_is_finished_by_repeating(
    directory: Path, raw: KeyProvider
) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"")
    (directory / "epochs" / "e1.destroyed").touch()  # the crash came between mark and erasure
    with pytest.raises(Refused, match=r"key\.destroyed"):
        raw.unwrap("e1", wrapped, b"")
    raw.destroy("e1")
    assert not (directory / "epochs" / "e1.key").exists()


def test_unknown_epoch_is_not_found(raw: KeyProvider) -> None:
    for call in (lambda: raw.unwrap("e1", b"", b""), lambda: raw.destroy("e1")):
        with pytest.raises(NotFound, match=r"key\.unknown"):
            call()
    assert raw.status("e1").state is EpochState.UNKNOWN


def test_epoch_is_never_made_twice(raw: KeyProvider) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"")
    with pytest.raises(Refused, match=r"key\.exists"):
        raw.create_epoch("e1", KeyClass.RAW)
    assert raw.unwrap("e1", wrapped, b"") == KEY


@pytest.mark.parametrize("name", ["", "../e1", "e/1", ".", "E1", "e" * 65, "e\x00", "é"])
def test_epoch_name_that_is_no_plain_file_name_is_refused(directory: Path, raw: KeyProvider, name: str) -> None:
    before = sorted(directory.rglob("*"))
    for call in (lambda: raw.create_epoch(name, KeyClass.RAW), lambda: raw.status(name), lambda: raw.destroy(name)):
        with pytest.raises(Refused, match=r"key\.name"):
            call()
    assert sorted(directory.rglob("*")) == before


def test_everything_is_private_and_nothing_holds_a_key_in_clear(directory: Path, raw: KeyProvider) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert len((directory / "epochs" / "e1.key").read_bytes()) == 1 + 1 + 24 + 32 + 16


def test_initialising_again_changes_nothing(directory: Path, raw: KeyProvider) -> None:
    raw.create_epoch("e1", KeyClass.RAW)
    wrapped = raw.wrap("e1", KEY, b"")
    LocalProvider.initialise(directory, "FR")
    again = LocalProvider.connect(directory, KeyClass.RAW)
    assert again.unwrap("e1", wrapped, b"") == KEY
    assert again.location().observed == "DE"


def test_location_is_what_somebody_wrote_and_says_so(tmp_path: Path, directory: Path, raw: KeyProvider) -> None:
    assert (raw.location().observed, raw.location().strength) == ("DE", "self-reported")
    (directory / "location").unlink()
    assert (raw.location().observed, raw.location().strength) == ("", "none")


def test_damaged_credential_is_malformed(directory: Path) -> None:
    (directory / "credentials" / "raw.credential").write_bytes(b"short")
    with pytest.raises(Malformed, match=r"key\.credential"):
        LocalProvider.connect(directory, KeyClass.RAW)
