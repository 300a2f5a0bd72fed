"""OpenLineage facets we state, each with the schema version it follows (OpenLineage 2-0-2)."""

from collections.abc import Sequence
from typing import Any

from lineage.questions import Input, Object, Run

PRODUCER = "urn:demesne:gateway"
_SPEC = "https://openlineage.io/spec/facets"
ACCESS_SCHEMA = "urn:demesne:spec:lineage:1#access"  # docs/spec/lineage.md §4
STATED_SCHEMA = "urn:demesne:spec:lineage:1#stated"


def job_type() -> dict[str, Any]:
    schema = f"{_SPEC}/2-0-4/JobTypeJobFacet.json#/$defs/JobTypeJobFacet"
    return _facet(schema, processingType="BATCH", integration="DEMESNE", jobType="RUN")


def version(found: Object) -> dict[str, Any]:
    schema = f"{_SPEC}/1-0-1/DatasetVersionDatasetFacet.json#/$defs/DatasetVersionDatasetFacet"
    return _facet(schema, datasetVersion=found.version_id)


def schema(fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
    listed = [{"name": name, "type": kind, "ordinal_position": i} for i, (name, kind) in enumerate(fields, 1)]
    return _facet(f"{_SPEC}/1-2-0/SchemaDatasetFacet.json#/$defs/SchemaDatasetFacet", fields=listed)


def subset(read: Input) -> dict[str, Any]:
    """Which object of the bucket was read."""
    location = f"s3://{read.object.dataset}/{read.object.key}"
    schema_url = f"{_SPEC}/1-0-0/BaseSubsetDatasetFacet.json#/$defs/InputSubsetInputDatasetFacet"
    return _facet(schema_url, inputCondition={"type": "location", "locations": [location]})


def input_statistics(read: Input) -> dict[str, Any]:
    schema_url = f"{_SPEC}/1-0-0/InputStatisticsInputDatasetFacet.json#/$defs/InputStatisticsInputDatasetFacet"
    return _facet(schema_url, size=read.bytes, fileCount=1)


def output_statistics(made: Object) -> dict[str, Any]:
    schema_url = f"{_SPEC}/1-0-2/OutputStatisticsOutputDatasetFacet.json#/$defs/OutputStatisticsOutputDatasetFacet"
    return _facet(schema_url, size=made.bytes, fileCount=1)


def access(read: Input) -> dict[str, Any]:
    """Ours: which rendering was given, which columns were charged, and whether that is known or assumed."""
    return _facet(
        ACCESS_SCHEMA, view=read.rendering, plan=None if read.view in {"raw", "open"} else read.view,
        columns=list(read.columns), reads=read.reads, assumedWhole=read.assumed,
    )  # fmt: skip


def stated(run: Run) -> dict[str, Any]:
    """Ours: what the job says of its run. In a facet of its own, so that nobody takes it for observed."""
    return _facet(STATED_SCHEMA, statements=[dict(said) for said in run.stated])


def column_lineage(inputs: Sequence[Input]) -> dict[str, Any]:
    """The output as a whole depends on all columns read: inferred, since we see bytes and not the program."""
    sources = [
        {
            "namespace": f"s3://{read.object.dataset}", "name": read.object.key, "field": column,
            "transformations": [{"type": "INDIRECT", "subtype": "INFERRED", "masking": read.rendering == "masked"}],
        }
        for read in inputs
        for column in read.columns
    ]  # fmt: skip
    schema_url = f"{_SPEC}/1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet"
    return _facet(schema_url, fields={}, dataset=sources)


def _facet(schema_url: str, **content: Any) -> dict[str, Any]:
    return {"_producer": PRODUCER, "_schemaURL": schema_url, **content}
