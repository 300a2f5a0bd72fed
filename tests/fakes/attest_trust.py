"""A trust directory written for a test, and one genuine machine of every kind whose makers are fakes."""

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.fakes.attest_intel import FMSPC, FakeIntel
from tests.fakes.attest_nitro import FakeNitro
from tests.fakes.attest_nvidia import FakeNvidia
from tests.fakes.attest_pki import NOW, ec_key, rsa_key
from tests.fakes.attest_snp import FakeAmd
from tests.fakes.attest_tokens import (
    MAA,
    FakeIssuer,
    authority_claims,
    detached,
    device_claims,
    ear_claims,
    maa_claims,
    space_claims,
)
from tests.fakes.attest_tpm import VALUES, FakeTpm, hcl_report, runtime_data
from vault.attest.binding import Binding, ExpectedBinding
from vault.attest.sample import sample_evidence
from vault.attest.tdx.collateral import Collateral
from vault.attest.tokens.confidential_space import ISSUER as GOOGLE
from vault.attest.tokens.ear import VERAISON
from vault.attest.tokens.nras import ISSUER as NVIDIA_SERVICE
from vault.attest.trust.roots import Roots

EXPECTED = ExpectedBinding("ab" * 32, "de.example", "T" * 43, "claims-risk-model", ("claims", "models"))
FLOOR = {"bootloader": 4, "tee": 1, "snp": 24, "microcode": 217}
PLATFORMS: dict[str, Any] = {
    "snp": {"products": {"Milan": FLOOR}},
    "tdx": {"min_evaluation_number": 17},
    "nitro": {},
    "azure-vtpm": {},
    "nvgpu": {"needs_manifests": False},
}


def instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def dcap_form(collateral: Collateral, ca: bytes = b"") -> dict[str, str]:
    """Collateral as the DCAP tools write it; `ca`: PEM of who issued the PCK list."""
    return {
        "tcb_info": collateral.tcb_info,
        "tcb_info_signature": collateral.tcb_info_signature.hex(),
        "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain.decode(),
        "qe_identity": collateral.qe_identity,
        "qe_identity_signature": collateral.qe_identity_signature.hex(),
        "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain.decode(),
        "root_ca_crl": collateral.root_ca_crl.hex(),
        "pck_crl": collateral.pck_crl.hex(),
    } | ({"pck_crl_issuer_chain": ca.decode()} if ca else {})


@dataclass
class TrustFiles:
    """Files of a trust directory, each with an envelope that is right unless told otherwise."""

    path: Path

    def write(self, name: str, *, issued: datetime = NOW - timedelta(1), expires: datetime = NOW + timedelta(30),
              **members: Any) -> Path:  # fmt: skip
        document = {"schema": f"demesne.trust.{name}/1", "issued": instant(issued), "expires": instant(expires)}
        return self.put(f"{name}.json", json.dumps(document | members).encode())

    def put(self, name: str, content: bytes) -> Path:
        """As an operator's tool does: a new file, renamed over the old one."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_bytes(content)
        fresh.chmod(0o644)
        os.replace(fresh, path)
        return path

    def platforms(self, **sections: Any) -> Path:
        return self.write("platforms", **(PLATFORMS | sections))


def jwks(issuer: FakeIssuer) -> dict[str, Any]:
    public = issuer.key.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        half = len(point) // 2
        curve = "P-384" if half == 48 else "P-256"
        key = {"kty": "EC", "crv": curve, "x": _url(point[:half]), "y": _url(point[half:])}
    else:
        numbers = public.public_numbers()
        key = {"kty": "RSA", "n": _url(numbers.n.to_bytes(public.key_size // 8, "big")), "e": "AQAB"}
    return {"keys": [key | {"kid": issuer.kid}]}


def _url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class Machines:
    """One genuine machine or service of every kind; `evidence` answers a binding, `trust` writes what admits it."""

    amd: FakeAmd = field(default_factory=FakeAmd)
    intel: FakeIntel = field(default_factory=FakeIntel)
    nitro: FakeNitro = field(default_factory=FakeNitro)
    nvidia: FakeNvidia = field(default_factory=FakeNvidia)
    tpm: FakeTpm = field(default_factory=FakeTpm)
    issuer: FakeIssuer = field(default_factory=FakeIssuer)
    nras: FakeIssuer = field(default_factory=lambda: FakeIssuer(ec_key(), "n1"))

    @property
    def roots(self) -> Roots:
        """These makers in place of the package's pins."""
        return Roots(
            {self.amd.product: frozenset({self.amd.root.pin})}, self.intel.roots, self.nitro.roots, self.nvidia.roots,
        )  # fmt: skip

    def trust(self, files: TrustFiles) -> None:
        files.platforms()
        files.put(f"collateral/intel/{FMSPC.hex()}.json", json.dumps(dcap_form(self.intel.collateral())).encode())
        files.write("tpm-keys", keys=[{"name": self.tpm.name, "pcrs": {"7": [VALUES[7].hex()]}}])
        files.write("issuers", issuers=self.issuers())

    def issuers(self) -> list[dict[str, Any]]:
        keys = {"jwks": jwks(self.issuer)}
        return [
            {"kind": "maa", "iss": MAA, "algorithms": ["RS256"], **keys},
            {"kind": "confidential-space", "iss": GOOGLE, "algorithms": ["RS256"], "audience": ["us"], **keys},
            {"kind": "nras", "iss": NVIDIA_SERVICE, "algorithms": ["ES384"], "jwks": jwks(self.nras)},
            {"kind": "trust-authority", "iss": "Intel Trust Authority", "algorithms": ["PS384"], **keys},
            {"kind": "ear", "iss": "verifier", "algorithms": ["RS256"], **keys,
             "policy": {"submodules": ["cpu0"], "profiles": [VERAISON]}},
        ]  # fmt: skip

    def evidence(self, kind: str, expected: Binding = EXPECTED) -> dict[str, Any]:
        bound = expected.report_data()
        head: dict[str, Any] = {"kind": kind, "version": 1}
        match kind:
            case "sample":
                return sample_evidence(expected)
            case "snp":
                certificates = [b64(der) for der in self.amd.certificates]
                return head | {"report": b64(self.amd.report(report_data=bound)), "certificates": certificates,
                               "auxblob": ""}  # fmt: skip
            case "tdx":
                return head | {"quote": b64(self.intel.quote(report_data=bound)), "event_log": ""}
            case "nitro":
                return head | {"document": b64(self.nitro.document(nonce=bound))}
            case "azure-vtpm":
                return head | self._azure(bound)
            case "tpm":
                return head | {"key": b64(self.tpm.public)} | self._quote(bound)
            case "nvgpu":
                certificates = [b64(der) for der in self.nvidia.chain]
                return head | {"report": b64(self.nvidia.report(nonce=expected.device_nonce())),
                               "certificates": certificates}  # fmt: skip
            case _:
                return head | {"token": self._token(kind, expected)}

    def _quote(self, bound: bytes) -> dict[str, Any]:
        message = self.tpm.message(extra=hashlib.sha256(bound).digest())
        pcrs = {str(index): value.hex() for index, value in self.tpm.pcrs.items()}
        return {"message": b64(message), "signature": b64(self.tpm.sign(message)), "pcrs": pcrs}

    def _azure(self, bound: bytes) -> dict[str, Any]:
        data = runtime_data(self.tpm)
        hardware = self.amd.report(report_data=hashlib.sha256(data).digest() + bytes(32))
        certificates = [b64(der) for der in self.amd.certificates]
        return {"hcl_report": b64(hcl_report(hardware, data)), "certificates": certificates, "td_quote": "",
                **self._quote(bound)}  # fmt: skip

    def _token(self, kind: str, expected: Binding) -> str:
        bound = expected.report_data()
        spelled = _url(bound)
        match kind:
            case "maa":
                nonce = base64.b64encode(spelled.encode()).decode()
                return self.issuer.sign(maa_claims(**{"x-ms-runtime/client-payload/nonce": nonce}))
            case "confidential-space":
                return self.issuer.sign(space_claims(eat_nonce=[spelled]))
            case "trust-authority":
                held = {
                    "tdx/attester_held_data": base64.b64encode(bound).decode(),
                    "tdx/tdx_report_data": hashlib.sha512(b"noncetime" + bound).hexdigest(),
                }
                return self.issuer.sign(authority_claims(**held), alg="PS384")
            case "nras":
                nonce = expected.device_nonce().hex()
                device = self.nras.sign(device_claims(eat_nonce=nonce), alg="ES384")
                return detached(self.nras, {"GPU-0": device}, eat_nonce=nonce)
            case _:
                return self.issuer.sign(ear_claims(eat_nonce=spelled))


def another_tpm() -> FakeTpm:
    return FakeTpm(rsa_key(9))
