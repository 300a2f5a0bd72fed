import pytest

from tests.fakes.store import FailOn, MemoryStore
from tests.fakes.store_contract import StoreContract
from vault.errors import Unavailable


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


def test_a_fault_before_leaves_nothing_and_a_fault_after_leaves_all() -> None:
    store = MemoryStore()
    store.before = FailOn("commit")
    with pytest.raises(Unavailable):
        store.put_bytes("b/aa/1", b"x")
    assert not store.objects
    assert not store.unfinished
    store.after = FailOn("commit")
    with pytest.raises(Unavailable):
        store.put_bytes("b/aa/2", b"x")
    assert store.objects == {"b/aa/2": b"x"}
