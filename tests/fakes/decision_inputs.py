"""Input documents for tests of the doctrine, built as the guard builds them: a function a caller, changes by path."""

from collections.abc import Mapping
from typing import Any

from gateway.decide.document import (
    DatasetFacts,
    ObjectFacts,
    PrincipalFacts,
    RequestFacts,
    RunFacts,
    SessionFacts,
    ZoneFacts,
    build_input,
)

NOW = "2026-11-21T21:00:00.000Z"
CONTRACT: dict[str, Any] = {
    "v": 1, "dataset": "claims", "owner": "stewards", "purposes": ["analytics", "claims-risk-model"],
    "keys_personal": False,
    "columns": [
        {"name": "name", "type": "string", "label": "pii.name", "finding": None},
        {"name": "email", "type": "string", "label": "pii.email"},
        {"name": "birth_date", "type": "date", "label": "pii.birth_date"},
        {"name": "mystery", "type": "string"},
        {"name": "visits", "type": "int64", "label": "none"},
    ],
}  # fmt: skip
ZONE = ZoneFacts(name="de", jurisdiction="de", posture="development", state="open", strength="self-reported")
CLAIMS = DatasetFacts(
    dataset_id="d1", name="claims", zone="de", jurisdiction="de", synthetic=True, label="personal", contract_version=1,
    contract=CONTRACT,
)  # fmt: skip
MODELS = DatasetFacts(
    dataset_id="d2", name="models", zone="de", jurisdiction="de", synthetic=True, label="personal", contract_version=1,
    contract=CONTRACT | {"dataset": "models", "columns": []},
)  # fmt: skip
PARQUET = ObjectFacts(
    label="personal", format="parquet", key_class="raw", placement=["de"], written_by="s1", run="n0"
)
MODEL = ObjectFacts(label="personal", format="opaque", key_class="raw", placement=["de"], written_by="t1", run="n2")
IDLE = RunFacts(run_id="n1", label="none", placement=None, inputs=0)
READ_CLAIMS = RunFacts(run_id="n2", label="personal", placement=["de"], inputs=2)


def principal(role: str, purposes: list[str], principal_id: str = "p1") -> PrincipalFacts:
    return PrincipalFacts(
        principal_id=principal_id, name=role, kind="workload", roles=[role], jurisdiction="de", tenant="main",
        purposes=purposes,
    )  # fmt: skip


ANALYST = principal("analyst", ["analytics", "marketing"], "a1")
STEWARD = principal("steward", ["stewardship"], "s1")
TRAINER = principal("trainer", ["claims-risk-model", "marketing"], "t1")
ATTESTED = SessionFacts(
    session_id="e1", kind="attested", tier="warning", fresh=True, scope=["claims"], run="n2",
    claims={"kind": "sample", "hardware": False, "synthetic_only": True},
)  # fmt: skip


def document(
    action: Any, who: PrincipalFacts, purpose: str, change: Mapping[str, Any] | None = None, **facts: Any
) -> dict[str, Any]:
    """The input of `action` on claims/part-0.parquet unless `facts` say otherwise; `change` is {"a.b": value}."""
    dataset = facts.pop("dataset", CLAIMS)
    built = build_input(
        now=NOW, purpose=purpose, zone=facts.pop("zone", ZONE), dataset=dataset, run=facts.pop("run", IDLE),
        principal=who,
        request=RequestFacts(
            request_id="r1", action=action, interface="s3", tenant="main", zone=dataset.zone if dataset else "de",
            dataset=dataset.name if dataset else None, key="part-0.parquet",
            require_view=facts.pop("require_view", None),
        ),
        **facts,
    )  # fmt: skip
    for path, value in (change or {}).items():
        *parents, name = path.split(".")
        place = built
        for parent in parents:
            place = place[parent]
        place[name] = value
    return built


def analyst_reads(change: Mapping[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    return document("read", ANALYST, "analytics", change, **({"object": PARQUET} | facts))


def trainer_reads(change: Mapping[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    return document("read", TRAINER, "claims-risk-model", change, **({"object": PARQUET, "session": ATTESTED} | facts))


def trainer_writes(change: Mapping[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    given = {"dataset": MODELS, "session": ATTESTED, "run": READ_CLAIMS} | facts
    return document("write", TRAINER, "claims-risk-model", change, **given)


def steward(action: Any, change: Mapping[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    return document(action, STEWARD, "stewardship", change, **facts)
