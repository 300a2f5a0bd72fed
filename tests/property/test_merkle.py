"""RFC 6962: proofs by the fast code against the definition written out as the RFC writes it."""

from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.errors import Malformed, NotVerified
from lineage.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    consistency_path,
    inclusion_path,
    root_of,
    subtree_of,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

sizes = st.integers(1, 300)


def leaves(size: int) -> list[bytes]:
    return [sha256(b"\x00" + i.to_bytes(4, "big")).digest() for i in range(size)]


ALL = leaves(300)


def mth(hashes: list[bytes]) -> bytes:
    """RFC 6962 §2.1, literally."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def path_by_definition(m: int, hashes: list[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1, literally."""
    if len(hashes) == 1:
        return []
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if m < k:
        return [*path_by_definition(m, hashes[:k]), mth(hashes[k:])]
    return [*path_by_definition(m - k, hashes[k:]), mth(hashes[:k])]


def subproof(m: int, hashes: list[bytes], *, whole: bool) -> list[bytes]:
    """RFC 6962 §2.1.2, literally."""
    if m == len(hashes):
        return [] if whole else [mth(hashes)]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    if m <= k:
        return [*subproof(m, hashes[:k], whole=whole), mth(hashes[k:])]
    return [*subproof(m - k, hashes[k:], whole=False), mth(hashes[:k])]


@given(st.integers(0, 300))
@settings(max_examples=60)
def test_roots(size: int) -> None:
    assert root_of(ALL[:size]) == mth(ALL[:size]) == tree_root(size, subtree_of(ALL))


def test_the_empty_tree() -> None:
    assert Frontier().root() == EMPTY_ROOT == sha256(b"").digest()


def test_known_answer_of_certificate_transparency() -> None:
    """The eight inputs and roots every RFC 6962 implementation is tested with."""
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    hashes = [sha256(b"\x00" + bytes.fromhex(value)).digest() for value in inputs]
    assert root_of(hashes[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert root_of(hashes[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert root_of(hashes).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(sizes, st.data())
@settings(max_examples=100)
def test_inclusion_paths_are_those_of_the_rfc_and_verify(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    path = inclusion_path(index, size, subtree_of(ALL))
    assert path == path_by_definition(index, ALL[:size])
    verify_inclusion(ALL[index], index, size, path, root_of(ALL[:size]))


@given(sizes, st.data())
@settings(max_examples=100)
def test_consistency_paths_are_those_of_the_rfc_and_verify(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    path = consistency_path(old, new, subtree_of(ALL))
    assert path == subproof(old, ALL[:new], whole=True)
    verify_consistency(old, root_of(ALL[:old]), new, root_of(ALL[:new]), path)


@given(st.integers(2, 80), st.data())
@settings(max_examples=100)
def test_a_proof_holds_for_nothing_else(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, path = root_of(ALL[:size]), inclusion_path(index, size, subtree_of(ALL))
    other = data.draw(st.integers(0, 2 * size).filter(lambda i: i != index))
    with pytest.raises(NotVerified):
        verify_inclusion(ALL[index], other, size, path, root)
    with pytest.raises(NotVerified):
        verify_inclusion(ALL[(index + 1) % size], index, size, path, root)
    position = data.draw(st.integers(0, len(path) - 1))
    changed = [*path[:position], bytes(32), *path[position + 1 :]]
    for broken in (changed, path[1:], [*path, bytes(32)], []):
        with pytest.raises(NotVerified):
            verify_inclusion(ALL[index], index, size, broken, root)


@given(st.integers(2, 80), st.data())
@settings(max_examples=100)
def test_a_rewritten_tree_is_not_consistent(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    position = data.draw(st.integers(0, old - 1))
    rewritten = [*ALL[:position], bytes(32), *ALL[position + 1 : new]]
    path = consistency_path(old, new, subtree_of(rewritten))
    with pytest.raises(NotVerified):
        verify_consistency(old, root_of(ALL[:old]), new, root_of(rewritten), path)
    good = consistency_path(old, new, subtree_of(ALL))
    for broken in (good[:-1], [*good, bytes(32)], []):
        with pytest.raises(NotVerified):
            verify_consistency(old, root_of(ALL[:old]), new, root_of(ALL[:new]), broken)


def test_proofs_outside_the_tree_are_refused() -> None:
    for index, size in ((-1, 3), (3, 3), (0, 0)):
        with pytest.raises(Malformed):
            inclusion_path(index, size, subtree_of(ALL))
    with pytest.raises(Malformed):
        consistency_path(4, 3, subtree_of(ALL))
    with pytest.raises(NotVerified):
        verify_consistency(0, bytes(32), 5, root_of(ALL[:5]), [])
