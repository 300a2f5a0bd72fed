"""What the patterns recognise, the decoder accepts and reads alike; nothing the decoder refuses slips through them."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineage.errors import Malformed
from lineage.ledger import spelling
from lineage.ledger.entry import decode_entry, encode_entry
from lineage.ledger.spelling import name_of

HEX = "0123456789abcdef"
hex32 = st.text(HEX, min_size=32, max_size=32)
digest = st.text(HEX, min_size=16, max_size=40)
word = st.text([chr(code) for code in range(0x21, 0x7F)], min_size=1, max_size=12)
text = st.one_of(st.text(max_size=12), word)
count = st.integers(0, 2**53 - 1)


def common(kind: str) -> dict[str, Any]:
    return {"v": st.just(1), "type": st.just(kind), "id": hex32, "at": st.just("2026-11-22T01:02:03.004Z"),
            "zone": word, "tenant": word}  # fmt: skip


intents = st.fixed_dictionaries(common("intent") | {
    "decision": st.fixed_dictionaries({"id": hex32, "allow": st.booleans(), "revision": text,
                                       "codes": st.lists(text, max_size=2)}),
    "action": word, "interface": word, "dataset_id": st.none() | hex32, "dataset": st.none() | text,
    "object": st.none() | digest, "version": st.none() | word, "view": word, "principal": digest, "purpose": text,
    "session": st.none() | word, "run": st.none() | word, "input_sha256": digest,
    "residency": st.lists(st.fixed_dictionaries({"what": text, "observed": text, "strength": text}), max_size=2),
}).map(lambda entry: {**entry, "decision": {**entry["decision"], "id": entry["id"]}})  # fmt: skip
outcomes = st.fixed_dictionaries(common("outcome") | {
    "intent": hex32, "status": st.sampled_from(["complete", "aborted", "refused"]), "bytes": count,
    "ranges": st.just("whole") | st.lists(st.tuples(count, count).map(sorted), max_size=3),
    "reason": st.none() | text,
})  # fmt: skip


def both(encoded: bytes) -> None:
    """The decoder's word, and that the fast road says the same."""
    try:
        entry = decode_entry(encoded)
    except Malformed as refused:
        with pytest.raises(Malformed, match=re.escape(str(refused))):
            name_of(encoded)
    else:
        assert name_of(encoded) == (entry["id"], entry["zone"])


@given(st.one_of(intents, outcomes))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_entries_are_read_alike(entry: dict[str, Any]) -> None:
    both(encode_entry(entry))


@given(st.one_of(intents, outcomes), st.data())
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_refused_is_recognised(entry: dict[str, Any], data: st.DataObject) -> None:
    encoded = bytearray(encode_entry(entry))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(encoded) - 1))
        kind = data.draw(st.sampled_from(["byte", "cut", "double", "paste"]))
        if kind == "byte":
            encoded[at] = data.draw(st.sampled_from(b'0129ae"\\[]{},: \n\x7f\xc3/'))
        elif kind == "cut":
            del encoded[at : at + data.draw(st.integers(1, 4))]
        elif kind == "double":
            encoded[at:at] = encoded[at : at + data.draw(st.integers(1, 8))]
        else:
            encoded[at:at] = data.draw(st.sampled_from([b" ", b"0", b"-", b',"v":1', b"[1,0]", b"null", b'\\"']))
        if not encoded:
            return
    both(bytes(encoded))


def test_the_patterns_are_in_use() -> None:
    """Else both tests above would pass over patterns that match nothing."""
    one = {
        "v": 1, "type": "outcome", "id": "a" * 32, "at": "2026-11-22T01:02:03.004Z", "zone": "de", "tenant": "main",
        "intent": "b" * 32, "status": "complete", "bytes": 65536, "ranges": [[5, 70]], "reason": None,
    }  # fmt: skip
    assert spelling._outcome(encode_entry(one)) is not None
    assert spelling._outcome(json.dumps(one).encode()) is None
    backwards = encode_entry({**one, "ranges": [[70, 5]]})
    with pytest.raises(Malformed):
        name_of(backwards)


WRONG = {
    "leading zero": (b'"bytes":65536', b'"bytes":065536'),
    "negative": (b'"bytes":65536', b'"bytes":-1'),
    "float": (b'"bytes":65536', b'"bytes":1.0'),
    "too large": (b'"bytes":65536', b'"bytes":9007199254740993'),
    "no number": (b'"bytes":65536', b'"bytes":true'),
    "range backwards": (b"[[5,70]]", b"[[70,5]]"),
    "range of one": (b"[[5,70]]", b"[[5]]"),
    "space": (b'"v":1', b'"v": 1'),
    "another version": (b'"v":1', b'"v":2'),
    "twice": (b'"v":1', b'"v":1,"v":1'),
    "unknown field": (b'"v":1', b'"u":1,"v":1'),
    "missing field": (b'"reason":null,', b""),
    "out of order": (b'"tenant":"main","type":"outcome"', b'"type":"outcome","tenant":"main"'),
    "escape": (b'"tenant":"main"', b'"tenant":"\\u006dain"'),
    "control character": (b'"reason":null', b'"reason":"a\x01"'),
    "broken UTF-8": (b'"reason":null', b'"reason":"\xff"'),
    "empty word": (b'"tenant":"main"', b'"tenant":""'),
    "space in a word": (b'"tenant":"main"', b'"tenant":"ma in"'),
    "long text": (b'"reason":null', b'"reason":"' + b"x" * 1025 + b'"'),
    "unknown status": (b'"complete"', b'"completed"'),
    "unknown type": (b'"type":"outcome"', b'"type":"outcomes"'),
    "capital digit": (b'"id":"a', b'"id":"A'),
    "time": (b".004Z", b".04Z"),
    "behind it": (b'"zone":"de"}', b'"zone":"de"}\n'),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_thing_is_enough(name: str) -> None:
    right = (
        b'{"at":"2026-11-22T01:02:03.004Z","bytes":65536,"id":"' + b"a" * 32 + b'","intent":"' + b"b" * 32
        + b'","ranges":[[5,70]],"reason":null,"status":"complete","tenant":"main","type":"outcome","v":1,"zone":"de"}'
    )
    assert name_of(right) == ("a" * 32, "de")
    old, new = WRONG[name]
    assert right.count(old) == 1
    with pytest.raises(Malformed):
        name_of(right.replace(old, new))


@given(intents)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_intent_and_its_decision_have_one_name(entry: dict[str, Any]) -> None:
    other = {**entry, "decision": {**entry["decision"], "id": "f" * 31 + "0"}}
    if other["decision"]["id"] != entry["id"]:
        with pytest.raises(Malformed):
            name_of(encode_entry(other))
