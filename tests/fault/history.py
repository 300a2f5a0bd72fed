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
MOST_STATES = 3_000_000


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
        case ("put", True | None):
            yield operation.value
        case ("delete", True | None):
            yield ABSENT
        case ("create", True | None):
            if state is ABSENT:
                yield operation.value
        case ("create", False):
            if state is not ABSENT:
                yield state
        case ("swap", True | None):
            if state == operation.value[0]:  # type: ignore[index]
                yield operation.value[1]  # type: ignore[index]
        case ("swap", False):
            if state != operation.value[0]:  # type: ignore[index]
                yield state
        case _:  # refused for a reason that has nothing to do with the register: it changed nothing
            yield state


def violation(history: Iterable[Operation]) -> str | None:
    """None when every key's history is linearisable; otherwise what was found, for a person."""
    keys: dict[str, list[Operation]] = {}
    for operation in history:
        keys.setdefault(operation.key, []).append(operation)
    for key, operations in sorted(keys.items()):
        found = _Search(operations).run()
        if found is not None:
            around = "\n".join(f"  {each.sentence()}" for each in found)
            return f"key {key}: no order of these gives their answers\n{around}"
    return None


def written(operation: Operation) -> Hashable:
    """The value that this write leaves; None of a delete or a read."""
    if operation.kind == "swap":
        return operation.value[1]  # type: ignore[index, no-any-return]
    return operation.value if operation.kind in {"put", "create"} else None


def settled(operations: Sequence[Operation]) -> list[Operation]:
    """Unanswered writes whose value somebody saw did happen, before he was answered: values are unique."""
    seen: dict[Hashable, float] = {}
    for each in operations:
        value = each.value if each.kind == "get" else each.value[0] if each.kind == "swap" and each.ok else None  # type: ignore[index]
        if value is not None:
            seen[value] = min(seen.get(value, inf), each.answered)
    return [
        replace(each, ok=True, answered=seen[written(each)]) if each.ok is None and written(each) in seen else each
        for each in operations
    ]


Maybe = tuple[int, int, frozenset[int]]
"""How many of the unanswered deletes and puts took effect, and which of the other unanswered writes."""


class _Search:
    """Depth first over (answered operations placed, state, unanswered ones that took effect).

    `base`: that many of the answered ones, by their calls, are all placed; `beyond`: further ones. Unanswered deletes
    are alike, and so are unanswered puts of values that nobody saw: the one called first stands for any.
    """

    def __init__(self, operations: Sequence[Operation]) -> None:
        ordered = sorted(settled(operations), key=lambda each: each.called)
        self._sure = [each for each in ordered if each.answered != inf]
        unsure = [each for each in ordered if each.answered == inf and each.ok is None]
        self._deletes = [each for each in unsure if each.kind == "delete"]
        self._puts = [each for each in unsure if each.kind == "put"]
        self._others = [each for each in unsure if each.kind not in {"delete", "put"}]

    def run(self) -> list[Operation] | None:
        """None when there is an order; otherwise what is concurrent with the first operation that nothing explains."""
        start: tuple[int, frozenset[int], Hashable, Maybe] = (0, frozenset(), ABSENT, (0, 0, frozenset()))
        seen, stack, furthest = {start}, [start], 0
        while stack:
            base, beyond, state, maybe = stack.pop()
            if base == len(self._sure):
                return None
            furthest = max(furthest, base)
            candidates, before = self._candidates(base, beyond)
            nexts = [(base, beyond, after, used) for after, used in self._unsure(state, maybe, before)]
            for index in candidates:
                placed = self._advanced(base, beyond | {index})
                nexts += [(*placed, after, maybe) for after in effects(self._sure[index], state)]
            for node in nexts:  # the answered ones last: they are tried first
                if len(seen) > MOST_STATES:
                    raise RuntimeError(f"undecided after {MOST_STATES} states")
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
        worst = self._sure[furthest]
        near = [*self._sure, *self._deletes, *self._puts, *self._others]
        return [each for each in near if each.called <= worst.answered and each.answered >= worst.called - 0.05]

    def _candidates(self, base: int, beyond: frozenset[int]) -> tuple[list[int], float]:
        """Who may be next: nobody that is still to be placed was answered before he was called. And until when."""
        earliest, index, found = inf, base, []
        while index < len(self._sure) and self._sure[index].called <= earliest:
            if index not in beyond:
                found.append(index)
                earliest = min(earliest, self._sure[index].answered)
            index += 1
        return [each for each in found if self._sure[each].called <= earliest], earliest

    def _unsure(self, state: Hashable, maybe: Maybe, before: float) -> Iterator[tuple[Hashable, Maybe]]:
        deletes, puts, others = maybe
        if state is not ABSENT and deletes < len(self._deletes) and self._deletes[deletes].called <= before:
            yield ABSENT, (deletes + 1, puts, others)
        if puts < len(self._puts) and self._puts[puts].called <= before:
            yield "a value nobody saw", (deletes, puts + 1, others)
        for index, each in enumerate(self._others):
            if each.called > before:
                break
            if index not in others:
                for after in effects(each, state):
                    yield after, (deletes, puts, others | {index})

    @staticmethod
    def _advanced(base: int, beyond: frozenset[int]) -> tuple[int, frozenset[int]]:
        rest = set(beyond)
        while base in rest:
            rest.remove(base)
            base += 1
        return base, frozenset(rest)
