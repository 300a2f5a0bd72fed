"""The directory as it is read: states, changes, and files that are no files."""

import json
import os
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.attest_intel import FMSPC, FakeIntel
from tests.fakes.attest_pki import NOW, NOW_MS, Shape, issue, revocations, rsa_key
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_trust import Machines, TrustFiles, dcap_form
from vault.attest.trust.directory import AMD, INTEL, LOOK_MS, MAX_FILES, NVIDIA, TrustDirectory
from vault.attest.trust.watched import CLOCK_SKEW_MS, State

DAY_MS = 86_400_000


@pytest.fixture
def files(tmp_path: Path) -> TrustFiles:
    return TrustFiles(tmp_path)


def look(files: TrustFiles, at_ms: int = NOW_MS, *, development: bool = False) -> Any:
    return TrustDirectory(files.path, development=development).material(at_ms)


def test_an_empty_and_a_missing_directory_are_answers(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        material = TrustDirectory(path, development=True).material(NOW_MS)
        assert {loaded.state(NOW_MS) for loaded in material.files()} == {State.MISSING}
        assert material.states(NOW_MS) == dict.fromkeys(
            ("platforms", "reference-values", "issuers", "tpm-keys", "endorsers", "collateral"), "missing"
        )


def test_states_by_time(files: TrustFiles) -> None:
    files.write("platforms", issued=NOW, expires=NOW + timedelta(30))
    platforms = look(files).platforms
    assert platforms.state(NOW_MS) is State.PRESENT
    assert platforms.state(NOW_MS - CLOCK_SKEW_MS) is State.PRESENT
    assert platforms.state(NOW_MS - CLOCK_SKEW_MS - 1) is State.UNREADABLE
    assert "future" in platforms.said(NOW_MS - DAY_MS)
    assert (platforms.state(NOW_MS + 30 * DAY_MS), platforms.valid(NOW_MS + 30 * DAY_MS)) == (State.EXPIRED, None)
    assert platforms.said(NOW_MS) == ""


def test_an_error_is_kept_as_what_to_mend(files: TrustFiles) -> None:
    files.platforms(snp={"products": {}, "deny_chip": []})
    loaded = look(files).platforms
    assert (loaded.state(NOW_MS), loaded.valid(NOW_MS)) == (State.UNREADABLE, None)
    assert loaded.said(NOW_MS) == "snp.deny_chip: unknown member; remove it, or correct its name"


def test_what_is_no_plain_file_is_unreadable(files: TrustFiles, tmp_path: Path) -> None:
    path = files.platforms()
    good = path.read_bytes()
    path.chmod(0o646)
    assert "everybody may write it" in look(files).platforms.problem
    path.unlink()
    path.mkdir()
    assert look(files).platforms.state(NOW_MS) is State.UNREADABLE
    path.rmdir()
    os.mkfifo(path)
    assert "not a regular file" in look(files).platforms.problem  # and nobody waits for a writer
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    assert look(files).platforms.state(NOW_MS) is State.MISSING
    path.unlink()
    path.symlink_to("/dev/zero")
    assert look(files).platforms.state(NOW_MS) is State.UNREADABLE
    path.unlink()
    files.put("platforms.json", good + b" " * (1 << 20))
    assert "longer than" in look(files).platforms.problem
    data = tmp_path / "data"
    data.write_bytes(good)
    path.unlink()
    path.symlink_to(data)  # as container platforms mount them
    assert look(files).platforms.state(NOW_MS) is State.PRESENT


def test_a_change_is_seen_even_when_size_and_time_stay(files: TrustFiles) -> None:
    path = files.write("platforms", nitro={"allow_instances": ["i-1"]})
    directory = TrustDirectory(files.path)
    before = path.stat()
    assert directory.material(NOW_MS).platforms.value.nitro.instances == {"i-1"}  # type: ignore[union-attr]
    text = path.read_text().replace("i-1", "i-2")
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert directory.material(NOW_MS + LOOK_MS).platforms.value.nitro.instances == {"i-2"}  # type: ignore[union-attr]


def test_a_file_that_did_not_change_is_not_read_again(files: TrustFiles) -> None:
    files.platforms()
    directory = TrustDirectory(files.path, look_ms=0)
    first = directory.material(NOW_MS).platforms
    assert directory.material(NOW_MS + 1).platforms is first


def test_a_file_half_written_is_unreadable_and_then_read(files: TrustFiles) -> None:
    path = files.platforms()
    whole = path.read_bytes()
    directory = TrustDirectory(files.path, look_ms=0)
    path.write_bytes(whole[:-20])
    assert directory.material(NOW_MS).platforms.state(NOW_MS) is State.UNREADABLE
    path.write_bytes(whole)
    assert directory.material(NOW_MS).platforms.state(NOW_MS) is State.PRESENT


def test_readers_in_several_threads_see_whole_files(files: TrustFiles) -> None:
    directory = TrustDirectory(files.path, look_ms=0)
    files.platforms(nitro={"allow_instances": ["i-1"]})
    seen, stop = set[Any](), threading.Event()

    def read() -> None:
        while not stop.is_set():
            platforms = directory.material(NOW_MS).platforms
            seen.add((platforms.state(NOW_MS), platforms.problem))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for number in range(60):
        files.platforms(nitro={"allow_instances": [f"i-{number % 10}"]})
    stop.set()
    for reader in readers:
        reader.join()
    assert seen == {(State.PRESENT, "")}


class TestCollateral:
    def test_each_file_has_its_own_state(self, files: TrustFiles) -> None:
        intel = FakeIntel()
        files.put(f"{INTEL}/{FMSPC.hex()}.json", json.dumps(dcap_form(intel.collateral())).encode())
        files.put(f"{INTEL}/000000000001.json", json.dumps(dcap_form(intel.collateral())).encode())
        files.put(f"{INTEL}/tcb.json", b"{}")
        files.put(f"{INTEL}/.hidden", b"")
        material = look(files)
        told = {loaded.name: loaded.problem for loaded in material.intel}
        assert told == {
            f"{INTEL}/{FMSPC.hex()}.json": "",
            f"{INTEL}/000000000001.json": "tcb_info.fmspc: b0c06f000000, and the file is named otherwise",
            f"{INTEL}/tcb.json": "name it by its platform family, twelve hex digits and .json",
        }
        good = next(loaded for loaded in material.intel if not loaded.problem)
        assert good.dated.expires_ms == NOW_MS + 28 * DAY_MS  # the first of its parts to end
        assert good.value.evaluation_number == 17
        assert material.states(NOW_MS)["collateral"] == "unreadable"
        assert material.ends()["collateral"] == NOW_MS + 28 * DAY_MS

    def test_lists_say_whose_they_are(self, files: TrustFiles) -> None:
        amd = FakeAmd()
        files.put(f"{AMD}/milan.crl", revocations(amd.root))
        files.put(f"{AMD}/milan-vlek.crl", revocations(amd.root))
        files.put(f"{AMD}/genoa.crl", revocations(amd.root))
        files.put(f"{AMD}/turin.crl", b"no list")
        files.put(f"{AMD}/naples.crl", revocations(amd.root))
        files.put(f"{AMD}/Milan.pem", revocations(amd.root))
        states = {loaded.name.rpartition("/")[2]: loaded.state(NOW_MS).value for loaded in look(files).amd}
        assert states == {"milan.crl": "present", "milan-vlek.crl": "present", "genoa.crl": "unreadable",
                          "turin.crl": "unreadable", "naples.crl": "unreadable", "Milan.pem": "unreadable"}  # fmt: skip

    def test_a_list_of_a_version_that_is_none_is_unreadable(self, files: TrustFiles) -> None:
        """The parser's exception for it is no ValueError: it once ended the broker's call instead of the file's."""
        odd = revocations(FakeAmd().root).replace(b"\x02\x01\x01", b"\x02\x01\x00", 1)
        files.put(f"{AMD}/milan.crl", odd)
        files.put(f"{NVIDIA}/a.crl", odd)
        material = look(files)
        assert {one.state(NOW_MS) for one in (*material.amd, *material.nvidia)} == {State.UNREADABLE}

    def test_a_list_without_an_end_is_none(self, files: TrustFiles) -> None:
        forever = revocations(issue("ARK-Milan", rsa_key(0), None, Shape(ca=True)), end=NOW + timedelta(1))
        files.put(f"{AMD}/milan.crl", forever)
        (loaded,) = look(files).amd
        assert loaded.state(NOW_MS + 2 * DAY_MS) is State.EXPIRED

    def test_files_that_come_and_go(self, files: TrustFiles) -> None:
        directory = TrustDirectory(files.path, look_ms=0)
        path = files.put(f"{NVIDIA}/notes.txt", b"")
        assert [loaded.state(NOW_MS) for loaded in directory.material(NOW_MS).nvidia] == [State.UNREADABLE]
        path.unlink()
        assert directory.material(NOW_MS).nvidia == ()

    def test_too_many_files_are_one_problem(self, files: TrustFiles) -> None:
        folder = files.path / NVIDIA
        folder.mkdir(parents=True)
        for number in range(MAX_FILES + 1):
            (folder / f"{number}.xml").touch()
        (loaded,) = look(files).nvidia
        assert "more than 512 files" in loaded.problem


def test_development_roots_are_not_even_read_in_production(files: TrustFiles) -> None:
    machines = Machines()
    files.put("development-roots/intel.pem", machines.intel.root.pem)
    assert look(files).development == ()
    (root,) = look(files, development=True).development
    assert root.value.pins == machines.intel.roots
