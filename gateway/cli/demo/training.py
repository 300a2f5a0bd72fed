"""The training job: attested, raw rows by the same URI, a model that only raw columns make possible."""

import io
from datetime import date
from typing import Any

import joblib
import numpy as np
import pyarrow.dataset as ds
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.model_selection import GroupShuffleSplit

from demesne.credentials import Credentials
from gateway.cli.demo.stage import DATASET, PURPOSE, Stage, expect, refused, told

RUN = "train-claims-risk"
MODELS = "models"
MEASURES = ("lncoins", "idp", "lpi", "physlm", "disea")


def train(stage: Stage) -> str:
    with stage.api() as api:
        made = api.create_principal(
            "trainer", kind="workload", roles=["trainer"], jurisdiction="de", purposes=[PURPOSE, "marketing"],
            purpose=PURPOSE,
        )  # fmt: skip
        api.create_dataset(MODELS, synthetic=True)
        api.put_contract(MODELS, {
            "v": 1, "dataset": MODELS, "owner": "data science", "purposes": ["analytics", PURPOSE],
            "keys_personal": False, "columns": [],
        })  # fmt: skip
    stage.trainer = Credentials(made["access_key_id"], made["secret_access_key"])
    session = stage.attest(run=RUN)
    files = ds.dataset(f"{DATASET}/", filesystem=session.pyarrow(), format="parquet", exclude_invalid_files=True)
    table = files.to_table(columns=["email", "birth_date", "postcode", "mdvis", *MEASURES])
    expect(table.num_rows == stage.input.rows, f"{table.num_rows} raw rows, {stage.input.rows} expected")
    emails = set(table["email"].to_pylist())
    expect(any(canary in emails for canary in stage.input.canaries), "the rows are not raw")
    model, score, baseline = _fit(table)
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    written = session.boto3().put_object(Bucket=MODELS, Key=stage.model_key, Body=buffer.getvalue())
    expect(written["ETag"], "the model was not written")
    got = session.boto3().get_object(Bucket=DATASET, Key="part-0.parquet", Range="bytes=0-1023")
    got["Body"].read()
    stage.raw_decision = got["ResponseMetadata"]["HTTPHeaders"]["x-demesne-decision"]
    expect(got["ResponseMetadata"]["HTTPHeaders"]["x-demesne-view"] == "raw", "the view is not raw")
    return (
        f"{table.num_rows} raw rows read with pyarrow by the URI the analyst used; session {session.session_id}\n"
        f"model with age (from birth date) and region (from postcode): R² {score:.3f}, without them {baseline:.3f} "
        "(they are invented, so they cannot help); "
        f"{len(buffer.getvalue())} bytes written to s3://{MODELS}/{stage.model_key}"
    )


def _fit(table: Any) -> tuple[Any, float, float]:
    """Doctor visits from health measures, with and without what only raw rows tell."""
    born = np.array([date.fromisoformat(str(value)[:10]).year for value in table["birth_date"].to_pylist()])
    age = 2026 - born
    region = np.array([int(str(value)[:2]) for value in table["postcode"].to_pylist()])
    measures = np.column_stack([table[name].to_numpy() for name in MEASURES])
    target = table["mdvis"].to_numpy()
    full = np.column_stack([measures, age, region])
    # Split by member: a member's years on both sides would let age and region recognise the member.
    split = GroupShuffleSplit(1, test_size=0.25, random_state=0)
    train_rows, test_rows = next(split.split(full, target, groups=table["email"].to_pylist()))
    scores = []
    model = None
    for features in (measures, full):
        model = HistGradientBoostingRegressor(max_iter=60, random_state=0)
        model.fit(features[train_rows], target[train_rows])
        scores.append(model.score(features[test_rows], target[test_rows]))
    return model, scores[1], scores[0]


def model_is_refused(stage: Stage) -> str:
    refusal = refused(lambda: stage.s3("analyst").get_object(Bucket=MODELS, Key=stage.model_key))
    expect(refusal.status == 403, told(refusal))
    entry = stage.on_record(refusal)
    expect(not entry["decision"]["allow"], "the ledger says otherwise")
    return told(refusal)


def model_declassified(stage: Stage) -> str:
    with stage.api() as api:
        done = api.declassify(
            MODELS, stage.model_key, name="risk-model-release-1",
            reason="Reviewed: coefficients of 20,190 rows, no row can be told from them.",
        )  # fmt: skip
    stage.wait_for_views(MODELS)
    got = stage.s3("analyst").get_object(Bucket=MODELS, Key=stage.model_key)
    model = joblib.load(io.BytesIO(got["Body"].read()))
    expect(hasattr(model, "predict"), "what came back is not the model")
    entry = stage.entries(lambda found: found["type"] == "declassification")
    expect(entry["name"] == done["name"], "the ledger does not name the declassification")
    return f"declassified as {done['name']!r}; the analyst loaded the model, and the ledger names who said so and why"
