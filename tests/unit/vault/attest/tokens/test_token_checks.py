"""Tokens: genuine ones of each issuer give claims, and every check has a token that only it refuses."""

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.fakes.attest_pki import NOW_MS, Shape, ec_key, issue, rsa_key
from tests.fakes.attest_tokens import (
    BOUND,
    MAA,
    NOW_S,
    REMOVED,
    FakeIssuer,
    authority_claims,
    b64,
    detached,
    device_claims,
    ear_claims,
    maa_claims,
    space_claims,
)
from vault.attest.claims import Claims, Refusal
from vault.attest.tokens.confidential_space import SpacePolicy, SpaceTrust, verify_confidential_space
from vault.attest.tokens.ear import ALGORITHMS, EarPolicy, verify_ear
from vault.attest.tokens.jose import parse_keys
from vault.attest.tokens.maa import MaaPolicy, verify_maa
from vault.attest.tokens.nras import NrasPolicy, verify_nras
from vault.attest.tokens.trust_authority import TrustAuthorityPolicy, verify_trust_authority
from vault.errors import Refused

ISSUER = FakeIssuer()
P384 = FakeIssuer(ec_key())
TEE = "x-ms-isolation-tee/"


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(Refused) as caught:
        call()
    return Refusal(caught.value.reason).removeprefix("attest.")


def maa(
    token: Any = None, policy: Any = None, bound: Any = BOUND, *, now_ms: Any = NOW_MS,
    issuers: Any = None, **changes: Any,
) -> Claims:  # fmt: skip
    said = ISSUER.sign(maa_claims(**changes)) if token is None else token
    return verify_maa(said, {MAA: ISSUER.keys} if issuers is None else issuers, policy or MaaPolicy(), bound, now_ms)


def space(policy: Any = None, bound: Any = BOUND, **changes: Any) -> Claims:
    token = ISSUER.sign(space_claims(**changes))
    return verify_confidential_space(token, SpaceTrust((), ISSUER.keys), policy or SpacePolicy(), bound, NOW_MS)


def ear(policy: Any = None, bound: Any = BOUND, **changes: Any) -> Claims:
    token = P384.sign(ear_claims(**changes), alg="ES384")
    return verify_ear(token, P384.keys, ALGORITHMS, policy or EarPolicy(), bound, NOW_MS)


def authority(policy: Any = None, bound: Any = BOUND, **changes: Any) -> Claims:
    token = ISSUER.sign(authority_claims(**changes), alg="PS384")
    return verify_trust_authority(token, ISSUER.keys, policy or TrustAuthorityPolicy(), bound, NOW_MS)


def nras(policy: Any = None, bound: Any = BOUND, device: Any = None, **changes: Any) -> Claims:
    devices = {"GPU-0": P384.sign(device_claims(**(device or {})), alg="ES384")}
    return verify_nras(detached(P384, devices, **changes), P384.keys, policy or NrasPolicy(), bound, NOW_MS)


def test_genuine_tokens_give_claims() -> None:
    for claims, kind, tee in (
        (maa(), "maa", "sev-snp"), (space(), "confidential-space", "GCP_INTEL_TDX"), (ear(), "ear", "ear"),
        (authority(), "trust-authority", "tdx"), (nras(), "nras", "nvidia"),
    ):  # fmt: skip
        assert (claims.kind, claims.tee, claims.hardware, claims.debug) == (kind, tee, True, False)
        assert claims.platform["bound"] is True
    for unbound in (maa, space, ear, authority, nras):
        assert unbound(bound=None).platform["bound"] is False
        assert refusal(lambda call=unbound: call(bound=b"\1" * 64)) == "binding"  # type: ignore[misc]


# --- what any token can be refused for, shown on one kind


def test_a_header_cannot_choose_the_key() -> None:
    jwk = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
    headers: tuple[dict[str, Any], ...] = (
        {"jwk": jwk}, {"x5u": "https://x"}, {"x5c": []}, {"crit": ["exp"]}, {"zip": "DEF"}, {"b64": False},
        {"jku": "https://evil/certs"}, {"x5t": "a"},
    )  # fmt: skip
    for header in headers:
        assert refusal(lambda h=header: maa(ISSUER.sign(maa_claims(), header=h))) == "malformed"  # type: ignore[misc]
    assert maa(ISSUER.sign(maa_claims(), header={"jku": f"{MAA}/certs"}))


def test_algorithms_are_the_issuers() -> None:
    claims = maa_claims()
    for alg in ("none", "HS256", "PS256", "RS384", "RS1", "", 1, REMOVED):
        token = ISSUER.sign(claims, header={"alg": alg})
        assert refusal(lambda t=token: maa(t)) == "algorithm"  # type: ignore[misc]
    # The public key as an HMAC secret.
    head, body = b64(json.dumps({"alg": "HS256", "kid": "k1"}).encode()), b64(json.dumps(claims).encode())
    mac = hmac.HMAC(b"-----BEGIN PUBLIC KEY-----", hashes.SHA256())
    mac.update(f"{head}.{body}".encode())
    assert refusal(lambda: maa(f"{head}.{body}.{b64(mac.finalize())}")) == "algorithm"
    # An algorithm of the issuer's with a key of another kind or strength.
    small = FakeIssuer(rsa.generate_private_key(65537, 1024))
    assert refusal(lambda: maa(small.sign(claims), issuers={MAA: small.keys})) == "algorithm"
    assert refusal(lambda: maa(issuers={MAA: P384.keys})) == "algorithm"
    token = P384.sign(ear_claims(), alg="ES384", header={"alg": "ES256"})
    assert refusal(lambda: verify_ear(token, P384.keys, ALGORITHMS, EarPolicy(), BOUND, NOW_MS)) == "algorithm"


def test_keys() -> None:
    other = FakeIssuer(rsa.generate_private_key(65537, 2048))
    assert refusal(lambda: maa(other.sign(maa_claims()))) == "signature"
    assert refusal(lambda: maa(ISSUER.sign(maa_claims(), header={"kid": "k2"}))) == "chain"
    assert refusal(lambda: maa(ISSUER.sign(maa_claims(), header={"kid": ["k1"]}))) == "chain"
    assert refusal(lambda: maa(issuers={})) == "no-trust"
    assert refusal(lambda: maa(issuers={MAA: ()})) == "no-trust"
    assert refusal(lambda: maa(issuers={MAA: ISSUER.keys * 2})) == "chain"
    assert refusal(lambda: maa(iss="https://other.weu.attest.azure.net")) == "chain"


def test_form() -> None:
    genuine = ISSUER.sign(maa_claims())
    head, body, signature = genuine.split(".")
    for token in ("", "a.b", f"{genuine}.x", f"{head}=.{body}.{signature}", f"{head}.{body}.{signature}=", "é.é.é",
                  f"{head}.{body}. {signature}", f"{head[:-1]}.{body}.{signature}", f"..{signature}",
                  f"{b64(b'[]')}.{body}.{signature}", "a" * 20_000):  # fmt: skip
        assert refusal(lambda t=token: maa(t)) == "malformed"  # type: ignore[misc]
    twice = json.dumps(maa_claims()).encode()[:-1] + b',"iss":"https://evil"}'
    assert refusal(lambda: maa(ISSUER.sign(twice))) == "malformed"
    assert refusal(lambda: maa(ISSUER.sign(b"[" * 5000))) == "malformed"
    assert refusal(lambda: maa(f"{head}.{body}.")) == "signature"
    for at in range(0, len(genuine), 97):
        if genuine[at] != ".":
            wrong = genuine[:at] + ("A" if genuine[at] != "A" else "B") + genuine[at + 1 :]
            assert refusal(lambda t=wrong: maa(t))  # type: ignore[misc]


def test_times() -> None:
    assert refusal(lambda: maa(exp=NOW_S)) == "expired"
    assert refusal(lambda: maa(exp=NOW_S - 1)) == "expired"
    assert refusal(lambda: maa(iat=NOW_S + 61)) == "expired"
    assert refusal(lambda: maa(nbf=NOW_S + 61)) == "expired"
    assert maa(iat=NOW_S + 60, nbf=NOW_S + 60)
    assert refusal(lambda: maa(policy=MaaPolicy(max_age_s=59))) == "expired"
    for name in ("exp", "iat"):
        for value in (REMOVED, "soon", True, -1, 1.5, 1 << 60):
            assert refusal(lambda n=name, v=value: maa(**{n: v})) == "malformed"  # type: ignore[misc]


def test_keys_of_a_set() -> None:
    public = rsa_key(8).public_key().public_numbers()
    jwk = {"kty": "RSA", "kid": "k1", "e": "AQAB", "n": b64(public.n.to_bytes(256, "big"))}
    assert maa(issuers={MAA: parse_keys({"keys": [jwk]})})
    assert parse_keys(jwk)[0].kid == "k1"
    wrong: tuple[tuple[Any, str], ...] = (
        ({"keys": [jwk | {"d": "AQ"}]}, "malformed"), ({"keys": [{"kty": "oct", "k": "AQ"}]}, "malformed"),
        ({"keys": [{"kty": "OKP"}]}, "algorithm"), ({"keys": [1]}, "malformed"), ({"keys": 1}, "malformed"),
        ({"keys": [jwk] * 65}, "malformed"), ({"keys": [{"kty": "RSA"}]}, "malformed"),
        ({"keys": [{"kty": "EC", "crv": "P-256", "x": "AQ", "y": "AQ"}]}, "malformed"), ({}, "algorithm"),
    )  # fmt: skip
    for document, name in wrong:
        assert refusal(lambda d=document: parse_keys(d)) == name  # type: ignore[misc]


# --- each kind's own checks


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({TEE[:-1]: REMOVED}, "unknown-kind"), ({TEE + "x-ms-attestation-type": "sgx"}, "unknown-kind"),
     ({TEE[:-1]: 1}, "malformed"), ({TEE + "x-ms-compliance-status": "no"}, "policy"),
     ({TEE + "x-ms-sevsnpvm-is-debuggable": True}, "debug"), ({TEE + "x-ms-sevsnpvm-is-debuggable": REMOVED}, "debug"),
     ({TEE + "x-ms-sevsnpvm-migration-allowed": True}, "policy"), ({TEE + "x-ms-sevsnpvm-vmpl": 1}, "vmpl"),
     ({TEE + "x-ms-sevsnpvm-launchmeasurement": REMOVED}, "malformed"),
     ({"x-ms-azurevm-kerneldebug-enabled": True}, "debug"), ({"x-ms-azurevm-bootdebug-enabled": "no"}, "debug"),
     ({"x-ms-runtime": REMOVED}, "binding"), ({"x-ms-runtime/client-payload": {}}, "binding"),
     ({"x-ms-runtime/client-payload/nonce": "!"}, "malformed"),
     ({"x-ms-runtime/client-payload/nonce": "/w=="}, "malformed")],
)  # fmt: skip
def test_maa(changes: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: maa(**changes)) == expected


def test_maa_of_a_trust_domain_and_its_lists() -> None:
    tdx = {"x-ms-attestation-type": "tdxvm", "x-ms-compliance-status": "azure-compliant-cvm", "tdx_mrtd": "44" * 48,
           "tdx_td_attributes_debug": False, "tdx_mrconfigid": "00" * 48, "tdx_report_data": "33" * 64}  # fmt: skip
    assert maa(**{TEE[:-1]: tdx}).measurement == "44" * 48
    assert refusal(lambda: maa(**{TEE[:-1]: tdx | {"tdx_td_attributes_debug": True}})) == "debug"
    assert refusal(lambda: maa(policy=MaaPolicy(measurements=frozenset()))) == "measurement"
    assert refusal(lambda: maa(policy=MaaPolicy(host_data=frozenset({"00"})))) == "host-data"
    assert refusal(lambda: maa(policy=MaaPolicy(policy_hashes=frozenset()))) == "policy"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"iss": "https://accounts.google.com"}, "chain"), ({"swname": "GCE"}, "unknown-kind"),
     ({"dbgstat": "enabled"}, "debug"), ({"dbgstat": REMOVED}, "debug"), ({"secboot": False}, "policy"),
     ({"hwmodel": "GCP_SHIELDED_VM"}, "platform"), ({"hwmodel": REMOVED}, "malformed"),
     ({"exp": NOW_S}, "expired"), ({"iat": NOW_S + 61}, "expired"), ({"exp": REMOVED}, "malformed"),
     ({"submods/confidential_space/support_attributes": ["EXPERIMENTAL"]}, "policy"),
     ({"submods/confidential_space/support_attributes": REMOVED}, "policy"), ({"submods": REMOVED}, "malformed"),
     ({"submods/container/image_digest": REMOVED}, "malformed"),
     ({"submods/container/env_override": {"A": "b"}}, "policy"),
     ({"submods/container/env_override": []}, "malformed"), ({"submods/container/cmd_override": ["sh"]}, "policy"),
     ({"eat_nonce": []}, "binding"), ({"eat_nonce": REMOVED}, "binding")],
)  # fmt: skip
def test_confidential_space(changes: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: space(**changes)) == expected


def test_confidential_space_lists_and_audiences() -> None:
    assert space(SpacePolicy(audiences=frozenset({"us"})))
    assert space(SpacePolicy(audiences=frozenset({"us"})), aud=["us"])
    assert refusal(lambda: space(SpacePolicy(audiences=frozenset({"us"})), aud=["us", "them"])) == "binding"
    assert refusal(lambda: space(SpacePolicy(audiences=frozenset({"them"})))) == "binding"
    assert refusal(lambda: space(SpacePolicy(images=frozenset()))) == "measurement"
    assert space(SpacePolicy(overrides=frozenset({"A"})), **{"submods/container/env_override": {"A": "b"}})
    assert refusal(lambda: space(SpacePolicy(needs_gpu=True), **{"submods/nvidia_gpu/cc_mode": "OFF"})) == "policy"
    assert (
        refusal(lambda: verify_confidential_space("a.b.c", SpaceTrust(()), SpacePolicy(), None, NOW_MS)) == "no-trust"
    )


@pytest.mark.parametrize("pem", [False, True])
def test_confidential_space_by_certificate(pem: bool) -> None:
    shape: dict[str, Any] = {"hash": hashes.SHA256(), "pss": False}
    root = issue("Root", rsa_key(1), None, Shape(ca=True, **shape))
    leaf = issue("Leaf", rsa_key(8), root, Shape(ca=False, **shape))
    listed = [one.pem.decode() if pem else base64.b64encode(one.der).decode() for one in (leaf, root)]
    trust, policy = SpaceTrust(frozenset({root.pin})), SpacePolicy()

    def verify(x5c: Any, trusted: SpaceTrust = trust, issuer: FakeIssuer = ISSUER) -> Claims:
        token = issuer.sign(space_claims(), header={"x5c": x5c})
        return verify_confidential_space(token, trusted, policy, BOUND, NOW_MS)

    assert verify(listed).hardware
    assert refusal(lambda: verify(listed, SpaceTrust())) == "chain"
    assert refusal(lambda: verify(listed[:1])) == "chain"
    assert refusal(lambda: verify([])) == "chain"
    assert refusal(lambda: verify(["!", "!"])) == "malformed"
    stranger = issue("Leaf", rsa_key(9), None, Shape(ca=False, **shape))
    assert refusal(lambda: verify([base64.b64encode(stranger.der).decode(), listed[1]])) == "chain"
    assert refusal(lambda: verify(listed, issuer=FakeIssuer(rsa_key(9)))) == "signature"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"eat_profile": "tag:other"}, "unknown-version"), ({"submods": {}}, "policy"),
     ({"submods": REMOVED}, "malformed"),
     ({"submods/cpu0/ear.status": "warning"}, "policy"), ({"submods/cpu0/ear.status": 32}, "policy"),
     ({"submods/cpu0/ear.status": "AFFIRMING"}, "policy"), ({"submods/cpu0/ear.status": True}, "policy"),
     ({"submods/cpu0/ear.trustworthiness-vector/hardware": 97}, "policy"),
     ({"submods/cpu0/ear.trustworthiness-vector/hardware": 1}, "policy"),
     ({"submods/cpu0/ear.trustworthiness-vector/hardware": "affirming"}, "policy"),
     ({"submods/cpu0/ear.trustworthiness-vector/more": 2}, "malformed"),
     ({"submods/cpu0/ear.trustworthiness-vector": {}}, "malformed"), ({"ear.verifier-id": {}}, "malformed"),
     ({"iat": NOW_S - 301}, "expired"), ({"exp": NOW_S}, "expired"), ({"eat_nonce": REMOVED}, "binding")],
)  # fmt: skip
def test_ear(changes: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: ear(**changes)) == expected


def test_ear_names_its_submodules_and_what_hardware_it_saw() -> None:
    assert ear(EarPolicy(submodules=frozenset({"cpu0"})))
    assert refusal(lambda: ear(EarPolicy(submodules=frozenset({"cpu0", "gpu0"})))) == "policy"
    assert refusal(lambda: ear(EarPolicy(appraisals=frozenset({"q"})))) == "policy"
    assert ear(**{"submods/cpu0/ear.status": 2}).hardware
    assert ear(**{"submods/cpu0/ear.trustworthiness-vector/hardware": 0}).hardware is False


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"iss": "Intel"}, "chain"), ({"ver": "1.0.0"}, "unknown-version"), ({"tdx": REMOVED}, "unknown-kind"),
     ({"tdx/tdx_is_debuggable": True}, "debug"), ({"tdx/tdx_is_debuggable": REMOVED}, "debug"),
     ({"tdx/attester_tcb_status": "OutOfDate"}, "tcb"), ({"tdx/tdx_mrtd": REMOVED}, "malformed"),
     ({"tdx/tdx_report_data": "00" * 64}, "binding"), ({"tdx/verifier_nonce": 1}, "malformed"),
     ({"tdx/attester_held_data": "!"}, "malformed"), ({"exp": NOW_S}, "expired"),
     ({"iat": NOW_S + 61}, "expired")],
)  # fmt: skip
def test_trust_authority(changes: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: authority(**changes)) == expected


def test_trust_authority_lists() -> None:
    assert authority(TrustAuthorityPolicy(policy_ids=frozenset({"p1"})))
    assert refusal(lambda: authority(TrustAuthorityPolicy(policy_ids=frozenset({"p2"})))) == "policy"
    assert refusal(lambda: authority(TrustAuthorityPolicy(measurements=frozenset()))) == "measurement"


@pytest.mark.parametrize(
    ("device", "expected"),
    [({"dbgstat": "enabled"}, "debug"), ({"measres": "fail"}, "measurement"), ({"secboot": False}, "policy"),
     ({"hwmodel": REMOVED}, "malformed"), ({"eat_nonce": "00" * 32}, "nonce"), ({"iss": "x"}, "chain"),
     ({"exp": NOW_S}, "expired"), ({"x-nvidia-gpu-attestation-report-cert-chain": REMOVED}, "malformed"),
     ({"x-nvidia-gpu-attestation-report-cert-chain/x-nvidia-cert-ocsp-status": "revoked"}, "revoked"),
     ({"x-nvidia-gpu-driver-rim-cert-chain/x-nvidia-cert-status": "expired"}, "chain")],
)  # fmt: skip
def test_nras_devices(device: dict[str, Any], expected: str) -> None:
    assert refusal(lambda: nras(device=device)) == expected


def test_nras_overall() -> None:
    assert refusal(lambda: nras(**{"x-nvidia-overall-att-result": False})) == "measurement"
    assert refusal(lambda: nras(**{"submods/GPU-0": ["DIGEST", ["SHA-256", "00" * 32]]})) == "signature"
    assert refusal(lambda: nras(submods={})) == "policy"
    assert refusal(lambda: nras(NrasPolicy(devices=frozenset({"GPU-0", "GPU-1"})))) == "policy"
    assert refusal(lambda: nras(NrasPolicy(models=frozenset()))) == "platform"
    assert refusal(lambda: nras(bound=BOUND[:31])) == "binding"
    assert refusal(lambda: verify_nras(detached(P384, {}), P384.keys, NrasPolicy(), None, NOW_MS)) == "policy"
    for document in ("", "{}", "[]", '[["JWT"],{}]', '[["JWT","a"],{"GPU-0":1}]', '[["JWT","a"],[]]', "[" * 100_000,
                     " " * 300_000):  # fmt: skip
        assert refusal(lambda d=document: verify_nras(d, P384.keys, NrasPolicy(), None, NOW_MS)) == "malformed"  # type: ignore[misc]
    curve = FakeIssuer(ec_key(ec.SECP256R1()))
    token = detached(curve, {"GPU-0": "x"}).replace("ES384", "ES256")
    assert refusal(lambda: verify_nras(token, curve.keys, NrasPolicy(), None, NOW_MS)) == "algorithm"
