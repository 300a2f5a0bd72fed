"""The checker of histories finds what is wrong, and nothing else: small histories whose verdict is known."""

import random
from collections.abc import Hashable
from math import inf

import pytest

from tests.fault.history import ABSENT, Operation, violation


def op(
    kind: str, value: Hashable, called: float, answered: float, *, ok: bool | None = True, key: str = "k"
) -> Operation:
    return Operation(0, key, kind, value, ok, called, answered)


GOOD = {
    "nothing": [],
    "absent at first": [op("get", ABSENT, 0, 1)],
    "read what was put": [op("put", 1, 0, 1), op("get", 1, 2, 3)],
    "a concurrent read may see either": [
        op("put", 1, 0, 1), op("put", 2, 2, 5), op("get", 1, 3, 4), op("get", 2, 3, 4),
    ],
    "one of two swaps": [
        op("put", 1, 0, 1), op("swap", (1, 2), 2, 5), op("swap", (1, 3), 2, 5, ok=False), op("get", 2, 6, 7),
    ],
    "two concurrent writes in either order": [op("put", 1, 0, 3), op("put", 2, 0, 3), op("get", 1, 4, 5)],
    "an unanswered write that happened": [op("put", 1, 0, inf, ok=None), op("get", 1, 5, 6)],
    "an unanswered write that did not": [op("put", 1, 0, inf, ok=None), op("get", ABSENT, 5, 6)],
    "an unanswered write that happened late": [
        op("put", 1, 0, 1), op("put", 2, 2, inf, ok=None), op("get", 1, 3, 4), op("get", 2, 5, 6),
    ],
    "an unanswered delete that happened between": [
        op("put", 1, 0, 1), op("delete", None, 2, inf, ok=None), op("get", 1, 3, 4), op("create", 2, 5, 6),
    ],
    "an unanswered put that kept a create from winning": [
        op("put", 1, 0, inf, ok=None), op("create", 2, 3, 4, ok=False), op("present", None, 5, 6),
    ],
    "one of two creates": [op("create", 1, 0, 3), op("create", 2, 0, 3, ok=False), op("get", 1, 4, 5)],
    "a create after a delete": [op("put", 1, 0, 1), op("delete", None, 2, 3), op("create", 2, 4, 5)],
    "listed and gone": [
        op("put", 1, 0, 1), op("present", "k", 2, 3), op("delete", None, 4, 5), op("absent", None, 6, 7),
    ],
    "other keys are other registers": [op("put", 1, 0, 1, key="a"), op("get", ABSENT, 2, 3, key="b")],
}  # fmt: skip
BAD = {
    "an older acknowledged value after a newer": [op("put", 1, 0, 1), op("put", 2, 2, 3), op("get", 1, 4, 5)],
    "back in time between two reads": [
        op("put", 1, 0, 1), op("put", 2, 2, 9), op("get", 2, 3, 4), op("get", 1, 5, 6),
    ],
    "a value nobody wrote": [op("put", 1, 0, 1), op("get", 7, 2, 3)],
    "lost": [op("put", 1, 0, 1), op("get", ABSENT, 2, 3)],
    "two creates that both won": [op("create", 1, 0, 3), op("create", 2, 0, 3)],
    "two swaps of one value": [op("put", 1, 0, 1), op("swap", (1, 2), 2, 5), op("swap", (1, 3), 2, 5)],
    "a swap of what is not there": [op("put", 1, 0, 1), op("swap", (2, 3), 2, 3)],
    "a create that lost to nobody": [op("create", 1, 0, 1, ok=False), op("get", ABSENT, 2, 3)],
    "risen from the dead": [op("put", 1, 0, 1), op("delete", None, 2, 3), op("get", 1, 4, 5)],
    "a delete that came back": [op("put", 1, 0, 1), op("delete", None, 2, 3), op("present", "k", 4, 5)],
    "a listing that misses what is there": [op("put", 1, 0, 1), op("absent", None, 2, 3)],
    "an unanswered write that came and went": [
        op("put", 1, 0, 1), op("put", 2, 2, inf, ok=None), op("get", 2, 3, 4), op("get", 1, 5, 6),
    ],
    "an unanswered delete that was undone": [
        op("put", 1, 0, 1), op("delete", None, 2, inf, ok=None), op("absent", None, 3, 4), op("get", 1, 5, 6),
    ],
    "a refused write that took effect": [op("put", 1, 0, 1, ok=False), op("get", 1, 2, 3)],
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_what_can_have_happened_is_accepted(name: str) -> None:
    assert violation(GOOD[name]) is None


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_have_happened_is_found(name: str) -> None:
    found = violation(BAD[name])
    assert found is not None
    assert "no order" in found


@pytest.mark.parametrize("seed", range(20))
def test_a_long_history_of_one_register_is_accepted_and_one_stale_read_in_it_is_found(seed: int) -> None:
    rng = random.Random(seed)
    state, now, history = ABSENT, 0.0, []
    for number in range(400):
        now += 1.0
        early, late = rng.random() * 3, rng.random() * 3  # answers of up to four clients overlap
        match rng.choice(["put", "get", "delete", "create"]):
            case "put":
                state = number
                history.append(op("put", number, now - early, now + late))
            case "delete":
                state = ABSENT
                history.append(op("delete", None, now - early, now + late))
            case "create":
                history.append(op("create", number, now - early, now + late, ok=state is ABSENT))
                state = number if state is ABSENT else state
            case _:
                history.append(op("get", state, now - early, now + late))
    assert violation(history) is None
    assert violation([*history, op("put", -1, now + 10, now + 11), op("get", state, now + 12, now + 13)]) is not None


@pytest.mark.parametrize("lost", ["put", "delete", "create"])
def test_hundreds_of_unanswered_writes_do_not_hide_a_stale_read_nor_take_for_ever(lost: str) -> None:
    """What a gateway that is down for a while leaves behind: each of them may or may not have happened."""
    history = [op(lost, None if lost == "delete" else -number, number, inf, ok=None) for number in range(1, 300)]
    history += [op("put", number, number + 0.1, number + 0.2) for number in range(300)]
    good = [op("get", number, number + 0.3, number + 0.4) for number in range(300)]
    assert violation([*history, *good]) is None
    assert violation([*history, *good, op("get", 200, 250.5, 250.6)]) is not None


def test_an_unanswered_write_that_was_seen_happened_before_it_was_seen() -> None:
    lost = op("put", 2, 1, inf, ok=None)
    history = [op("put", 1, 0, 0.5), lost, op("get", 2, 3, 4)]
    assert violation([*history, op("get", 2, 5, 6)]) is None
    assert violation([*history, op("put", 3, 5, 6), op("get", 2, 7, 8)]) is not None
