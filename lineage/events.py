"""OpenLineage RunEvents (2-0-2) of what the gateway saw. Pure: graph rows in, JSON documents out.

START when a run is first seen, RUNNING when it read something new, COMPLETE for each object it wrote (with all
its inputs so far): a run has no end we could observe, and each output is complete when it is committed.
"""

import uuid
from collections.abc import Sequence
from typing import Any

from lineage import facets
from lineage.questions import Input, Object, Run

SCHEMA_URL = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"


def start(zone: str, run: Run) -> dict[str, Any]:
    return _event("START", run.first_at, zone, run, [], [])


def running(zone: str, run: Run, inputs: Sequence[Input]) -> dict[str, Any]:
    return _event("RUNNING", run.last_at, zone, run, inputs, [])


def complete(zone: str, run: Run, inputs: Sequence[Input], made: Object) -> dict[str, Any]:
    return _event("COMPLETE", made.at, zone, run, inputs, [made])


def _event(
    kind: str, at: str, zone: str, run: Run, inputs: Sequence[Input], outputs: Sequence[Object]
) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventTime": at,
        "producer": facets.PRODUCER,
        "schemaURL": SCHEMA_URL,
        "run": {"runId": str(uuid.UUID(hex=run.run_id)), "facets": _said(run)},
        "job": {
            "namespace": f"demesne://{zone}",
            "name": run.name or f"{run.purpose}/{run.principal}",
            "facets": {"jobType": facets.job_type()},
        },
        "inputs": [_input(read) for read in inputs],
        "outputs": [_output(made, inputs) for made in outputs],
    }


def _said(run: Run) -> dict[str, Any]:
    return {"demesne_stated": facets.stated(run)} if run.stated else {}


def _input(read: Input) -> dict[str, Any]:
    found = read.object
    described: dict[str, Any] = {"version": facets.version(found)}
    if found.fields:
        described["schema"] = facets.schema(found.fields)
    return {
        "namespace": f"s3://{found.dataset}",
        "name": found.key,
        "facets": described,
        "inputFacets": {
            "subset": facets.subset(read),
            "inputStatistics": facets.input_statistics(read),
            "demesne_access": facets.access(read),
        },
    }


def _output(made: Object, inputs: Sequence[Input]) -> dict[str, Any]:
    described: dict[str, Any] = {"version": facets.version(made), "columnLineage": facets.column_lineage(inputs)}
    if made.fields:
        described["schema"] = facets.schema(made.fields)
    return {
        "namespace": f"s3://{made.dataset}",
        "name": made.key,
        "facets": described,
        "outputFacets": {"outputStatistics": facets.output_statistics(made)},
    }
