"""Secrets do not show, derivations are fixed, seals open only where they were made."""

import copy
import io
import json
import logging
import pickle
import traceback
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes.broker import BrokerWorld
from vault.errors import Malformed, Refused
from vault.keys.secrets import (
    SecretBytes,
    derive_secret,
    new_key,
    open_blob,
    open_token,
    record_hash,
    seal_blob,
    seal_token,
)

KEY = SecretBytes(bytes(range(32)))
TOKEN = "190118f0d4ab562da1ecd9c603f051af7223e9adb45534363fc47624bf964a76"
RECORD = "10b3108394697b8b1b68681a7703ef727a28d6529151034bdd7aba07d49ff93a"


def shown(secret: bytes) -> tuple[str, ...]:
    """Every way in which these bytes would stand in a text."""
    return (secret.hex(), bytes.__repr__(secret)[2:-1], str(list(secret))[1:-1])


def test_secret_bytes_show_in_no_text() -> None:
    texts = [repr(KEY), str(KEY), f"{KEY}", f"{KEY:>40}", f"{KEY!r}", format(KEY), ascii(KEY)]
    texts += [repr([KEY]), repr({"key": KEY}), str((KEY,))]
    for text in texts:
        assert not any(part in text for part in shown(KEY))


def test_secret_bytes_do_not_show_in_a_log_or_a_traceback_with_locals() -> None:
    stream = io.StringIO()
    log = logging.getLogger("demesne.test-secrets")
    log.propagate = False
    log.addHandler(logging.StreamHandler(stream))
    log.warning("key %s %r", KEY, KEY)

    def fail(key: bytes) -> None:
        raise ValueError("unforeseen")

    try:
        fail(KEY)
    except ValueError as error:
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        stream.write("".join(told.format()))
    assert "unforeseen" in stream.getvalue()
    assert not any(part in stream.getvalue() for part in shown(KEY))


def test_secret_bytes_are_not_pickled_and_not_json() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(KEY)
    with pytest.raises(TypeError):
        copy.deepcopy(KEY)
    with pytest.raises(TypeError):
        json.dumps({"key": KEY})


def test_secret_bytes_are_bytes_for_every_primitive() -> None:
    assert bytes(range(32)) == KEY
    assert seal_blob(KEY, b"", b"")
    assert len(new_key()) == 32


def test_no_repr_of_what_the_broker_gives_out_holds_a_key(tmp_path: Path) -> None:
    world = BrokerWorld(tmp_path)
    generated = world.generate("ab" * 16, upload_id="u")
    hello = world.broker.hello()
    text = repr(generated) + repr(hello) + repr(world.parts) + repr(vars(world.broker))
    for secret in (generated.object_key, hello.token_key, hello.catalog_mac_key, hello.decision_key):
        assert not any(part in text for part in shown(secret))


def test_derived_secrets_are_fixed_by_root_and_label() -> None:
    # Fixed values: a changed label or hash would make every existing catalog, token and record unreadable.
    assert derive_secret(KEY, "token").hex() == TOKEN
    assert derive_secret(KEY, "catalog-mac") != derive_secret(KEY, "token")
    assert derive_secret(bytes(32), "token") != derive_secret(KEY, "token")


def test_root_of_another_length_is_refused() -> None:
    with pytest.raises(Malformed, match=r"key\.length"):
        derive_secret(b"short", "token")


def test_record_hash_is_fixed_and_separates_kinds() -> None:
    assert record_hash(KEY, "principal", "ab" * 16) == RECORD
    assert record_hash(KEY, "object", "ab" * 16) != RECORD
    assert record_hash(bytes(32), "principal", "ab" * 16) != RECORD


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_blob_opens_to_what_was_sealed(plaintext: bytes, context: bytes) -> None:
    blob = seal_blob(KEY, plaintext, context)
    assert open_blob(KEY, blob, context) == plaintext
    assert len(blob) == len(plaintext) + 41


def test_blob_with_any_changed_byte_is_malformed() -> None:
    blob = seal_blob(KEY, b"abc", b"context")
    for place in range(len(blob)):
        changed = bytearray(blob)
        changed[place] ^= 1
        with pytest.raises(Malformed, match="blob"):
            open_blob(KEY, bytes(changed), b"context")
    for length in range(len(blob)):
        with pytest.raises(Malformed, match="blob"):
            open_blob(KEY, blob[:length], b"context")


@pytest.mark.parametrize(
    ("key", "context"), [(bytes(32), b"context"), (KEY, b""), (KEY, b"contex"), (KEY, b"context ")]
)
def test_blob_of_another_key_or_context_is_malformed(key: bytes, context: bytes) -> None:
    with pytest.raises(Malformed, match="blob"):
        open_blob(key, seal_blob(KEY, b"abc", b"context"), context)


def test_two_seals_of_one_plaintext_share_nothing() -> None:
    first, second = seal_blob(KEY, b"abc" * 20, b""), seal_blob(KEY, b"abc" * 20, b"")
    assert first[1:25] != second[1:25]
    assert first[25:] != second[25:]


def test_token_opens_to_its_claims() -> None:
    token = seal_token(KEY, b'{"session":"x"}')
    assert open_token(KEY, token) == b'{"session":"x"}'
    assert token.isascii()
    assert not set(token) & set("+/= ")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token + "A",
        lambda token: token + "=",
        lambda token: token[:-1],
        lambda token: " " + token,
        lambda token: token.replace(token[10], "é", 1),
        lambda token: "",
        lambda token: "A" * 9000,
        lambda token: seal_token(bytes(32), b"claims"),
    ],
)
def test_any_other_token_is_refused_without_a_difference(spoil: object) -> None:
    assert callable(spoil)
    with pytest.raises(Refused) as caught:
        open_token(KEY, spoil(seal_token(KEY, b"claims")))
    assert str(caught.value) == "token"


def test_second_spelling_of_a_token_is_refused() -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    token = seal_token(KEY, b"claims..")  # 49 bytes: the last character has four spare bits
    assert len(token) % 4 == 2
    respelt = token[:-1] + alphabet[alphabet.index(token[-1]) + 1]
    with pytest.raises(Refused, match="token"):
        open_token(KEY, respelt)


def test_claims_too_long_for_a_token_are_refused() -> None:
    with pytest.raises(Refused, match=r"token\.length"):
        seal_token(KEY, b"x" * 8192)
