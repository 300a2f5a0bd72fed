"""What every store must do; each implementation's test class inherits this and gives a `store` fixture."""

import os
import time

import pytest

from vault.errors import Malformed, NotFound, Refused, Unavailable
from vault.store.store import Store

MIB = 1 << 20


class StoreContract:
    def test_what_is_put_is_read_whole_and_by_range(self, store: Store) -> None:
        data = os.urandom(100_000)
        store.put_bytes("b/ab/one", data)
        assert store.size("b/ab/one") == len(data)
        assert store.read_at("b/ab/one", 0, len(data)) == data
        assert store.read_at("b/ab/one", 70_000, 12_345) == data[70_000:82_345]

    @pytest.mark.parametrize("size", [0, 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB + 7])
    def test_a_stream_of_any_length_is_stored_whole(self, store: Store, size: int) -> None:
        data = os.urandom(size)
        writer = store.open_write("b/cd/stream")
        for at in range(0, size, 1_000_003):
            writer.write(memoryview(data)[at : at + 1_000_003])
        assert writer.commit().size == size
        reader = store.open_read("b/cd/stream")
        assert reader.size == size
        assert reader.read_at(0, size) == data
        reader.close()

    def test_sequential_and_jumping_reads_of_one_reader(self, store: Store) -> None:
        data = os.urandom(3 * MIB)
        store.put_bytes("b/ef/jump", data)
        reader = store.open_read("b/ef/jump")
        target = bytearray(300_000)
        for at in [0, 300_000, 600_000, 900_000, 5, 2 * MIB, 2 * MIB + 300_000, 100]:
            assert reader.read_into(at, memoryview(target)) == len(target)
            assert bytes(target) == data[at : at + len(target)]
        reader.close()

    def test_the_writer_may_reuse_its_buffer(self, store: Store) -> None:
        buffer = bytearray(b"a" * 100)
        writer = store.open_write("b/aa/reuse")
        writer.write(buffer)
        buffer[:] = b"b" * 100
        writer.write(buffer)
        writer.commit()
        assert store.read_at("b/aa/reuse", 0, 200) == b"a" * 100 + b"b" * 100

    def test_nothing_is_visible_before_commit(self, store: Store) -> None:
        writer = store.open_write("b/gh/early")
        writer.write(b"x" * 9 * MIB)
        with pytest.raises(NotFound):
            store.size("b/gh/early")
        assert list(store.list("b/gh")) == []
        writer.commit()
        assert list(store.list("b/gh")) == ["b/gh/early"]

    def test_nothing_remains_after_abort(self, store: Store) -> None:
        writer = store.open_write("b/ij/gone")
        writer.write(b"x" * 9 * MIB)
        writer.abort()
        writer.abort()
        with pytest.raises(NotFound):
            store.open_read("b/ij/gone")
        with pytest.raises(Unavailable):
            writer.commit()

    def test_abort_after_commit_changes_nothing(self, store: Store) -> None:
        writer = store.open_write("b/kl/kept")
        writer.write(b"kept")
        writer.commit()
        writer.abort()
        assert store.read_at("b/kl/kept", 0, 4) == b"kept"

    def test_a_read_beyond_the_end_is_short_and_says_so(self, store: Store) -> None:
        store.put_bytes("b/mn/short", b"0123456789")
        with pytest.raises(Malformed, match=r"store\.short"):
            store.read_at("b/mn/short", 5, 6)
        with pytest.raises(Malformed, match=r"store\.short"):
            store.read_at("b/mn/short", 50, 1)

    def test_delete_is_idempotent(self, store: Store) -> None:
        store.put_bytes("b/op/del", b"x")
        store.delete("b/op/del")
        store.delete("b/op/del")
        with pytest.raises(NotFound):
            store.size("b/op/del")

    def test_list_by_prefix(self, store: Store) -> None:
        for key in ["m/aa/1", "m/ab/2", "n/aa/3"]:
            store.put_bytes(key, b"x")
        assert sorted(store.list("m/")) == ["m/aa/1", "m/ab/2"]
        assert sorted(store.list("n/aa/")) == ["n/aa/3"]

    @pytest.mark.parametrize(
        "key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".hidden", "a/.b", "a b", "a%2Fb", "ä", "x" * 97]
    )
    def test_a_name_this_vault_would_never_give_is_refused(self, store: Store, key: str) -> None:
        for call in (store.open_write, store.open_read, store.size, store.delete):
            with pytest.raises(Refused, match=r"store\.key"):
                call(key)

    def test_it_says_where_it_is(self, store: Store) -> None:
        location = store.location()
        assert location.target
        assert location.strength in {"none", "self-reported", "network"}

    def test_clean_takes_only_what_is_old_enough(self, store: Store) -> None:
        writer = store.open_write("b/qr/left")
        writer.write(b"x" * 9 * MIB)
        assert store.clean(int(time.time() * 1000) - 3_600_000) == 0
        writer.write(b"y")
        writer.commit()
        assert store.size("b/qr/left") == 9 * MIB + 1
