"""The page is enough: a reader written from it reads our vectors, and a zone's store with the zone's own keys."""

import ast
import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.gateway_world import CSV, GatewayWorld
from tests.vectors import independent_reader as second

VECTORS = Path(__file__).parents[1] / "vectors"


def load(folder: str) -> list[Any]:
    return [
        pytest.param(json.loads(path.read_text()), id=path.stem) for path in sorted((VECTORS / folder).glob("*.json"))
    ]


def outcome(call: Any) -> tuple[str, Any]:
    try:
        return "ok", call()
    except second.Refusal as refusal:
        return str(refusal), None


def test_it_knows_nothing_of_the_vault() -> None:
    tree = ast.parse((VECTORS / "independent_reader.py").read_text())
    names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not [name for name in names if name.split(".")[0] in {"vault", "gateway", "tests"}]


@pytest.mark.parametrize("case", load("sealed_object"))
def test_bodies(case: dict[str, Any]) -> None:
    pin = case.get("pin")
    held = second.Pin(pin["sealed_length"], bytes.fromhex(pin["commitment"])) if pin else None
    span = tuple(case["range"]) if "range" in case else None
    key, context, body = (bytes.fromhex(case[name]) for name in ("data_key", "context", "body"))
    found, plain = outcome(lambda: second.read_body(key, context, body, span, held))
    assert found == case["expect"] or {found, case["expect"]} == {"truncated", "tag"}
    if found == "ok" and span is None:
        assert hashlib.sha256(plain).hexdigest() == case["plaintext_sha256"]


@pytest.mark.parametrize("case", load("sealed_manifest"))
def test_manifests(case: dict[str, Any]) -> None:
    pin = bytes.fromhex(case["pin"]) if case["pin"] else None
    stored, key = base64.b64decode(case["stored"]), bytes.fromhex(case["object_key"])
    assert outcome(lambda: second.read_manifest(stored, key, pin))[0] == case["expect"]


@pytest.mark.parametrize("case", load("wrapped_key"))
def test_wraps(case: dict[str, Any]) -> None:
    key, wrapped, context = (bytes.fromhex(case[name]) for name in ("wrapping_key", "wrapped", "context"))
    found, opened = outcome(lambda: second.unwrap(key, wrapped, context))
    assert found == case["expect"]
    assert opened is None or opened.hex() == case["key"]


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> GatewayWorld:
    world = GatewayWorld(tmp_path_factory.mktemp("zone"))
    world.build(world.put("dir/ä b.csv", CSV))
    world.put("big", BIG)
    return world


BIG = os.urandom(200_001)


def keys_of(world: GatewayWorld) -> dict[str, bytes]:
    """Every object key of the zone by the subject of its manifest: provider's files, catalog's wraps, page's rules."""
    keys = world.directory / "keys"
    groups = {}
    rows = world.rows("select tenant, dataset_id, key_class, group_id, epoch_id, wrapped from key_group")
    for tenant, dataset, key_class, group, epoch_id, wrapped in rows:
        context = second.group_context(tenant, "de", dataset, key_class, group, epoch_id)
        groups[group] = second.local_group_key(
            (keys / "credentials" / f"{key_class}.credential").read_bytes(),
            (keys / "epochs" / f"{epoch_id}.key").read_bytes(), key_class, epoch_id, wrapped, context,
        )  # fmt: skip
    opened = {}
    for name, stored in world.store.objects.items():
        if name.startswith("m/"):
            _, head = second.read_header(stored)
            context = second.key_context(
                head["tenant"], head["zone"], head["dataset_id"], head["key_class"], head["group_id"], head["subject"]
            )
            opened[name] = second.unwrap(groups[head["group_id"]], second.wrapped_in(head), context)
    return opened


def test_a_zone_is_read_from_its_store_and_its_keys(zone: GatewayWorld) -> None:
    found: dict[tuple[str, str], bytes] = {}
    for name, key in keys_of(zone).items():
        manifest, plain = second.read_object(zone.store.objects, zone.store.objects[name], key)
        assert manifest["size"] == len(plain)
        found[manifest["kind"], manifest["key"]] = plain
    assert found["version", "dir/ä b.csv"] == CSV
    assert found["version", "big"] == BIG
    assert found["view", "dir/ä b.csv"] != CSV


def test_a_range_of_it_too(zone: GatewayWorld) -> None:
    for name, key in keys_of(zone).items():
        stored = zone.store.objects[name]
        if second.read_manifest(stored, key, None)["key"] != "big":
            continue
        for span in ((0, 10), (16_383, 16_385), (100_000, 150_000), (200_000, 200_001)):
            assert second.read_object(zone.store.objects, stored, key, span)[1] == BIG[slice(*span)]
