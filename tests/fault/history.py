"""Histories of concurrent S3 clients, and the check that they could have happened on one copy of the data.

Each key is a register of whole values: put, create (If-None-Match: *), swap (If-Match), get, delete, and list as a read
of every key's presence. Every operation is recorded with the moments it was called and answered; one that was not
answered may or may not have happened, at any time from its call on. A history is linearisable when each key's
operations can be put into an order that respects those moments and in which every answer is the one a single register
would have given (Herlihy and Wing, 1990; searched as Wing and Gong did, without searching any state twice).
"""

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

ABSENT = None


@dataclass(frozen=True, slots=True)
class Operation:
    """`kind`: put | create | swap | delete | get | absent | present. `value`: what was put, or what was read; of a swap
    (what must be there, what was put).

    `ok`: True answered as asked, False refused (of a create: the key was there), None nobody knows.
    `called` and `answered` in seconds of one clock; `answered` is inf when there was no answer.
    """

    client: int
    key: str
    kind: str
    value: Hashable
    ok: bool | None
    called: float
    answered: float
    where: str = ""

    def sentence(self) -> str:
        end = "never" if self.answered == inf else f"{self.answered:.4f}"
        said = f"{self.kind} {self.value!r} -> {self.ok}"
        return f"[{self.called:.4f}, {end}] client {self.client} at {self.where}: {said}"


def effects(operation: Operation, state: Hashable) -> Iterator[Hashable]:
    """The states a register may have after `operation` in `state`; none when it cannot have given that answer."""
    match operation.kind, operation.ok:
        case ("get", _):
            if state == operation.value:
                yield state
        case ("present", _):
            if state is not ABSENT:
                yield state
        case ("absent", _):
            if state is ABSENT:
                yield state
        case ("put", True):
            yield operation.value
        case ("delete", True):
            yield ABSENT
        case ("create", True):
            if state is ABSENT:
                yield operation.value
        case ("create", False):
            if state is not ABSENT:
                yield state
        case ("swap", True):
            if state == operation.value[0]:  # type: ignore[index]
                yield operation.value[1]  # type: ignore[index]
        case ("swap", False):
            if state != operation.value[0]:  # type: ignore[index]
                yield state
        case ("put" | "delete" | "create" | "swap", None):
            # Unanswered: it may take effect now, or never (later moments are tried as later places in the order).
            yield state
            yield from effects(replace(operation, ok=True), state)
        case _:  # refused for a reason that has nothing to do with the register: it changed nothing
            yield state


def violation(history: Iterable[Operation]) -> str | None:
    """None when every key's history is linearisable; otherwise what was found, for a person."""
    keys: dict[str, list[Operation]] = {}
    for operation in history:
        keys.setdefault(operation.key, []).append(operation)
    for key, operations in sorted(keys.items()):
        found = _search(sorted(operations, key=lambda each: each.called))
        if found is not None:
            around = "\n".join(f"  {each.sentence()}" for each in found)
            return f"key {key}: no order of these gives their answers\n{around}"
    return None


def _search(operations: Sequence[Operation]) -> list[Operation] | None:
    """None when there is an order; otherwise the operations that are concurrent with the first that nothing explains.

    Depth first over (operations placed, state). `base` is how many of the first ones are all placed, so that the set of
    the others stays as small as the number of clients.
    """
    answered = [each.answered for each in operations]
    seen: set[tuple[int, frozenset[int], Hashable]] = set()
    stack: list[tuple[int, frozenset[int], Hashable]] = [(0, frozenset(), ABSENT)]
    furthest = 0
    while stack:
        base, beyond, state = stack.pop()
        if base == len(operations):
            return None
        furthest = max(furthest, base)
        for index in _candidates(operations, answered, base, beyond):
            for after in effects(operations[index], state):
                place = _advanced(base, beyond | {index})
                if (node := (*place, after)) not in seen:
                    seen.add(node)
                    stack.append(node)
    worst = operations[furthest]
    return [each for each in operations if each.called <= worst.answered and each.answered >= worst.called - 0.05]


def _candidates(
    operations: Sequence[Operation], answered: Sequence[float], base: int, beyond: frozenset[int]
) -> Iterator[int]:
    """Who may be next: nobody that is still to be placed was answered before he was called."""
    earliest = inf
    index = base
    found = []
    while index < len(operations) and operations[index].called <= earliest:
        if index not in beyond:
            found.append(index)
            earliest = min(earliest, answered[index])
        index += 1
    yield from (each for each in found if operations[each].called <= earliest)


def _advanced(base: int, beyond: frozenset[int]) -> tuple[int, frozenset[int]]:
    rest = set(beyond)
    while base in rest:
        rest.remove(base)
        base += 1
    return base, frozenset(rest)
