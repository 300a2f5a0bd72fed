"""The published vectors, against our reader and, where they are whole bodies, against the independent one."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from cryptography.exceptions import InvalidTag

from tests.vectors import generate_sealed_object as generator
from vault.envelope.body import BodyOpener, BodyPin
from vault.envelope.manifest import open_manifest, read_header
from vault.envelope.suite import HEADER
from vault.envelope.wrap import unwrap_key
from vault.errors import VaultError

VECTORS = Path(generator.__file__).parent

ATTACKS = {
    # anchors of the format: each row of docs/spec/sealed-object.md §7 that bytes alone can show
    "bit flip",
    "drop a segment",
    "duplicate a segment",
    "reorder segments",
    "swap a segment",
    "swap the whole object",
    "truncate, whole read",
    "truncate, ranged read of an early range",
    "rollback to an older genuine version",
    "two keys, one ciphertext",
    "wrapped-key substitution",
    "downgrade of suite",
    "nonce reuse by retry or crash",
    "bit flip; release of unverified plaintext",
}


def load(kind: str) -> list[Any]:
    cases = [json.loads(path.read_text()) for path in sorted((VECTORS / kind).glob("*.json"))]
    assert cases
    return [pytest.param(case, id=case["name"]) for case in cases]


def outcome(case: dict[str, Any]) -> tuple[str, bytes]:
    """(ok or the failure's name, what was released before it)."""
    body = bytes.fromhex(case["body"])
    released = bytearray()
    pin = case.get("pin") and BodyPin(case["pin"]["sealed_length"], bytes.fromhex(case["pin"]["commitment"]))
    try:
        key, context = bytes.fromhex(case["data_key"]), bytes.fromhex(case["context"])
        opener = BodyOpener(key, context, body[:HEADER], len(body), pin)
        start, stop = case.get("range", (0, opener.plain_length))
        for piece in opener.stream(start, stop, lambda offset, length: body[offset : offset + length]):
            released += piece
    except VaultError as error:
        return error.reason, bytes(released)
    return "ok", bytes(released)


@pytest.mark.parametrize("case", load("sealed_object"))
def test_body_case_ends_as_it_says(case: dict[str, Any]) -> None:
    result, released = outcome(case)
    assert result == case["expect"]
    if result == "ok" and "range" not in case:
        assert hashlib.sha256(released).hexdigest() == case["plaintext_sha256"]
    if result != "ok":
        assert not released


@pytest.mark.parametrize("case", load("sealed_object"))
def test_independent_reader_agrees_on_whole_bodies(case: dict[str, Any]) -> None:
    decryptor = Cobblestone256Decryptor(bytes.fromhex(case["data_key"]), bytes.fromhex(case["context"]))
    if case["expect"] == "ok":
        plain = decryptor.update(bytes.fromhex(case["body"])) + decryptor.finalize()
        assert hashlib.sha256(plain).hexdigest() == case["plaintext_sha256"]
    else:
        with pytest.raises((InvalidTag, ValueError)):
            decryptor.update(bytes.fromhex(case["body"])) + decryptor.finalize()


@pytest.mark.parametrize("case", load("sealed_manifest"))
def test_manifest_case_ends_as_it_says(case: dict[str, Any]) -> None:
    stored, key = base64.b64decode(case["stored"]), bytes.fromhex(case["object_key"])
    pin = None if case["pin"] is None else bytes.fromhex(case["pin"])
    if case["expect"] == "ok":
        assert open_manifest(stored, key, pin).subject == read_header(stored).subject
        return
    with pytest.raises(VaultError) as refused:
        open_manifest(stored, key, pin)
    assert refused.value.reason == case["expect"]


@pytest.mark.parametrize("case", load("wrapped_key"))
def test_wrapped_key_case_ends_as_it_says(case: dict[str, Any]) -> None:
    wrapping, wrapped, context = (bytes.fromhex(case[name]) for name in ("wrapping_key", "wrapped", "context"))
    if case["expect"] == "ok":
        assert unwrap_key(wrapping, wrapped, context).hex() == case["key"]
        return
    with pytest.raises(VaultError) as refused:
        unwrap_key(wrapping, wrapped, context)
    assert refused.value.reason == case["expect"]


def test_every_listed_attack_has_a_case() -> None:
    shown = {case.values[0]["attack"] for case in load("sealed_object")}
    assert shown >= ATTACKS


def test_generator_writes_exactly_what_is_committed() -> None:
    written = generator.files()
    committed = {
        f"{kind}/{path.name}": path.read_bytes()
        for kind in ("sealed_object", "sealed_manifest", "wrapped_key")
        for path in (VECTORS / kind).iterdir()
    }
    assert written == committed
