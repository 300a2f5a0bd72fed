"""The Merkle tree of RFC 6962 §2.1 (SHA-256): roots, inclusion paths, consistency paths, and their checks.

Proofs are made over a `Subtree` port, `subtree(height, index)` = hash of the complete subtree over leaves
[index << height, (index + 1) << height), so that they never need all leaves. Checks need nothing but hashes.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from lineage.errors import Malformed, NotVerified

Subtree = Callable[[int, int], bytes]

EMPTY_ROOT = sha256(b"").digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """The right edge of a growing tree: one complete subtree per set bit of the size."""

    def __init__(self) -> None:
        self.size = 0
        self._edge: list[bytes] = []

    def append(self, leaf: bytes) -> list[bytes]:
        """Add a leaf hash; returns the subtrees this completes, by height: [height 0, height 1, …]."""
        completed = [leaf]
        size = self.size
        while size & 1:
            completed.append(node_hash(self._edge.pop(), completed[-1]))
            size >>= 1
        self._edge.append(completed[-1])
        self.size += 1
        return completed

    def root(self) -> bytes:
        if not self._edge:
            return EMPTY_ROOT
        root = self._edge[-1]
        for left in reversed(self._edge[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Root over leaf hashes."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Hash of the complete subtree over 2^n hashes."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
    return row[0]


def subtree_of(leaves: Sequence[bytes]) -> Subtree:
    """The port over leaf hashes in memory."""
    return lambda height, index: fold(leaves[index << height : (index + 1) << height])


def tree_root(size: int, subtree: Subtree) -> bytes:
    """Root of the tree of `size` leaves."""
    return _range_hash(0, size, subtree) if size else EMPTY_ROOT


def inclusion_path(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """RFC 6962 §2.1.1, from the leaf's sibling up. Raises Malformed("proof.range")."""
    if not 0 <= index < size:
        raise Malformed("proof.range", f"index {index} of a tree of {size}")
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_range_hash(middle, stop, subtree))
            stop = middle
        else:
            path.append(_range_hash(start, middle, subtree))
            start = middle
    path.reverse()
    return path


def consistency_path(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """RFC 6962 §2.1.2. Empty when old is 0 or equals new. Raises Malformed("proof.range")."""
    if not 0 <= old <= new:
        raise Malformed("proof.range", f"{old} to {new}")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, stop, whole = 0, new, True
    while old - start != stop - start:
        middle = start + _split(stop - start)
        if old <= middle:
            path.append(_range_hash(middle, stop, subtree))
            stop = middle
        else:
            path.append(_range_hash(start, middle, subtree))
            start, whole = middle, False
    if not whole:
        path.append(_range_hash(start, stop, subtree))
    path.reverse()
    return path


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 §2.1.3.2. Raises NotVerified("inclusion")."""
    if not 0 <= index < size:
        raise NotVerified("inclusion", f"index {index} is not in a tree of {size}")
    node, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise NotVerified("inclusion", "the path is too long")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or result != root:
        raise NotVerified("inclusion", f"the path from entry {index} does not lead to the root")


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """RFC 9162 §2.1.4.2. Raises NotVerified("consistency")."""
    if not 0 <= old <= new:
        raise NotVerified("consistency", f"{new} is smaller than {old}")
    if old in (0, new):
        if path or (old_root != (EMPTY_ROOT if old == 0 else new_root)):
            raise NotVerified("consistency", "the roots differ at one size")
        return
    if not path:
        raise NotVerified("consistency", "no path")
    hashes = [old_root, *path] if old & (old - 1) == 0 else list(path)
    node, last = old - 1, new - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            raise NotVerified("consistency", "the path is too long")
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    if last != 0 or first != old_root or second != new_root:
        raise NotVerified("consistency", f"the tree of {new} does not continue the tree of {old}")


def _split(count: int) -> int:
    """The largest power of two below `count` (count >= 2)."""
    return 1 << ((count - 1).bit_length() - 1)


def _range_hash(start: int, stop: int, subtree: Subtree) -> bytes:
    """MTH(D[start:stop]) for a range the tree's own splits produce (its start is aligned to its width)."""
    count = stop - start
    if count & (count - 1) == 0:
        height = count.bit_length() - 1
        return subtree(height, start >> height)
    middle = start + _split(count)
    return node_hash(
        subtree((middle - start).bit_length() - 1, start // (middle - start)), _range_hash(middle, stop, subtree)
    )
