"""Trust files that are there and cannot be read: what they might say is not forgotten."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.fakes.attest_pki import NOW, NOW_MS, revocations
from tests.fakes.attest_tpm import VALUES
from tests.fakes.attest_trust import PLATFORMS, Machines, TrustFiles
from tests.unit.vault.attest.admitted.test_admitted_verifiers import admitted, refusal, verify
from vault.attest.trust.directory import AMD, MAX_FILES, TrustDirectory


@pytest.fixture(scope="module")
def machines() -> Machines:
    return Machines()


def _too_many(folder: Path) -> None:
    for number in range(MAX_FILES):
        (folder / f"milan-{number}.crl").touch()


def _not_a_folder(folder: Path) -> None:
    (folder / "milan.crl").unlink()
    folder.rmdir()
    folder.touch()


def _loop(folder: Path) -> None:
    (folder / "milan.crl").unlink()
    folder.rmdir()
    folder.symlink_to(folder.name)


def _dangling(folder: Path) -> None:
    """A mount that did not come up."""
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("nowhere")


def _capital(folder: Path) -> None:
    (folder / "milan.crl").rename(folder / "Milan.crl")


def _other_ending(folder: Path) -> None:
    (folder / "milan.crl").rename(folder / "milan.crl.txt")


def _link_to_nothing(folder: Path) -> None:
    (folder / "milan.crl").unlink()
    os.symlink("nowhere", folder / "milan.crl")


@pytest.mark.parametrize(
    "spoil", [_too_many, _not_a_folder, _loop, _dangling, _capital, _other_ending, _link_to_nothing]
)
def test_lists_of_amds_that_cannot_be_read_are_not_forgotten(
    spoil: Callable[[Path], None], tmp_path: Path, machines: Machines
) -> None:
    """The list in the folder revokes this machine's signer. Whatever becomes of the folder, it stays revoked."""
    files = TrustFiles(tmp_path)
    machines.trust(files)
    path = files.put(f"{AMD}/milan.crl", revocations(machines.amd.root, [machines.amd.middle]))
    verifiers = admitted(files, machines)
    assert refusal(lambda: verify(verifiers, "snp", machines.evidence("snp"))) == "revoked"
    spoil(path.parent)
    assert refusal(lambda: verify(verifiers, "snp", machines.evidence("snp"))) in {"collateral", "revoked"}


HELD_BY = {
    "snp": "platforms", "tdx": "platforms", "nitro": "platforms", "azure-vtpm": "platforms", "tpm": "tpm-keys",
    "maa": "issuers", "confidential-space": "issuers", "nras": "issuers", "trust-authority": "issuers",
    "ear": "issuers",
}  # fmt: skip


@pytest.mark.parametrize("kind", HELD_BY)
@pytest.mark.parametrize("state", ["expired", "of the future", "writable by everybody", "half written"])
def test_each_kind_ends_with_the_file_that_admits_it(kind: str, state: str, tmp_path: Path, machines: Machines) -> None:
    files = TrustFiles(tmp_path)
    machines.trust(files)
    assert verify(admitted(files, machines), kind, machines.evidence(kind))
    name = HELD_BY[kind]
    members = {
        "platforms": PLATFORMS, "issuers": {"issuers": machines.issuers()},
        "tpm-keys": {"keys": [{"name": machines.tpm.name, "pcrs": {"7": [VALUES[7].hex()]}}]},
    }[name]  # fmt: skip
    if state == "expired":
        files.write(name, issued=NOW - timedelta(9), expires=NOW, **members)
    elif state == "of the future":
        files.write(name, issued=NOW + timedelta(1), expires=NOW + timedelta(9), **members)
    elif state == "writable by everybody":
        files.write(name, **members).chmod(0o666)
    else:
        path = files.write(name, **members)
        files.put(path.name, path.read_bytes()[:-2])
    assert refusal(lambda: verify(admitted(files, machines), kind, machines.evidence(kind))) == "no-trust"


def test_a_file_that_changes_under_its_reader_is_not_half_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written in place, the first half of one file and the second of another can be one that nobody wrote."""
    files = TrustFiles(tmp_path)
    path = files.platforms()
    directory = TrustDirectory(tmp_path, look_ms=0)
    real, seen = os.fstat, list[int]()

    def later(descriptor: int) -> os.stat_result:
        if seen:
            with path.open("ab") as file:
                file.write(b" ")
        seen.append(descriptor)
        return real(descriptor)

    monkeypatch.setattr("vault.attest.trust.watched.os.fstat", later)
    found = directory.material(NOW_MS).platforms
    assert len(seen) == 2
    assert found.valid(NOW_MS) is None
    assert "changed while it was read" in found.problem
    monkeypatch.undo()
    assert directory.material(NOW_MS + 1).platforms.valid(NOW_MS) is not None
