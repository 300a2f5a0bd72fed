import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.store_contract import StoreContract
from vault.errors import Conflict, Malformed, NotFound, Unavailable
from vault.store.files import FileStore


class TestFileStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> FileStore:
        return FileStore.initialise(tmp_path / "store", "de")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    FileStore.initialise(tmp_path / "store", "de")
    return tmp_path / "store"


def test_a_directory_that_was_never_set_up_is_not_a_store(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"store\.unmarked"):
        FileStore(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_store_does_not_move_by_a_setting(root: Path) -> None:
    assert FileStore.initialise(root, "de").location().observed == "de"
    with pytest.raises(Conflict, match=r"store\.location"):
        FileStore.initialise(root, "fr")
    assert FileStore(root).location().observed == "de"


def test_the_location_is_asked_anew_each_time(root: Path) -> None:
    store = FileStore(root)
    (root / ".location.json").write_text('{"format": 1, "observed": "us"}')
    assert store.location().observed == "us"
    (root / ".location.json").write_text("[]")
    with pytest.raises(Malformed, match=r"store\.marker"):
        store.location()
    (root / ".location.json").unlink()
    with pytest.raises(Unavailable, match=r"store\.unmarked"):
        store.location()


def test_objects_are_for_their_owner_alone(root: Path) -> None:
    FileStore(root).put_bytes("b/ab/one", b"x")
    assert stat.S_IMODE((root / "b/ab/one").stat().st_mode) == 0o600
    assert stat.S_IMODE((root / "b/ab").stat().st_mode) == 0o700


def test_a_link_in_the_store_is_not_followed(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"of another")
    (root / "b").mkdir()
    (root / "b/link").symlink_to(tmp_path / "secret")
    with pytest.raises(Malformed, match=r"store\.not-a-file"):
        FileStore(root).open_read("b/link")


def test_what_is_no_file_holds_no_reader_up(root: Path) -> None:
    """A pipe in an object's place would be opened for ever: the reader's thread, the sweeper, a rebuild."""
    (root / "b").mkdir()
    os.mkfifo(root / "b/pipe")
    (root / "b/directory").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    opening = "import sys; from pathlib import Path; from vault.store.files import FileStore as Store;"
    opening += "Store(Path(sys.argv[1])).open_read('b/pipe')"
    command = [sys.executable, "-c", opening, str(root)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert "store.not-a-file" in done.stderr
    with pytest.raises(Malformed, match=r"store\.not-a-file"):
        FileStore(root).open_read("b/directory")
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_object_deleted_while_it_is_read_is_read_to_its_end(root: Path) -> None:
    store = FileStore(root)
    store.put_bytes("b/ab/one", b"0123456789")
    reader = store.open_read("b/ab/one")
    store.delete("b/ab/one")
    assert reader.read_at(5, 5) == b"56789"
    reader.close()


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failing_disk_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    store = FileStore(root)
    writer = store.open_write("b/ab/one")
    writer.write(b"x")
    target: object = os if call == "fsync" else Path
    monkeypatch.setattr(target, call, fail)
    with pytest.raises(Unavailable, match=r"store\.full"):
        writer.commit()
    monkeypatch.undo()
    assert not (root / "b/ab/one").exists()
    assert list((root / ".unfinished").iterdir()) == []


_FILL = """
import resource, signal, sys
from pathlib import Path
from vault.errors import Unavailable
from vault.store.files import FileStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = FileStore(Path(sys.argv[1]))
writer = store.open_write("b/ab/big")
try:
    for _ in range(100):
        writer.write(b"x" * 10_000)
    writer.commit()
except Unavailable as error:
    print(error.reason)
"""


def test_a_full_disk_leaves_nothing(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FILL, str(root)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "store.full"
    assert not (root / "b").exists()
    assert list((root / ".unfinished").iterdir()) == []


def test_clean_removes_what_a_dead_process_left(root: Path) -> None:
    left = root / ".unfinished" / "0123"
    left.write_bytes(b"x")
    os.utime(left, (1000, 1000))
    assert FileStore(root).clean(2_000_000) == 1
    assert not left.exists()


def test_files_are_not_left_open(root: Path) -> None:
    store = FileStore(root)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        store.put_bytes("b/ab/one", b"x")
        store.read_at("b/ab/one", 0, 1)
        store.delete("b/ab/one")
        with pytest.raises(NotFound):
            store.open_read("b/ab/one")
    assert len(os.listdir("/proc/self/fd")) == before
