"""Fake issuers of attestation tokens: they sign any header and any claims."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from tests.fakes.attest_pki import NOW_MS, PrivateKey, raw_signature, rsa_key
from vault.attest.tokens.jose import Key

NOW_S = NOW_MS // 1000
REMOVED = object()
BOUND = bytes(range(100, 164))
SPELLED = base64.urlsafe_b64encode(BOUND).rstrip(b"=").decode()
MAA = "https://shared.weu.attest.azure.net"


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class FakeIssuer:
    """One key; `sign` makes a token whatever it says."""

    key: PrivateKey = field(default_factory=lambda: rsa_key(8))
    kid: str = "k1"

    @property
    def keys(self) -> tuple[Key, ...]:
        return (Key(self.kid, self.key.public_key()),)

    def sign(self, claims: Any, *, alg: str = "RS256", header: dict[str, Any] | None = None) -> str:
        head = {"alg": alg, "kid": self.kid, "typ": "JWT"} | (header or {})
        head = {name: value for name, value in head.items() if value is not REMOVED}
        body = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
        signed = f"{b64(json.dumps(head).encode())}.{b64(body)}"
        return f"{signed}.{b64(self._signature(signed.encode(), alg))}"

    def _signature(self, signed: bytes, alg: str) -> bytes:
        digest = hashes.SHA384() if alg.endswith("384") else hashes.SHA256()
        if isinstance(self.key, ec.EllipticCurvePrivateKey):
            return raw_signature(self.key, signed, self.key.key_size // 8, digest=digest)
        if alg.startswith("PS"):
            return self.key.sign(signed, padding.PSS(padding.MGF1(digest), digest.digest_size), digest)
        assert isinstance(self.key, rsa.RSAPrivateKey)
        return self.key.sign(signed, padding.PKCS1v15(), digest)


def changed(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """With members replaced (a.b.c reaches inside) or REMOVED."""
    copy = json.loads(json.dumps(document))
    for path, value in changes.items():
        *outer, last = path.split("/")
        inner = copy
        for name in outer:
            inner = inner[name]
        if value is REMOVED:
            del inner[last]
        else:
            inner[last] = value
    return dict(copy)


TIMES = {"iat": NOW_S - 60, "nbf": NOW_S - 60, "exp": NOW_S + 600}


def maa_claims(**changes: Any) -> dict[str, Any]:
    tee = {
        "x-ms-attestation-type": "sevsnpvm", "x-ms-compliance-status": "azure-compliant-cvm",
        "x-ms-sevsnpvm-is-debuggable": False, "x-ms-sevsnpvm-migration-allowed": False, "x-ms-sevsnpvm-vmpl": 0,
        "x-ms-sevsnpvm-launchmeasurement": "11" * 48, "x-ms-sevsnpvm-hostdata": "22" * 32,
        "x-ms-sevsnpvm-reportdata": "33" * 64,
    }  # fmt: skip
    nonce = base64.b64encode(SPELLED.encode()).decode()
    base = {"iss": MAA, **TIMES, "x-ms-attestation-type": "azurevm", "x-ms-isolation-tee": tee,
            "x-ms-policy-hash": "hash", "x-ms-runtime": {"client-payload": {"nonce": nonce}}}  # fmt: skip
    return changed(base, changes)


def space_claims(**changes: Any) -> dict[str, Any]:
    base = {
        "iss": "https://confidentialcomputing.googleapis.com", **TIMES, "aud": "us", "sub": "vm",
        "swname": "CONFIDENTIAL_SPACE", "dbgstat": "disabled-since-boot", "secboot": True, "hwmodel": "GCP_INTEL_TDX",
        "eat_nonce": ["other-nonce", SPELLED],
        "submods": {"confidential_space": {"support_attributes": ["STABLE"]}, "nvidia_gpu": {"cc_mode": "ON"},
                    "container": {"image_digest": "sha256:aa", "env_override": {}}},
    }  # fmt: skip
    return changed(base, changes)


def ear_claims(**changes: Any) -> dict[str, Any]:
    base = {
        "eat_profile": "tag:github.com,2023:veraison/ear", "iat": NOW_S - 60, "eat_nonce": SPELLED,
        "ear.verifier-id": {"developer": "us", "build": "1"},
        "submods": {"cpu0": {"ear.status": "affirming", "ear.appraisal-policy-id": "p",
                             "ear.trustworthiness-vector": {"hardware": 2, "executables": 3, "configuration": 0}}},
    }  # fmt: skip
    return changed(base, changes)


def authority_claims(**changes: Any) -> dict[str, Any]:
    value, issued = b"nonce", b"time"
    tdx = {
        "tdx_is_debuggable": False, "attester_tcb_status": "UpToDate", "tdx_mrtd": "11" * 48,
        "attester_held_data": base64.b64encode(BOUND).decode(),
        "verifier_nonce": {"val": base64.b64encode(value).decode(), "iat": base64.b64encode(issued).decode()},
        "tdx_report_data": hashlib.sha512(value + issued + BOUND).hexdigest(),
    }  # fmt: skip
    base = {"iss": "Intel Trust Authority", "ver": "2.0.0", **TIMES, "tdx": tdx, "policy_ids_matched": [{"id": "p1"}]}
    return changed(base, changes)


def device_claims(**changes: Any) -> dict[str, Any]:
    chain = {"x-nvidia-cert-status": "valid", "x-nvidia-cert-ocsp-status": "good"}
    base = {"iss": "https://nras.attestation.nvidia.com", **TIMES, "eat_nonce": BOUND[:32].hex(), "measres": "success",
            "dbgstat": "disabled", "secboot": True, "hwmodel": "GH100 A01 GSP BROM",
            "x-nvidia-gpu-attestation-report-cert-chain": chain,
            "x-nvidia-gpu-driver-rim-cert-chain": dict(chain)}  # fmt: skip
    return changed(base, changes)


def detached(issuer: FakeIssuer, devices: dict[str, str], **changes: Any) -> str:
    digests = {
        name: ["DIGEST", ["SHA-256", hashlib.sha256(token.encode()).hexdigest()]] for name, token in devices.items()
    }
    overall = changed(
        {"iss": "https://nras.attestation.nvidia.com", **TIMES, "eat_nonce": BOUND[:32].hex(),
         "x-nvidia-overall-att-result": True, "submods": digests}, changes,
    )  # fmt: skip
    return json.dumps([["JWT", issuer.sign(overall, alg="ES384")], devices])
