"""One key a zone: made once, private, and its signatures verify or are refused."""

import stat
import threading
from pathlib import Path

import pytest

from vault.errors import Broken, Refused
from vault.keys.signing import ZoneSigner, verify_signature


def test_signature_verifies_and_any_change_is_refused() -> None:
    signer = ZoneSigner.generate()
    signature = signer.sign(b"message")
    verify_signature(signer.public_key, signature, b"message")
    for key, sig, message in (
        (signer.public_key, signature, b"messagf"),
        (signer.public_key, signature[:-1], b"message"),
        (signer.public_key, bytes(64), b"message"),
        (ZoneSigner.generate().public_key, signature, b"message"),
        (b"short", signature, b"message"),
    ):
        with pytest.raises(Refused, match="signature"):
            verify_signature(key, sig, message)


def test_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    first = ZoneSigner.load_or_create(path)
    assert ZoneSigner.load_or_create(path).public_key == first.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    path, keys = tmp_path / "signing.key", list[bytes]()
    threads = [
        threading.Thread(target=lambda: keys.append(ZoneSigner.load_or_create(path).public_key)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_key_that_others_may_read_is_not_used(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "signing.key"
    ZoneSigner.load_or_create(path)
    path.chmod(mode)
    with pytest.raises(Broken, match=r"signer\.file"):
        ZoneSigner.load_or_create(path)


def test_damaged_key_is_neither_used_nor_replaced(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(b"torn")
    path.chmod(0o600)
    with pytest.raises(Broken, match=r"signer\.file"):
        ZoneSigner.load_or_create(path)
    assert path.read_bytes() == b"torn"


def test_repr_shows_the_public_half_only(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    signer = ZoneSigner.load_or_create(path)
    assert path.read_bytes().hex() not in repr(signer) + repr(vars(signer))
