"""Lineage that nobody reported, a ledger that verifies, a receipt that holds offline, and tampering that is found."""

import json
import shutil
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from rich.console import Console

from demesne.cli.lineage import tree_of
from gateway.cli.demo.stage import DATASET, Stage, StepFailed, expect
from lineage.errors import LineageError
from lineage.ledger.proof import verify_receipt
from lineage.ledger.verify import verify_directory
from vault.keys.signing import verify_signature


def lineage(stage: Stage) -> str:
    with stage.api() as api:
        document = api.lineage(dataset=DATASET)
        events = api.lineage_events()
    text = json.dumps(document)
    expect(stage.model_key in text, "the model is not in the lineage")
    expect("birth_date" in text and "postcode" in text, "the columns read are not in the lineage")
    expect("raw" in text, "the view read is not in the lineage")
    out = stage.work_dir / "openlineage.jsonl"
    out.write_text("".join(json.dumps(event) + "\n" for event in events))
    checked = _validated(events)
    console = Console(width=110, highlight=False)
    with console.capture() as drawn:
        console.print(tree_of(document, DATASET))
    return f"{drawn.get().rstrip()}\n{len(events)} OpenLineage events in {out.name}: {checked}"


def ledger_verifies(stage: Stage) -> str:
    report = verify_directory(stage.zone_dir("de") / "ledger", _public_key(stage), verify_signature, zone="de")
    expect(report.verified, str(report.problems[:3]))
    return f"{report.size} entries of zone de, every leaf, tile and checkpoint recomputed"


def receipt_offline(stage: Stage) -> str:
    with stage.api() as api:
        stage.entries(lambda entry: entry.get("id") == stage.raw_decision)
        text = api.receipt(stage.raw_decision)
    path = stage.work_dir / "raw-read.receipt"
    path.write_text(text)
    receipt = verify_receipt(path.read_text(), _public_key(stage), verify_signature)
    entry = receipt.entry
    expect(entry["id"] == stage.raw_decision and entry["view"] == "raw", "the receipt is of something else")
    changed = text.replace('"view":"raw"', '"view":"none"')
    if changed == text:
        lines = text.splitlines(keepends=True)
        middle = len(lines) // 2
        changed = "".join([*lines[:middle], lines[middle][::-1], *lines[middle + 1 :]])
    try:
        verify_receipt(changed, _public_key(stage), verify_signature)
    except LineageError as error:
        why = str(error)
    else:
        raise StepFailed("a changed receipt verified")
    return f"{path.name}: entry {receipt.index}, {entry['action']} of {entry['dataset']} raw; changed: {why}"


def tampering_found(stage: Stage) -> str:
    copy = stage.work_dir / "ledger-copy"
    shutil.copytree(stage.zone_dir("de") / "ledger", copy)
    target = max((p for p in (copy / "log").iterdir() if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(target.read_bytes())
    place = data.find(b'"allow":false')
    expect(place > 0, "no refusal in the log")
    data[place + 9] ^= 1
    target.write_bytes(data)
    report = verify_directory(copy, _public_key(stage), verify_signature, zone="de")
    expect(not report.verified, "the changed copy verified")
    return "\n".join(f"{found.file}: {found.place}: {found.detail}" for found in report.problems[:3])


def _public_key(stage: Stage) -> bytes:
    """As an auditor has it: asked for once, kept, and not taken from what is being verified."""
    with stage.api() as api:
        return bytes.fromhex(api.request("GET", "/v1/ledger/key")["public_key"])


def _validated(events: list[dict[str, Any]]) -> str:
    """Against the official JSON Schemas, core and every facet, where this machine has them."""
    folder = Path(__file__).resolve().parents[4] / "shared" / "vectors" / "openlineage"
    if not folder.is_dir():
        return "not validated here (the OpenLineage project's schemas are not on this machine)"
    resources = []
    for path in sorted(folder.rglob("*.json")):
        schema = json.loads(path.read_text())
        resources.append((schema["$id"], Resource.from_contents(schema, default_specification=DRAFT202012)))
    registry: Registry[Any] = Registry().with_resources(resources)
    facets = 0
    for event in events:
        Draft202012Validator({"$ref": event["schemaURL"]}, registry=registry).validate(event)
        for facet in _facets(event):
            if facet["_schemaURL"].split("#")[0] in registry:
                Draft202012Validator({"$ref": facet["_schemaURL"]}, registry=registry).validate(facet)
                facets += 1
    return f"valid against the official schemas, {facets} facets included"


def _facets(value: Any) -> list[dict[str, Any]]:
    """Every object that names its own schema, however deep."""
    if isinstance(value, dict):
        own = [value] if "_schemaURL" in value else []
        return own + [facet for item in value.values() for facet in _facets(item)]
    if isinstance(value, list):
        return [facet for item in value for facet in _facets(item)]
    return []
