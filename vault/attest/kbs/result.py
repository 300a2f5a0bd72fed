"""An attestation's result as Trustee's clients keep it: an EAR (draft-ietf-rats-ear) with the key that was attested.

    {"eat_profile","iat","nbf","exp","iss","jti","ear.verifier-id",
     "submods": {"cpu0": {"ear.status","ear.trustworthiness-vector","ear.appraisal-policy-id",
                          "ear.veraison.annotated-evidence": {"runtime_data_claims": {"nonce","tee-pubkey"}, …}}, …}}

What was verified comes from the broker, how it was appraised from the doctrine. Numbers are the lowest of their tier.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vault.attest.claims import Refusal, refuse
from vault.attest.kbs.binding import nonce_text
from vault.attest.tokens.jose import check_times, nested, parse_keys, parse_token, text, verified

PROFILE = "tag:github.com,2024:confidential-containers/Trustee"
LIFETIME_S = 300
SESSION_CLAIM = "demesne.session"
OPENING = frozenset({"affirming", "warning"})
_TIERS = {"none": 0, "affirming": 2, "warning": 32, "contraindicated": 96}
_VECTOR = (
    "instance-identity", "configuration", "executables", "file-system", "hardware", "runtime-opaque",
    "storage-opaque", "sourced-data",
)  # fmt: skip
_ID = re.compile(r"[0-9a-f]{64}")  # what anybody wrote there goes into a query: no database takes all of Unicode
_SUBMODULE = re.compile(r"[a-z]{1,16}[0-9]{1,2}")
_MOST = 32
_MACHINE = "cpu0"
MAX_TOKEN = 64 * 1024


@dataclass(frozen=True, slots=True)
class Verified:
    """What the broker verified in one handshake. `nonce` and `init_data` (the hash that the machine carries) in hex;
    `session` is the id of what was sealed with it, "" for a nonce of nobody."""

    nonce: str
    tee: str
    tee_pubkey: Mapping[str, Any]
    claims: Mapping[str, Any]
    report_data: str
    init_data: str
    attested_at: int
    session: str = ""


def result_claims(
    proved: Verified, appraisal: Mapping[str, Any], *, issuer: str, build: str, token_id: str, now_ms: int
) -> dict[str, Any]:
    """The claims to sign. `appraisal`: {"tier","policy","submods": {name: {"tier","vector"}}}, as the doctrine says.

    `Refused("attest.malformed")` for an appraisal of another shape, `Refused("attest.policy")` for one that trusts
    nothing: no token says that somebody was here.
    """
    modules = _modules(appraisal)
    if appraisal["tier"] not in OPENING or any(module["tier"] not in OPENING for module in modules.values()):
        raise refuse(Refusal.POLICY, "the doctrine does not trust this machine")
    policy = appraisal["policy"]
    if not isinstance(policy, str) or len(policy) > 128:
        raise refuse(Refusal.MALFORMED, "appraisal policy")
    submods = {name: _submodule(name, module, proved, policy) for name, module in modules.items()}
    issued = now_ms // 1000
    of_session = {SESSION_CLAIM: proved.session} if proved.session else {}
    return of_session | {
        "eat_profile": PROFILE, "iat": issued, "nbf": issued, "exp": issued + LIFETIME_S, "iss": issuer,
        "jti": token_id, "ear.verifier-id": {"developer": "demesne", "build": build}, "submods": submods,
    }  # fmt: skip


def _modules(appraisal: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    if set(appraisal) != {"tier", "policy", "submods"} or appraisal["tier"] not in _TIERS:
        raise refuse(Refusal.MALFORMED, "appraisal")
    modules = appraisal["submods"]
    if not isinstance(modules, Mapping) or _MACHINE not in modules or len(modules) > _MOST:
        raise refuse(Refusal.MALFORMED, "submodules")
    for name, module in modules.items():
        if not _SUBMODULE.fullmatch(name) or not isinstance(module, Mapping) or set(module) != {"tier", "vector"}:
            raise refuse(Refusal.MALFORMED, "submodule")
        vector = module["vector"]
        if module["tier"] not in _TIERS or not isinstance(vector, Mapping) or not set(vector) <= set(_VECTOR):
            raise refuse(Refusal.MALFORMED, "submodule")
        if not all(isinstance(tier, str) and tier in _TIERS for tier in vector.values()):
            raise refuse(Refusal.MALFORMED, "trustworthiness vector")
    return modules


def _submodule(name: str, module: Mapping[str, Any], proved: Verified, policy: str) -> dict[str, Any]:
    runtime = {"nonce": nonce_text(proved.nonce), "tee-pubkey": dict(proved.tee_pubkey)}
    evidence: dict[str, Any] = {"runtime_data_claims": runtime}
    if name == _MACHINE:
        machine = {key: value for key, value in proved.claims.items() if key != "devices"}
        evidence |= {proved.tee: machine, "report_data": proved.report_data, "init_data": proved.init_data}
    return {
        "ear.status": module["tier"],
        "ear.trustworthiness-vector": {claim: _TIERS[module["vector"].get(claim, "none")] for claim in _VECTOR},
        "ear.appraisal-policy-id": policy,
        "ear.veraison.annotated-evidence": evidence,
    }


@dataclass(frozen=True, slots=True)
class Result:
    """What one of our own tokens says: which handshake and session it is of, and the key that was attested."""

    token_id: str
    session: str
    tee_pubkey: Mapping[str, Any]


def read_result(token: str, key: Mapping[str, str], issuer: str, now_ms: int) -> Result:
    """A token of this zone, by its one key and algorithm. `Refused` as `vault.attest.tokens` does."""
    claims = verified(parse_token(token, most=MAX_TOKEN), parse_keys(dict(key)), frozenset({"ES256"}))
    if claims.get("eat_profile") != PROFILE or claims.get("iss") != issuer:
        raise refuse(Refusal.UNKNOWN_VERSION, "profile or issuer")
    check_times(claims, now_ms, LIFETIME_S)
    machine = nested(nested(nested(claims, "submods"), _MACHINE), "ear.veraison.annotated-evidence")
    tee_pubkey = nested(nested(machine, "runtime_data_claims"), "tee-pubkey")
    return Result(text(claims, "jti"), str(claims.get(SESSION_CLAIM, "")), tee_pubkey)


def claimed_id(token: str) -> str:
    """Which handshake a token says it is of: where to look, and nothing to believe."""
    found = parse_token(token, most=MAX_TOKEN).claims.get("jti")
    return found if isinstance(found, str) and _ID.fullmatch(found) else ""
