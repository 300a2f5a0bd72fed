"""OPA server and regorus appraise alike: every kind of evidence, each of its claims changed and taken away, every list
of reference values that could stand there. Needs an OPA binary (PATH or OPA_BINARY); without one it is one skip line.
"""

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from gateway.decide.answer import read_appraisal
from gateway.decide.bundle import read_bundle
from gateway.decide.doctrine import APPRAISAL
from gateway.decide.engine import Engine, EngineFailed
from gateway.decide.opa import Opa
from gateway.decide.regorus import Regorus
from tests.fakes.doctrine import POLICIES, appraisal_schema
from tests.fakes.opa_server import opa_binary, opa_server

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(opa_binary() is None, reason="no OPA binary on PATH or in OPA_BINARY"),
]
REAL = {"debug": False, "hardware": True, "synthetic_only": False, "measurement": "11"}
SNP = {"bound": True, "product": "Genoa", "chip_id": "aa", "vmpl": 0, "reported_tcb": "1", "host_data": "22"}
TDX = {"bound": True, "tcb_status": "UpToDate", "advisories": [], "ppid": "aa", "td_attributes": "10", "rtmr1": "22"}
RELEASED = {"endorsement_issuer": "did:a", "endorsement_feed": "uvm", "endorsement_svn": 22}
CLOUD = {"pcr4": "22", "console": False, "secure_boot": True}
GPU = {"bound": True, "model": "GH100", "driver": "550", "vbios": "96", "golden_blocks": 31, "golden_complete": True,
       "manifests": ["a", "b"], "revocation_checked": 3}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "snp": REAL | {"kind": "snp", "tee": "sev-snp", "platform": SNP},
    "released": REAL | {"kind": "snp", "tee": "sev-snp", "measurement": "12", "platform": SNP | RELEASED},
    "tdx": REAL | {"kind": "tdx", "tee": "tdx", "platform": TDX},
    "nitro": REAL | {"kind": "nitro", "tee": "nitro", "platform": {"bound": True, "module_id": "i-1"}},
    "azure snp": REAL | {"kind": "azure-vtpm", "tee": "sev-snp", "platform": SNP | CLOUD},
    "azure tdx": REAL | {"kind": "azure-vtpm", "tee": "tdx", "platform": TDX | CLOUD},
    "maa": REAL | {"kind": "maa", "tee": "sev-snp", "platform": {"bound": True, "policy_hash": "22"}},
    "space": REAL | {"kind": "confidential-space", "tee": "GCP_AMD_SEV_SNP",
                     "platform": {"bound": True, "env_override": [], "cmd_override": False}},
    "authority": REAL | {"kind": "trust-authority", "tee": "tdx", "platform": TDX},
    "ear": REAL | {"kind": "ear", "tee": "ear", "platform": {"bound": True, "verifier": "trustee"}},
    "tpm": REAL | {"kind": "tpm", "tee": "tpm", "hardware": False,
                   "platform": {"bound": True, "key": "aa", "pcr_policy": [4], "pcr4": "22"}},
    "sample": {"kind": "sample", "tee": "none", "measurement": "11", "debug": True, "hardware": False,
               "synthetic_only": True},
    "gpu": REAL | {"kind": "snp", "tee": "sev-snp", "platform": SNP, "devices": [
        REAL | {"kind": "nvgpu", "tee": "nvgpu", "platform": GPU},
        REAL | {"kind": "nvgpu", "tee": "nvswitch", "platform": GPU},
        REAL | {"kind": "nras", "tee": "nvidia", "platform": {"bound": True, "models": ["GH100", "GH100"]}},
    ]},
}  # fmt: skip
MATCHES: dict[str, dict[str, list[Any]]] = {
    "snp": {"platform.host_data": ["22"]}, "tdx": {"platform.rtmr1": ["22"]}, "azure-vtpm": {"platform.pcr4": ["22"]},
    "maa": {"platform.policy_hash": ["22"]}, "trust-authority": {"platform.rtmr1": ["22"]},
    "ear": {"platform.verifier": ["trustee"]}, "tpm": {"platform.pcr4": ["22"]}, "nras": {"platform.models": ["GH100"]},
    "nvgpu": {"platform.driver": ["550"], "platform.vbios": ["96"]},
}  # fmt: skip
REFERENCE = [
    {"name": f"good {kind}", "kind": kind, "measurement": ["11"], "match": MATCHES.get(kind, {})}
    for kind in ("snp", "tdx", "nitro", "azure-vtpm", "maa", "confidential-space", "trust-authority", "ear", "tpm",
                 "nvgpu", "nras", "sample")
]  # fmt: skip
MATCHES["released"] = {
    "platform.endorsement_issuer": ["did:a"], "platform.endorsement_feed": ["uvm"], "platform.host_data": ["22"],
}  # fmt: skip
REFERENCE.append({"name": "released", "kind": "snp", "match": MATCHES["released"]})
VALUES: list[Any] = [True, "other", []]
REFERENCES: list[Any] = [
    None, "all", {}, [], [None], ["snp"], [{}], [{"name": "x"}], [{"kind": "snp"}], [{"name": "", "kind": "snp"}],
    [{"name": "x", "kind": "snp"}], [{"name": "x", "kind": "snp", "measurement": "11"}],
    [{"name": "x", "kind": "snp", "measurement": []}], [{"name": "x", "kind": "snp", "match": {}}],
    [{"name": "x", "kind": "snp", "measurement": ["11"], "match": []}],
    [{"name": "x", "kind": "snp", "measurement": ["11"], "match": {"platform.host_data": "22"}}],
    [{"name": "x", "kind": "snp", "measurement": ["11"], "match": {"platform.host_data": []}}],
    [{"name": "x", "kind": "snp", "measurement": ["11"], "match": {"platform.luck": ["22"]}}],
    [{"name": "x", "kind": "snp", "measurement": ["11"], "platform": {"chip_id": ["bb"]}}],
    [{"name": "x", "kind": "snp", "measurement": ["11"], "platform": "aa"}],
    [{"name": "x", "kind": "snp", "tee": None, "measurement": ["11"]}],
    [{"name": "b", "kind": "snp", "measurement": ["11"]}, {"name": "a", "kind": "snp", "measurement": ["11", "12"]}],
]  # fmt: skip


def question(claims: Any, **changes: Any) -> dict[str, Any]:
    scope = [{"name": "a", "synthetic": True, "label": "personal"}]
    asked = {"claims": claims, "posture": "production", "purpose": "claims-risk-model", "dataset_scope": scope}
    return asked | {"reference": REFERENCE} | changes


def mutated(claims: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each claim and each fact of the platform with another value of some type, and without it."""
    for path in [(name,) for name in claims] + [("platform", name) for name in claims.get("platform", {})]:
        for value in [*VALUES, "absent"]:
            changed = copy.deepcopy(claims)
            place = changed if len(path) == 1 else changed["platform"]
            place[path[-1]] = value
            if value == "absent":
                del place[path[-1]]
            yield changed


def questions() -> Iterator[dict[str, Any]]:
    yield {}
    for claims in KINDS.values():
        yield question(claims)
        yield question(claims, posture="development")
        yield from (question(changed) for changed in mutated(claims))
    for reference in REFERENCES:
        yield question(KINDS["snp"], reference=reference)
    for kind in ("snp", "tpm", "sample"):
        for name in ("posture", "purpose", "dataset_scope"):
            for value in (*VALUES, [{"synthetic": False}], "gpu-training"):
                yield question(KINDS[kind], **{name: value})
    for devices in (*VALUES, [None], ["x"], [{}], [KINDS["snp"]], [{"kind": "nras", "platform": {"models": 1}}]):
        yield question(KINDS["snp"] | {"devices": devices})
        yield question(KINDS["snp"] | {"devices": devices}, purpose="gpu-training")
    for device in KINDS["gpu"]["devices"]:
        for changed in mutated(device):
            yield question(KINDS["snp"] | {"devices": [changed]}, posture="development")


def ordered(value: Any) -> Any:
    return value | {"reasons": sorted(value["reasons"], key=repr)} if isinstance(value, dict) else value


async def answer(engine: Engine, document: Any) -> Any:
    try:
        return ordered(await engine.evaluate(APPRAISAL, document))
    except EngineFailed:
        return "failed"


def test_the_engines_appraise_alike_and_every_answer_can_be_read() -> None:
    schema = appraisal_schema()

    async def scenario(url: str) -> dict[str, int]:
        bundle = read_bundle(POLICIES)
        opa, regorus = Opa(url, deadline=5.0), Regorus(deadline=5.0, patience=30.0)
        tiers: dict[str, int] = {}
        try:
            await opa.load(bundle)
            await regorus.load(bundle)
            for document in questions():
                ours, theirs = await answer(regorus, document), await answer(opa, document)
                assert ours == theirs, document
                assert isinstance(ours, dict), document
                jsonschema.validate(ours, schema)
                read_appraisal(ours, "r")
                tiers[ours["tier"]] = tiers.get(ours["tier"], 0) + 1
            for kind in KINDS.keys() - {"tpm", "sample"}:
                assert (await answer(regorus, question(KINDS[kind])))["tier"] == "affirming", kind
        finally:
            await opa.close()
            await regorus.close()
        return tiers

    with opa_server() as url:
        tiers = asyncio.run(scenario(url))
    assert sum(tiers.values()) > 600
    assert min(tiers.get(tier, 0) for tier in ("affirming", "warning", "contraindicated")) > 40
