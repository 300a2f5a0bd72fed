"""Promises: one spelling, bound to zone, index, entry and time."""

from dataclasses import replace

import pytest

from lineage.errors import Malformed, NotVerified
from lineage.ledger.entry import encode_entry, leaf_hash
from lineage.ledger.promise import Promise, signed_bytes
from tests.fakes.ledger import LedgerKey, intent, verify_ed25519

KEY = LedgerKey()
ENTRY = encode_entry(intent())


def promise(index: int = 7, at: int = 1_700_000_000_000, zone: str = "de") -> Promise:
    leaf = leaf_hash(ENTRY).hex()
    return Promise(zone, index, leaf, at, KEY.sign(signed_bytes(zone, index, leaf, at)))


def test_a_promise_survives_the_header_and_verifies() -> None:
    text = promise().encode()
    assert text.isascii()
    assert " " not in text
    assert Promise.decode(text) == promise()
    Promise.decode(text).verify(ENTRY, KEY.public_key, verify_ed25519)


@pytest.mark.parametrize(
    "change", [{"index": 8}, {"at": 1}, {"zone": "fr"}, {"signature": bytes(64)}, {"signature": b""}]
)
def test_a_changed_promise_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(NotVerified) as caught:
        replace(promise(), **change).verify(ENTRY, KEY.public_key, verify_ed25519)  # type: ignore[arg-type]
    assert caught.value.reason == "signature"


def test_a_promise_about_another_entry_is_refused() -> None:
    with pytest.raises(NotVerified) as caught:
        promise().verify(encode_entry(intent(1)), KEY.public_key, verify_ed25519)
    assert caught.value.reason == "promise.leaf"


def test_another_key_is_refused() -> None:
    with pytest.raises(NotVerified):
        promise().verify(ENTRY, LedgerKey().public_key, verify_ed25519)


def test_every_changed_character_is_refused() -> None:
    text = promise().encode()
    for position in range(len(text)):
        for other in "Aa1.-":
            if text[position] == other:
                continue
            changed = text[:position] + other + text[position + 1 :]
            with pytest.raises((Malformed, NotVerified)):
                Promise.decode(changed).verify(ENTRY, KEY.public_key, verify_ed25519)


@pytest.mark.parametrize("zone", ["", "DE", "d\ne", "x" * 33])
def test_a_zone_that_could_confuse_the_signed_lines_is_refused(zone: str) -> None:
    with pytest.raises(Malformed):
        signed_bytes(zone, 0, "0" * 64, 1)


def test_spare_bits_of_the_signature_are_not_a_second_spelling() -> None:
    text = promise().encode()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for spare in range(1, 16):
        with pytest.raises(Malformed):
            Promise.decode(text[:-1] + alphabet[alphabet.index(text[-1]) + spare])
