"""One changed byte anywhere in a copy of the ledger is found, and its place named."""

import base64
import os
import shutil
from pathlib import Path

import pytest

from lineage.errors import Broken, Malformed, NotFound, NotVerified
from lineage.ledger.checkpoint import (
    Checkpoint,
    key_id,
    open_checkpoint,
    origin_of,
    sign_checkpoint,
    verifier_key,
)
from lineage.ledger.entry import encode_entry, leaf_hash
from lineage.ledger.merkle import root_of, verify_consistency
from lineage.ledger.promise import Promise, signed_bytes
from lineage.ledger.proof import verify_receipt
from lineage.ledger.reader import LedgerReader
from lineage.ledger.segments import entries_of
from lineage.ledger.tiles import HASH_BYTES, Resource, parse_resource
from lineage.ledger.verify import verify_directory
from tests.fakes.ledger import LedgerKey, entry_id, intent, verify_ed25519
from tests.unit.lineage.ledger.running import KEY, check, write_ledger

COUNT = 600  # two full tiles, a partial one, and a level 1


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("zone")
    write_ledger(root, [intent(i) for i in range(COUNT)], segment_bytes=200_000)
    return root


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "zone")
    return tmp_path / "zone"


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


def places(root: Path) -> list[str]:
    report = check(root)
    assert not report.verified
    return [problem.place for problem in report.problems]


def test_an_untouched_ledger_verifies(original: Path) -> None:
    report = check(original)
    assert report.problems == []
    assert report.size == COUNT
    assert len(list((original / "ledger" / "log").iterdir())) > 1
    assert report.root == root_of(leaf_hash(encode_entry(intent(i))) for i in range(COUNT))


@pytest.mark.parametrize("number", [0, 1, 255, 256, 300, 599])
def test_a_changed_entry_is_named(copy: Path, number: int) -> None:
    for path in sorted((copy / "ledger" / "log").iterdir()):
        where = path.read_bytes().find(entry_id(number).encode())
        if where >= 0:
            flip(path, where)
            break
    assert places(copy) == [f"entry {number}"]


def test_an_entry_rewritten_with_a_right_checksum_is_still_found(copy: Path) -> None:
    """The attack a checksum does not stop: a whole log rewritten, tiles left alone."""
    shutil.rmtree(copy / "ledger" / "log")
    liar = copy / "liar"
    write_ledger(liar, [intent(i, view="none") if i == 17 else intent(i) for i in range(COUNT)], segment_bytes=200_000)
    shutil.copytree(liar / "ledger" / "log", copy / "ledger" / "log")
    assert places(copy)[0] == "entry 17"


@pytest.mark.parametrize(
    ("level", "position", "place"),
    [(0, 0, "tile/0/000 hash 0"), (0, 300, "tile/0/001 hash 44"), (0, 599, "tile/0/002 hash 87"),
     (1, 1, "tile/1/000 hash 1")],
)  # fmt: skip
def test_a_changed_tile_is_named(copy: Path, level: int, position: int, place: str) -> None:
    flip(copy / "ledger" / "tile" / str(level), position * HASH_BYTES + 5)
    assert places(copy) == [place]


def test_every_changed_byte_of_the_checkpoint_is_found(copy: Path) -> None:
    path = copy / "ledger" / "checkpoint"
    whole = path.read_bytes()
    for position in range(len(whole)):
        flip(path, position)
        assert places(copy) == ["checkpoint"], position
        path.write_bytes(whole)


def test_a_changed_index_is_named(copy: Path) -> None:
    flip(copy / "ledger" / "index", 16 * 42 + 15)
    assert places(copy) == ["index record 42"]


def test_every_byte_of_every_file_counts(tmp_path: Path) -> None:
    write_ledger(tmp_path, [intent(i) for i in range(3)], per_batch=2)
    assert check(tmp_path).verified
    for path in sorted(p for p in (tmp_path / "ledger").rglob("*") if p.is_file()):
        whole = path.read_bytes()
        for position in range(0, len(whole), 7 if len(whole) > 500 else 1):
            flip(path, position)
            report = check(tmp_path)
            assert not report.verified, (path, position)
            assert all(p.place and p.detail for p in report.problems)
            path.write_bytes(whole)


@pytest.mark.parametrize("name", ["note.txt", "log/x", "tile/9", "tile/0.bak", "sub/dir"])
def test_a_file_that_does_not_belong_is_named(copy: Path, name: str) -> None:
    path = copy / "ledger" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    assert not check(copy).verified


def test_a_full_lock_file_and_a_missing_directory_do_not_verify(copy: Path) -> None:
    (copy / "ledger" / "lock").write_bytes(b"x")
    assert places(copy) == ["lock"]
    assert not check(copy / "absent").verified


@pytest.mark.parametrize("name", ["checkpoint", "index", "tile/0", "tile/1"])
def test_a_missing_file_does_not_verify(copy: Path, name: str) -> None:
    (copy / "ledger" / name).unlink()
    assert not check(copy).verified


def test_missing_entries_are_named(copy: Path) -> None:
    last = max((copy / "ledger" / "log").iterdir())
    first = int(last.stem)
    last.unlink()
    assert f"entry {first}" in places(copy)


def test_a_missing_segment_in_the_middle_is_named(copy: Path) -> None:
    second = sorted((copy / "ledger" / "log").iterdir())[1]
    second.unlink()
    assert f"entry {int(second.stem)}" in places(copy)


def test_another_key_and_another_zone_do_not_verify(copy: Path) -> None:
    report = check(copy, zone="fr")
    assert [p.place for p in report.problems] == ["checkpoint"]
    assert not verify_directory(copy / "ledger", LedgerKey().public_key, verify_ed25519, zone="de").verified
    with pytest.raises(ValueError, match="zone or origin"):
        verify_directory(copy / "ledger", KEY.public_key, verify_ed25519)


def test_a_rewritten_or_rolled_back_ledger_is_found_by_what_others_kept(tmp_path: Path) -> None:
    write_ledger(tmp_path / "a", [intent(i) for i in range(20)])
    kept = (tmp_path / "a" / "ledger" / "checkpoint").read_bytes()
    leaf = leaf_hash(encode_entry(intent(15))).hex()
    promise = Promise("de", 15, leaf, 5, KEY.sign(signed_bytes("de", 15, leaf, 5)))
    write_ledger(tmp_path / "b", [intent(i) for i in range(10)])
    write_ledger(tmp_path / "c", [intent(i + (i == 15)) for i in range(25)])
    assert check(tmp_path / "a", earlier=[kept], promises=[promise]).verified
    for other in ("b", "c"):
        assert check(tmp_path / other).verified  # by itself it looks whole: the reason for witnesses and promises
        assert not check(tmp_path / other, earlier=[kept]).verified
        assert not check(tmp_path / other, promises=[promise]).verified


def test_a_ledger_with_a_changed_tree_does_not_start(copy: Path) -> None:
    flip(copy / "ledger" / "tile" / "0", 40)
    with pytest.raises(Broken) as caught:
        write_ledger(copy, [intent(1000)])
    assert caught.value.reason == "ledger.self-check"


@pytest.mark.parametrize("name", ["checkpoint", "tile/1", "index"])
def test_a_ledger_with_a_missing_file_does_not_start(copy: Path, name: str) -> None:
    (copy / "ledger" / name).unlink()
    with pytest.raises(Broken):
        write_ledger(copy, [intent(1000)])


def test_a_recent_entry_that_is_not_in_the_tree_stops_the_start(copy: Path) -> None:
    last = max((copy / "ledger" / "log").iterdir())
    liar = copy / "liar"
    write_ledger(liar, [intent(i, view="none") if i == 598 else intent(i) for i in range(COUNT)], segment_bytes=200_000)
    shutil.copy(max((liar / "ledger" / "log").iterdir()), last)
    with pytest.raises(Broken) as caught:
        write_ledger(copy, [intent(1000)])
    assert "entry 598" in caught.value.detail


def test_receipts_verify_offline_and_only_unchanged(original: Path) -> None:
    reader = LedgerReader(original / "ledger")
    for number in (0, 255, 256, 599):
        text = reader.receipt(entry_id(number))
        receipt = verify_receipt(text, KEY.public_key, verify_ed25519)
        assert (receipt.index, receipt.entry) == (number, intent(number))
        assert receipt.checkpoint.size == COUNT
    for position in range(0, len(text), 3):
        changed = text[:position] + ("A" if text[position] != "A" else "B") + text[position + 1 :]
        with pytest.raises((Malformed, NotVerified)):
            verify_receipt(changed, KEY.public_key, verify_ed25519)
    with pytest.raises(NotVerified):
        verify_receipt(text, LedgerKey().public_key, verify_ed25519)
    with pytest.raises(NotVerified):
        verify_receipt(text, KEY.public_key, verify_ed25519, origin="demesne/zone/fr")
    for form in ("", "x", "c2sp.org/tlog-proof@v1\n\n", text.replace("extra ", "other "), text * 999):
        with pytest.raises(Malformed):
            verify_receipt(form, KEY.public_key, verify_ed25519)
    with pytest.raises(NotFound):
        reader.receipt(entry_id(99_999))


@pytest.mark.timeout(10)
def test_what_cannot_be_an_id_is_not_looked_for(original: Path) -> None:
    """A short prefix was found again for ever: one request for a receipt spun a thread of the front worker."""
    reader = LedgerReader(original / "ledger")
    for text in ("", "00", "0000", entry_id(1)[:16], entry_id(1).upper() + "AA", "zz", entry_id(1) + "\n"):
        with pytest.raises(NotFound):
            reader.receipt(text)


def test_the_reader_serves_tiles_bundles_and_entries(original: Path) -> None:
    reader = LedgerReader(original / "ledger")
    leaves = [leaf_hash(encode_entry(intent(i))) for i in range(COUNT)]
    assert reader.resource("tile/0/001") == b"".join(leaves[256:512])
    assert reader.resource("tile/0/002.p/88") == b"".join(leaves[512:])
    assert reader.resource("tile/0/002.p/5") == b"".join(leaves[512:517])
    assert reader.resource("tile/1/000.p/2") == root_of(leaves[:256]) + root_of(leaves[256:512])
    bundle = reader.resource("tile/entries/002.p/88")
    assert [e for _, e in entries_of(bundle, 0, len(bundle))] == [encode_entry(intent(i)) for i in range(512, 600)]
    assert reader.resource("checkpoint") == (original / "ledger" / "checkpoint").read_bytes()
    assert reader.entries(250, 260) == [intent(i) for i in range(250, 260)]
    assert reader.entries(595, 10_000) == [intent(i) for i in range(595, 600)]
    assert reader.entries(600, 700) == []
    for absent in ("tile/0/002", "tile/0/002.p/89", "tile/1/000", "tile/2/000.p/1", "tile/entries/002"):
        with pytest.raises(NotFound):
            reader.resource(absent)
    verify_consistency(300, root_of(leaves[:300]), COUNT, root_of(leaves), reader.consistency(300, COUNT))
    with pytest.raises(NotFound):
        reader.consistency(1, COUNT + 1)


def test_resource_names_are_those_of_the_specification() -> None:
    assert Resource(0, 1234067, 256).path() == "tile/0/x001/x234/067"
    assert parse_resource("tile/0/x001/x234/067") == Resource(0, 1234067, 256)
    assert parse_resource("tile/entries/000.p/1") == Resource(None, 0, 1)
    for wrong in (
        "tile/0/1", "tile/00/001", "tile/64/000", "tile/0/x000/001", "tile/0/001.p/256", "tile/0/001.p/0",
        "tile/0/001.p/01", "tile/0/../000", "tile/0/000/", "/tile/0/000", "tile/0/x001/x234/x067", "tile/data/000",
        "tile/0/٠٠١", "tile/0/" + "x001/" * 2000 + "000",
    ):  # fmt: skip
        with pytest.raises(Malformed):
            parse_resource(wrong)


def test_checkpoints_are_signed_notes() -> None:
    origin = origin_of("de")
    note = sign_checkpoint(Checkpoint(origin, 3, bytes(32)), KEY.public_key, KEY.sign)
    text = note.decode()
    assert text.startswith("demesne/zone/de\n3\n" + "A" * 43 + "=\n\n— demesne/zone/de ")
    witnessed = note + "— witness.example AAAAAWFhYWE=\n".encode()  # unknown signatures are ignored
    assert open_checkpoint(witnessed, origin, KEY.public_key, verify_ed25519).size == 3
    assert verifier_key(origin, KEY.public_key).startswith(f"{origin}+{key_id(origin, KEY.public_key).hex()}+")
    only_witness = text.split("— ")[0] + "— witness.example AAAAAWFhYWE=\n"
    with pytest.raises(NotVerified) as caught:
        open_checkpoint(only_witness.encode(), origin, KEY.public_key, verify_ed25519)
    assert caught.value.reason == "checkpoint.unsigned"
    for wrong in (b"", note[:-1], note + b"\n", note.replace(b"\n3\n", b"\n03\n"), b"\xff" + note, note * 999):
        with pytest.raises(Malformed):
            open_checkpoint(wrong, origin, KEY.public_key, verify_ed25519)


def test_a_key_id_is_that_of_the_note_specification() -> None:
    """The example key of Go's golang.org/x/mod/sumdb/note documentation."""
    name, wanted, key = "PeterNeumann", "c74f20a3", "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    raw = base64.b64decode(key)
    assert raw[0] == 1
    assert key_id(name, raw[1:]).hex() == wanted


def test_the_directory_of_a_copy_may_be_read_only(copy: Path) -> None:
    for path in (copy / "ledger").rglob("*"):
        os.chmod(path, 0o555 if path.is_dir() else 0o444)
    assert check(copy).verified
    for path in (copy / "ledger").rglob("*"):
        os.chmod(path, 0o755 if path.is_dir() else 0o644)


def test_spare_bits_of_base64_are_not_a_second_spelling() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    origin = origin_of("de")
    text = sign_checkpoint(Checkpoint(origin, 3, bytes(32)), KEY.public_key, KEY.sign).decode()
    for place in (text.index("=") - 1, text.rindex("=") - 1):
        changed = text[:place] + alphabet[alphabet.index(text[place]) + 1] + text[place + 1 :]
        with pytest.raises(Malformed):
            open_checkpoint(changed.encode(), origin, KEY.public_key, verify_ed25519)


def test_a_tree_rewritten_on_every_level_does_not_start(copy: Path) -> None:
    """Levels that agree with each other, and not with what was signed."""
    tile0, tile1 = copy / "ledger" / "tile" / "0", copy / "ledger" / "tile" / "1"
    flip(tile0, 40)
    hashes = tile0.read_bytes()
    first = root_of(hashes[i : i + HASH_BYTES] for i in range(0, 256 * HASH_BYTES, HASH_BYTES))
    tile1.write_bytes(first + tile1.read_bytes()[HASH_BYTES:])
    with pytest.raises(Broken) as caught:
        write_ledger(copy, [intent(1000)])
    assert "signed" in caught.value.detail
