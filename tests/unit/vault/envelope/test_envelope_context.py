"""Contexts: exact bytes, no two places with one encoding, nothing outside its form."""

import itertools
from dataclasses import replace

import pytest

from vault.envelope.context import BodyContext, GroupContext, KeyContext, ManifestContext
from vault.envelope.derive import body_key, manifest_key
from vault.errors import Malformed

DATASET, BODY, GROUP = "d" * 32, "b" * 32, "a" * 32
BODY_CONTEXT = BodyContext("acme", "de", DATASET, BODY, 7)
KEY_CONTEXT = KeyContext("acme", "de", DATASET, "raw", GROUP, "e" * 32)
GROUP_CONTEXT = GroupContext("acme", "de", DATASET, "raw", GROUP, "epoch/1")


def test_body_context_is_byte_for_byte_what_the_spec_says() -> None:
    assert BODY_CONTEXT.encode() == (
        b"demesne/body/1"
        b"\x00\x00\x00\x0fcobblestone-256"
        b"\x00\x00\x00\x04acme"
        b"\x00\x00\x00\x02de"
        b"\x00\x00\x00\x20"
        + DATASET.encode()
        + b"\x00\x00\x00\x20"
        + BODY.encode()
        + b"\x00\x00\x00\x04\x00\x00\x00\x07"
    )


def test_every_field_counts() -> None:
    places: list[BodyContext | KeyContext | GroupContext | ManifestContext] = [
        BODY_CONTEXT,
        replace(BODY_CONTEXT, tenant="acm", zone="ede"),
        replace(BODY_CONTEXT, tenant="x"),
        replace(BODY_CONTEXT, zone="fr"),
        replace(BODY_CONTEXT, dataset_id="0" * 32),
        replace(BODY_CONTEXT, body_id="0" * 32),
        replace(BODY_CONTEXT, part=8),
        KEY_CONTEXT,
        replace(KEY_CONTEXT, tenant="x"),
        replace(KEY_CONTEXT, zone="fr"),
        replace(KEY_CONTEXT, dataset_id="0" * 32),
        replace(KEY_CONTEXT, key_class="view"),
        replace(KEY_CONTEXT, group_id="0" * 32),
        replace(KEY_CONTEXT, subject="0" * 32),
        GROUP_CONTEXT,
        replace(GROUP_CONTEXT, epoch_id="e" * 32),
        replace(GROUP_CONTEXT, key_class="view"),
        ManifestContext(bytes(32)),
        ManifestContext(bytes(31) + b"\1"),
    ]
    encodings = [place.encode() for place in places]
    assert len(set(encodings)) == len(places)
    for one, two in itertools.permutations(encodings, 2):
        assert not one.startswith(two)


@pytest.mark.parametrize(
    "place",
    [
        replace(BODY_CONTEXT, tenant=""),
        replace(BODY_CONTEXT, tenant="t" * 256),
        replace(BODY_CONTEXT, tenant="\ud800"),
        replace(BODY_CONTEXT, dataset_id="D" * 32),
        replace(BODY_CONTEXT, dataset_id="d" * 31),
        replace(BODY_CONTEXT, body_id="b" * 32 + "\n"),
        replace(BODY_CONTEXT, part=-1),
        replace(BODY_CONTEXT, part=10_001),
        replace(KEY_CONTEXT, key_class="both"),
        replace(KEY_CONTEXT, key_class=""),
        replace(GROUP_CONTEXT, group_id=""),
        replace(GROUP_CONTEXT, epoch_id=""),
        ManifestContext(b""),
    ],
)
def test_a_field_outside_its_form_is_refused(place: BodyContext | KeyContext | GroupContext | ManifestContext) -> None:
    with pytest.raises(Malformed, match="context"):
        place.encode()


def test_derived_keys_differ_by_every_input_and_from_each_other() -> None:
    key = bytes(range(32))
    keys = {
        body_key(key, BODY, 0),
        body_key(key, BODY, 1),
        body_key(key, DATASET, 0),
        body_key(bytes(32), BODY, 0),
        manifest_key(key, BODY, 1),
        manifest_key(key, BODY, 2),
        manifest_key(key, DATASET, 1),
        key,
    }
    assert len(keys) == 8
    assert {len(one) for one in keys} == {32}


def test_derived_keys_never_change() -> None:
    key = bytes(range(32))
    assert body_key(key, BODY, 7).hex() == "216ebe2550632fee51804158c70ffd697e5ef145d239a7c60b16cf4ff29d4c6b"
    assert manifest_key(key, BODY, 7).hex() == "652eb023f59c416935056d2caec680d727e86300b84f262d24a9c6887a63e278"


@pytest.mark.parametrize("part", [-1, 10_001])
def test_no_key_for_an_impossible_part(part: int) -> None:
    with pytest.raises(Malformed, match="context"):
        body_key(bytes(32), BODY, part)


@pytest.mark.parametrize("generation", [0, -1, 1 << 53])
def test_no_key_for_an_impossible_generation(generation: int) -> None:
    with pytest.raises(Malformed, match="context"):
        manifest_key(bytes(32), BODY, generation)
