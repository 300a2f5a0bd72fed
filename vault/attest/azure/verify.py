"""A confidential VM's vTPM quote and what vouches for it → claims, or the name of the first check that fails.

The chain: AMD's or Intel's root → report or quote → (report_data = SHA-256 of the runtime data) → the vTPM's quoting
key → quote over PCRs and the binding. The vTPM alone is software of whoever made the report: without the hardware
under it, its quote says nothing.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vault.attest.azure.evidence import AzureEvidence, parse_evidence
from vault.attest.azure.hcl import SNP, HclReport, parse_hcl
from vault.attest.binding import Binding
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.snp.endorsed import brought_endorsement, with_endorsement
from vault.attest.snp.policy import SnpPolicy, SnpTrust
from vault.attest.snp.verify import verify_snp
from vault.attest.tdx.collateral import Collateral
from vault.attest.tdx.pck import ROOTS as INTEL_ROOTS
from vault.attest.tdx.pck import Pck
from vault.attest.tdx.quote import Quote
from vault.attest.tdx.verify import TdxPolicy, claims_of, verified_quote
from vault.attest.tpm.quote import TpmQuote, check_bound, check_tpm_quote
from vault.attest.tpm.verify import check_pcrs, tpm_claims

KIND = "azure-vtpm"


@dataclass(frozen=True, slots=True)
class AzureTrust:
    """Anchors and collateral of both kinds of hardware; collateral by FMSPC."""

    snp: SnpTrust = field(default_factory=SnpTrust)
    intel_roots: Collection[str] = INTEL_ROOTS
    collateral: Mapping[bytes, Collateral] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AzurePolicy:
    """Policies of the hardware under the vTPM, and admitted values of each PCR named. `secure_boot`: must be on."""

    snp: SnpPolicy = field(default_factory=SnpPolicy)
    tdx: TdxPolicy = field(default_factory=TdxPolicy)
    pcrs: Mapping[int, Collection[bytes]] = field(default_factory=dict)
    secure_boot: bool = False


def verify_azure(
    evidence: AzureEvidence, trust: AzureTrust, policy: AzurePolicy, report_data: bytes | None, now_ms: int
) -> Claims:
    """Claims of a vTPM that genuine hardware vouches for.

    `report_data` is what the vTPM's extraData must commit to; None looks at none, and the claims say `bound` false.
    """
    hcl = parse_hcl(evidence.hcl_report)
    if hcl.type == SNP:
        hardware = verify_snp(
            hcl.hardware, evidence.certificates, trust.snp, policy.snp, hcl.report_data, now_ms
        )  # fmt: skip
    else:
        quote, pck = verified_td(evidence, hcl, trust.intel_roots, now_ms)
        hardware = claims_of(
            quote, pck, trust.collateral.get(pck.fmspc), trust.intel_roots, policy.tdx, hcl.report_data, now_ms
        )  # fmt: skip
    checked = checked_vtpm(evidence, hcl, policy, report_data)
    return replace(hardware, kind=KIND, platform=dict(hardware.platform) | _platform(
        hcl, checked, evidence, bound=report_data is not None))  # fmt: skip


def verified_td(evidence: AzureEvidence, hcl: HclReport, roots: Collection[str], now_ms: int) -> tuple[Quote, Pck]:
    """The quote under a vTPM, signed by a certified platform at whatever TCB, and over this runtime data."""
    if evidence.td_quote is None:
        raise refuse(Refusal.MALFORMED, "a TDX paravisor's report without a quote")
    quote, pck = verified_quote(evidence.td_quote, roots, now_ms)
    if quote.report_data != hcl.report_data:
        raise refuse(Refusal.BINDING, "the quote is not over this runtime data")
    return quote, pck


def checked_vtpm(evidence: AzureEvidence, hcl: HclReport, policy: AzurePolicy, report_data: bytes | None) -> TpmQuote:
    """The vTPM's quote by the key of the runtime data, which hardware must have vouched for before."""
    quote = check_tpm_quote(evidence.message, evidence.signature, evidence.pcrs, hcl.quoting_key)
    if policy.secure_boot and hcl.configuration.get("secure-boot") is not True:
        raise refuse(Refusal.POLICY, "secure boot is off")
    check_pcrs(quote, evidence.pcrs, policy.pcrs)
    if report_data is not None:
        check_bound(quote, report_data)
    return quote


def _platform(hcl: HclReport, quote: TpmQuote, evidence: AzureEvidence, *, bound: bool) -> dict[str, object]:
    said = hcl.configuration
    return tpm_claims(quote, evidence.pcrs) | {
        "bound": bound,
        "hcl_version": hcl.version,
        "secure_boot": said.get("secure-boot") is True,
        "console": said.get("console-enabled") is True,
        "vm_id": str(said.get("vmUniqueId", ""))[:64],
        "user_data": hcl.user_data[:128],
    }


class AzureVerifier:
    """The port `Verifier` over `verify_azure`: the vTPM's quote must carry the expected binding."""

    def __init__(self, trust: AzureTrust, policy: AzurePolicy) -> None:
        self._trust = trust
        self._policy = policy

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:
        parsed, brought = parse_evidence(evidence), brought_endorsement(evidence)
        claims = verify_azure(parsed, self._trust, self._policy, expected.report_data(), now_ms)
        return with_endorsement(claims, brought, self._trust.snp.releases, now_ms)
