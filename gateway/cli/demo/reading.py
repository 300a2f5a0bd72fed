"""The first half of the story: data in, nothing readable at rest, masked answers for the analyst."""

import base64
import io
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from gateway.cli.demo.stage import DATASET, Stage, expect

PURPOSES = ("analytics", "claims-risk-model")


def ingest(stage: Stage) -> str:
    options = [option for purpose in PURPOSES for option in ("--purpose", purpose)]
    report = stage.command(
        "ingest", str(stage.input.directory), DATASET, "--zone", "de", "--synthetic", "--numeric-is", "none", *options
    )
    views = stage.wait_for_views()
    failed = [view for view in views if view["state"] == "failed"]
    expect(not failed, f"views failed: {failed}")
    with stage.api() as api:
        described = api.dataset(DATASET)
    labels = {column["name"]: column["label"] for column in described["contract"]["columns"]}
    for column, label in {"name": "pii.name", "email": "pii.email", "phone": "pii.phone", "iban": "pii.iban",
                          "birth_date": "pii.birth_date", "postcode": "pii.postcode", "address": "pii.address",
                          "note": "pii.note"}.items():  # fmt: skip
        expect(labels.get(column) == label, f"column {column} was classified {labels.get(column)}, not {label}")
    again = stage.command(
        "ingest", str(stage.input.directory), DATASET, "--zone", "de", "--synthetic", "--numeric-is", "none", *options
    )
    expect(not again.get("written"), f"ingesting twice wrote again: {again.get('written')}")
    personal = sorted(name for name, label in labels.items() if label != "none")
    return (
        f"{len(report.get('written', []))} objects sealed into {DATASET}; "
        f"personal columns found: {', '.join(personal)}\n"
        f"{len(views)} masked views built; a second ingest changed nothing"
    )


def nothing_at_rest(stage: Stage) -> str:
    needles = [form for canary in stage.input.canaries for form in _forms(canary)]
    files, size = 0, 0
    for path in sorted(stage.state_dir.rglob("*")):
        if not path.is_file():
            continue
        data = path.read_bytes()
        files, size = files + 1, size + len(data)
        for needle in needles:
            expect(needle not in data, f"{path.relative_to(stage.state_dir)} contains an identity")
    return f"{files} files, {size / 1e6:.1f} MB, searched for {len(stage.input.canaries)} values in 4 encodings"


def analyst_pandas(stage: Stage) -> str:
    filesystem = stage.filesystem()
    paths = sorted(path for path in filesystem.ls(DATASET, detail=False))
    rows, leaked = 0, []
    frame = pd.DataFrame()
    for path in paths:
        with filesystem.open(path, "rb") as file:
            data = file.read()
        leaked += [path for canary in stage.input.canaries if canary.encode() in data]
        frame = _frame(path, data)
        rows += len(frame)
        text = frame.to_csv()
        leaked += [path for canary in stage.input.canaries if canary in text]
    expect(not leaked, f"identities in {sorted(set(leaked))}")
    parquet = pd.read_parquet(
        f"s3://{DATASET}/part-0.parquet",
        storage_options={
            "key": stage.credentials("analyst").access_key_id, "secret": stage.credentials("analyst").secret_access_key,
            "endpoint_url": stage.endpoint("de", "s3"), "client_kwargs": {"region_name": "de"},
        },
    )  # fmt: skip
    first = parquet.iloc[0]
    expect(parquet["mdvis"].sum() > 0, "the measures must be readable")
    shown = ", ".join(f"{name}={first[name]}" for name in ("name", "email", "birth_date", "postcode", "mdvis"))
    return f"{len(paths)} objects, {rows} rows, no identity in any byte\nfirst row: {shown}"


def analyst_duckdb(stage: Stage) -> str:
    connection = duckdb.connect()
    connection.register_filesystem(stage.filesystem())
    joined = connection.execute(
        "select count(*), count(distinct m.email) from read_parquet('s3://claims/part-*.parquet') v "
        "join read_csv('s3://claims/members.csv') m on v.email = m.email"
    ).fetchone()
    expect(joined is not None, "the join answered nothing")
    expect(joined == (stage.input.rows, stage.input.members), f"the join found {joined}")
    average = connection.execute("select avg(mdvis) from read_parquet('s3://claims/part-*.parquet')").fetchone()
    visits = f"{average[0]:.2f}" if average else "?"
    return f"{joined[0]} visits joined to {joined[1]} members by pseudonym; {visits} doctor visits a year on average"


def sizes_agree(stage: Stage) -> str:
    client = stage.s3("analyst")
    raw = {path.name: path.stat().st_size for path in stage.input.directory.iterdir()}
    lines = []
    for listed in client.list_objects_v2(Bucket=DATASET)["Contents"]:
        key = listed["Key"]
        head = client.head_object(Bucket=DATASET, Key=key)
        got = client.get_object(Bucket=DATASET, Key=key)
        body = got["Body"].read()
        sizes = {listed["Size"], head["ContentLength"], got["ContentLength"], len(body)}
        etags = {listed["ETag"], head["ETag"], got["ETag"]}
        expect(len(sizes) == 1 and len(etags) == 1, f"{key}: sizes {sizes}, ETags {etags}")
        middle = client.get_object(Bucket=DATASET, Key=key, Range="bytes=100-299")["Body"].read()
        expect(middle == body[100:300], f"{key}: a range is not a slice of the whole")
        lines.append(f"{key}: {len(body)} bytes (raw: {raw.get(Path(key).name)}, which the analyst is never told)")
    return "\n".join(lines)


def _frame(path: str, data: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(data)) if path.endswith(".parquet") else pd.read_csv(io.BytesIO(data))


def _forms(canary: str) -> list[bytes]:
    """UTF-8, UTF-16, hex, and base64 in the middle of a longer text at each of the three alignments."""
    raw = canary.encode()
    encoded: list[bytes] = [raw, canary.encode("utf-16-le"), raw.hex().encode()]
    for shift in range(3):
        padded = b"\x00" * shift + raw
        usable: Any = base64.b64encode(padded)[4 if shift else 0 :]
        encoded.append(usable[: len(usable) // 4 * 4 - 4])
    return [form for form in encoded if len(form) >= 8]
