"""Trust directory + posture → the verifiers of every kind that there is.

Every kind has its verifier always; where nothing is trusted for it, it refuses `no-trust`. So a file that is put in
place, changes or expires counts within seconds, and no process has to start again.

A kind that ends in a maker's root is tried with the package's pins first. Only in a development posture, and only for
what those do not know (`chain`, `no-trust`), it is tried with roots of development, and what holds by these is no
hardware and opens synthetic datasets only.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from vault.attest.admitted.devices import DeviceVerifier
from vault.attest.admitted.tokens import KINDS as TOKENS
from vault.attest.admitted.tokens import TokenVerifier
from vault.attest.admitted.tpm import EnrolledTpmVerifier, FindKey
from vault.attest.azure.verify import KIND as AZURE
from vault.attest.azure.verify import AzurePolicy, AzureTrust, AzureVerifier
from vault.attest.binding import Binding
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.nitro.verify import KIND as NITRO
from vault.attest.nitro.verify import NitroVerifier
from vault.attest.nvidia.verify import KIND as NVIDIA
from vault.attest.sample import KIND as SAMPLE
from vault.attest.sample import SampleVerifier
from vault.attest.snp.amd import amd_certificates
from vault.attest.snp.endorsed import Releases
from vault.attest.snp.evidence import SnpVerifier
from vault.attest.snp.policy import SnpPolicy, SnpTrust
from vault.attest.snp.product import Product
from vault.attest.snp.verify import KIND as SNP
from vault.attest.tdx.collateral import Collateral
from vault.attest.tdx.evidence import TdxVerifier
from vault.attest.tdx.verify import KIND as TDX
from vault.attest.tdx.verify import TdxPolicy
from vault.attest.tokens.confidential_space import KIND as SPACE
from vault.attest.tokens.nras import KIND as NRAS
from vault.attest.tpm.verify import KIND as TPM
from vault.attest.trust.collateral import product_of
from vault.attest.trust.directory import Material, TrustDirectory
from vault.attest.trust.platforms import Platforms
from vault.attest.trust.roots import Roots, roots_of
from vault.attest.verifier import Verifier, Verifiers
from vault.errors import Refused

DEVICES = frozenset({NVIDIA, NRAS})
MACHINES = frozenset({SNP, TDX, NITRO, AZURE, TPM, *TOKENS - {NRAS}})
_NOT_THESE_ROOTS = {Refusal.CHAIN.value, Refusal.NO_TRUST.value}

Build = Callable[[Material, Roots, tuple[bytes, ...], int], Verifier | None]
"""(files, roots, issuers of development, now) → the verifier, None where nothing is trusted for the kind."""


def admitted_verifiers(
    directory: TrustDirectory, *, development: bool, roots: Roots | None = None, find_tpm_key: FindKey | None = None
) -> Verifiers:
    """What a broker admits. `roots`: the package's pins, but in tests. `find_tpm_key`: keys that enrolment wrote."""
    pinned = roots or Roots()
    builders: dict[str, Build] = {**_BUILDERS, TPM: _tpm(find_tpm_key)}

    def admitted(kind: str) -> Verifier:
        return _Admitted(kind, directory, builders[kind], pinned, development=development)

    machines = {kind: admitted(kind) for kind in MACHINES}
    machines[SAMPLE] = SampleVerifier() if development else _Nothing()
    return Verifiers(machines, {kind: admitted(kind) for kind in DEVICES})


class _Nothing:
    """A kind that this posture never admits."""

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:  # noqa: ARG002
        raise refuse(Refusal.NO_TRUST, "not in this posture")


class _Admitted:
    """One kind, with what the directory holds now."""

    def __init__(self, kind: str, directory: TrustDirectory, build: Build, pinned: Roots, *, development: bool) -> None:
        self._kind = kind
        self._directory = directory
        self._build = build
        self._pinned = pinned
        self._development = development

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        material = self._directory.material(now_ms)
        verifier = self._build(material, self._pinned, (), now_ms)
        if verifier is None:
            raise refuse(Refusal.NO_TRUST, f"nothing is trusted for {self._kind}")
        try:
            return verifier.verify(evidence, expected, now_ms)
        except Refused as refused:
            made_up = self._of_development(material, now_ms) if self._development else None
            if made_up is None or refused.reason not in _NOT_THESE_ROOTS:
                raise
            first = refused
        try:
            claims = made_up.verify(evidence, expected, now_ms)
        except Refused as refused:
            raise (first if refused.reason in _NOT_THESE_ROOTS else refused) from None
        return replace(claims, hardware=False, synthetic_only=True)

    def _of_development(self, material: Material, now_ms: int) -> Verifier | None:
        files = [loaded.value for loaded in material.development if loaded.value is not None]
        if not files:
            return None
        issuers = tuple(der for file in files for der in file.issuers)
        return self._build(material, roots_of(files), issuers, now_ms)


def _platforms(material: Material, now_ms: int) -> Platforms:
    return material.platforms.valid(now_ms) or Platforms()


def _snp(material: Material, roots: Roots, issuers: tuple[bytes, ...], now_ms: int) -> Verifier | None:
    policy = _platforms(material, now_ms).snp
    return SnpVerifier(_amd(material, roots, issuers, now_ms), policy) if policy else None


def _amd(material: Material, roots: Roots, issuers: tuple[bytes, ...], now_ms: int) -> SnpTrust:
    """A list counts when it has expired, or cannot be read: it then refuses, rather than being forgotten. A folder that
    cannot be read, and a file of no product's name, may be about any line, and refuse every one."""
    lists: dict[Product, list[bytes]] = {}
    for loaded in material.amd:
        product = product_of(loaded.name.rpartition("/")[2])
        for line in Product if product is None else (product,):
            lists.setdefault(line, []).append(loaded.value.der if loaded.value else b"")
    return SnpTrust(roots.amd, (*issuers, *amd_certificates()), lists=lists, releases=_releases(material, now_ms))


def _releases(material: Material, now_ms: int) -> Releases:
    filed: dict[str, list[bytes]] = {}
    for loaded in material.endorsements:
        if loaded.value is not None:
            filed.setdefault(loaded.value.measurement, []).append(loaded.value.raw)
    return Releases(material.endorsers.valid(now_ms) or (), filed)


def _tdx(material: Material, roots: Roots, issuers: tuple[bytes, ...], now_ms: int) -> Verifier | None:  # noqa: ARG001
    policy = _platforms(material, now_ms).tdx
    return TdxVerifier(_intel(material, now_ms), policy, roots.intel) if policy else None


def _intel(material: Material, now_ms: int) -> dict[bytes, Collateral]:
    found = (loaded.valid(now_ms) for loaded in material.intel)
    return {one.fmspc: one.collateral for one in found if one is not None}


def _nitro(material: Material, roots: Roots, issuers: tuple[bytes, ...], now_ms: int) -> Verifier | None:  # noqa: ARG001
    policy = _platforms(material, now_ms).nitro
    return NitroVerifier(policy, roots.aws) if policy else None


def _azure(material: Material, roots: Roots, issuers: tuple[bytes, ...], now_ms: int) -> Verifier | None:
    """Hardware that has no section has no roots here either."""
    platforms = _platforms(material, now_ms)
    if platforms.azure is None:
        return None
    amd = _amd(material, roots, issuers, now_ms) if platforms.snp else SnpTrust({})
    intel = roots.intel if platforms.tdx else frozenset()
    policy = AzurePolicy(
        platforms.snp or SnpPolicy(), platforms.tdx or TdxPolicy(), secure_boot=platforms.azure.secure_boot
    )
    return AzureVerifier(AzureTrust(amd, intel, _intel(material, now_ms)), policy)


def _nvidia(material: Material, roots: Roots, issuers: tuple[bytes, ...], now_ms: int) -> Verifier | None:  # noqa: ARG001
    rules = _platforms(material, now_ms).devices
    return DeviceVerifier(rules, roots.nvidia, roots.manifests, material.nvidia) if rules else None


def _tpm(find: FindKey | None) -> Build:
    def build(material: Material, roots: Roots, issuers: tuple[bytes, ...], now_ms: int) -> Verifier | None:  # noqa: ARG001
        trusted = material.tpm.valid(now_ms)
        return EnrolledTpmVerifier(trusted.keys if trusted else {}, find)

    return build


def _token(kind: str) -> Build:
    def build(material: Material, roots: Roots, issuers: tuple[bytes, ...], now_ms: int) -> Verifier | None:
        listed = [one for one in material.issuers.valid(now_ms) or () if one.kind == kind]
        if issuers:  # of development: only where a certificate's root decides, never a key that stands in the file
            return TokenVerifier(kind, listed, roots.google) if listed and kind == SPACE else None
        return TokenVerifier(kind, listed) if listed else None

    return build


_BUILDERS: Mapping[str, Build] = {
    SNP: _snp,
    TDX: _tdx,
    NITRO: _nitro,
    AZURE: _azure,
    NVIDIA: _nvidia,
    **{kind: _token(kind) for kind in TOKENS},
}
