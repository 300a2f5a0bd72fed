"""One name of a kind → its verifier, over files. The table is closed: another name is `unknown-kind`.

Trust is what the package pins, and what the person at the command line brings as endorsement; policies are the
defaults, so a question of the doctrine's (measurement, provider, chip) is a claim in the answer and not a verdict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from vault.attest.azure.evidence import AzureEvidence, parse_trustee
from vault.attest.azure.evidence import parse_evidence as parse_azure
from vault.attest.azure.hcl import SNP, parse_hcl
from vault.attest.azure.verify import KIND as AZURE
from vault.attest.azure.verify import AzurePolicy, AzureTrust, checked_vtpm, verified_td, verify_azure
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.fields import base64_field
from vault.attest.nitro.document import MAX_DOCUMENT, parse_document
from vault.attest.nitro.verify import ROOTS as AWS_ROOTS
from vault.attest.nitro.verify import NitroPolicy, verify_nitro
from vault.attest.nvidia.verify import KIND as NVIDIA
from vault.attest.offline.contents import Presented, binary, bounded, ders, is_json
from vault.attest.offline.devices import device_claims
from vault.attest.offline.tokens import TOKENS
from vault.attest.sample import verify_sample
from vault.attest.snp.amd import amd_certificates
from vault.attest.snp.endorsed import Releases, brought_endorsement, with_endorsement
from vault.attest.snp.evidence import parse_evidence as parse_snp
from vault.attest.snp.evidence import parse_tsm
from vault.attest.snp.policy import SnpPolicy, SnpTrust
from vault.attest.snp.verify import verify_snp
from vault.attest.tdx.collateral import Collateral, parse_collateral
from vault.attest.tdx.eventlog import MAX_LOG
from vault.attest.tdx.pck import ROOTS as INTEL_ROOTS
from vault.attest.tdx.quote import MAX_QUOTE
from vault.attest.tdx.verify import TdxPolicy, verified_quote, verify_tdx
from vault.attest.tpm.quote import load_key, parse_tpm_quote
from vault.attest.tpm.verify import TpmEvidence, TpmPolicy, key_name, verify_tpm
from vault.attest.tpm.verify import parse_evidence as parse_tpm

SNP_POLICY = SnpPolicy(providers=None)
AZURE_POLICY = AzurePolicy(snp=SNP_POLICY)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What held. `claims` as a session would see them; `appraised` False: signatures only, no session could follow."""

    claims: Mapping[str, Any]
    appraised: bool = True


def verify_files(kind: str, presented: Presented) -> Verdict:
    """The verdict on evidence of `kind`, or `Refused` with a name of `Refusal`."""
    verifier = KINDS.get(kind)
    if verifier is None:
        raise refuse(Refusal.UNKNOWN_KIND, f"one of {', '.join(sorted(KINDS))} expected")
    bounded(presented.evidence, "evidence")
    for content in (*presented.endorsements, presented.collateral or b""):
        bounded(content, "endorsement or collateral")
    return verifier(presented)


def _of(claims: Claims) -> Verdict:
    return Verdict(claims.as_document())


def _certificates(presented: Presented) -> list[bytes]:
    return [der for content in presented.endorsements for der in ders(content)]


def _sample(presented: Presented) -> Verdict:
    return _of(verify_sample(json_object(presented.evidence, "evidence"), presented.report_data))


def _amd(presented: Presented) -> SnpTrust:
    lists = (presented.collateral,) if presented.collateral else ()
    return SnpTrust(certificates=amd_certificates(), revocations=lists)


def _snp(presented: Presented) -> Verdict:
    report, certificates = binary(presented.evidence), list[bytes]()
    if is_json(presented.evidence):
        document = json_object(presented.evidence, "evidence")
        report, certificates = parse_snp(document) if "kind" in document else parse_tsm(document)
    certificates += _certificates(presented)
    claims = verify_snp(report, certificates, _amd(presented), SNP_POLICY, presented.report_data, presented.at_ms)
    return _of(_endorsed(claims, presented))


def _endorsed(claims: Claims, presented: Presented) -> Claims:
    """Whom to believe about releases is a zone's word: without one, a statement inside evidence refuses it."""
    document = json_object(presented.evidence, "evidence") if is_json(presented.evidence) else {}
    return with_endorsement(claims, brought_endorsement(document), Releases(), presented.at_ms)


def _nitro(presented: Presented) -> Verdict:
    raw = binary(presented.evidence)
    if is_json(presented.evidence):
        raw = base64_field(json_object(presented.evidence, "evidence"), "document", MAX_DOCUMENT)
    now_ms = parse_document(raw).timestamp if presented.now_ms is None else presented.now_ms
    return _of(verify_nitro(raw, AWS_ROOTS, NitroPolicy(), presented.expected, now_ms))


def _quote(presented: Presented) -> tuple[bytes, bytes | None]:
    """A quote, and the event log when it came with it or as an endorsement."""
    log = presented.endorsements[0] if presented.endorsements else None
    if not is_json(presented.evidence):
        return binary(presented.evidence), log
    document = json_object(presented.evidence, "evidence")
    listed = base64_field(document, "event_log", MAX_LOG) if "event_log" in document else b""
    return base64_field(document, "quote", MAX_QUOTE), listed or log


def _intel(content: bytes) -> Collateral:
    return parse_collateral(json_object(content, "collateral", Refusal.COLLATERAL))


def _tdx(presented: Presented) -> Verdict:
    raw, log = _quote(presented)
    collateral = None if presented.collateral is None else _intel(presented.collateral)
    return _of(
        verify_tdx(raw, collateral, INTEL_ROOTS, TdxPolicy(), presented.report_data, presented.at_ms, log)
    )  # fmt: skip


def _tdx_quote(presented: Presented) -> Verdict:
    """Signatures alone: whatever the TCB, whatever the attributes. It gives no claims that admit anything."""
    quote, pck = verified_quote(_quote(presented)[0], INTEL_ROOTS, presented.at_ms)
    if presented.report_data is not None and quote.report_data != presented.report_data:
        raise refuse(Refusal.BINDING, "report_data is another")
    signed = {"tee": "tdx", "measurement": quote.mrtd.hex(), "fmspc": pck.fmspc.hex()}
    return Verdict(signed | {"report_data": quote.report_data.hex()}, appraised=False)


def _azure_evidence(presented: Presented) -> AzureEvidence:
    document = json_object(presented.evidence, "evidence")
    found = parse_azure(document) if document.get("kind") == AZURE else parse_trustee(document)
    return replace(found, certificates=(*found.certificates, *_certificates(presented)))


def _azure(presented: Presented) -> Verdict:
    """Collateral is a revocation list of AMD's, or Intel's collateral, whichever the hardware under the vTPM is."""
    evidence = _azure_evidence(presented)
    if parse_hcl(evidence.hcl_report).type == SNP:
        trust = AzureTrust(snp=_amd(presented))
    else:
        fmspc = verified_quote(evidence.td_quote or b"", INTEL_ROOTS, presented.at_ms)[1].fmspc
        listed = {} if presented.collateral is None else {fmspc: _intel(presented.collateral)}
        trust = AzureTrust(collateral=listed)
    claims = verify_azure(evidence, trust, AZURE_POLICY, presented.expected, presented.at_ms)
    return _of(_endorsed(claims, presented))


def _azure_quote(presented: Presented) -> Verdict:
    """Signatures and their chain alone, for TDX under a vTPM without collateral: no claims that admit anything."""
    evidence = _azure_evidence(presented)
    hcl = parse_hcl(evidence.hcl_report)
    if hcl.type == SNP:
        return _azure(presented)
    quote, pck = verified_td(evidence, hcl, INTEL_ROOTS, presented.at_ms)
    checked = checked_vtpm(evidence, hcl, AZURE_POLICY, presented.expected)
    signed = {"tee": "tdx", "measurement": quote.mrtd.hex(), "fmspc": pck.fmspc.hex()}
    return Verdict(signed | {"extra_data": checked.extra_data.hex()}, appraised=False)


def _tpm(presented: Presented) -> Verdict:
    """Evidence in our form with the key as endorsement; or a quote's message with signature, key and PCR values."""
    if is_json(presented.evidence):
        evidence, keys = parse_tpm(json_object(presented.evidence, "evidence")), presented.endorsements
    else:
        if len(presented.endorsements) < 3:
            raise refuse(Refusal.MALFORMED, "a quote needs its signature, key and PCR values, in this order")
        signature, key, values = presented.endorsements[:3]
        pcrs = _in_order(values, parse_tpm_quote(presented.evidence).selection)
        evidence, keys = TpmEvidence(key, presented.evidence, signature, pcrs), (key,)
    enrolled = frozenset(key_name(load_key(key)) for key in keys)
    expected = presented.expected
    if expected is None and len(presented.endorsements) > 3:
        expected = binary(presented.endorsements[3])
    return _of(verify_tpm(evidence, enrolled, TpmPolicy(), expected))


def _in_order(values: bytes, selection: tuple[int, ...]) -> dict[int, bytes]:
    if len(values) != 32 * len(selection):
        raise refuse(Refusal.MEASUREMENT, "PCR values are not as many as the quote is over")
    return {index: values[32 * at : 32 * at + 32] for at, index in enumerate(selection)}


def _nvidia(presented: Presented) -> Verdict:
    """One device's claims, or those of all devices of a list."""
    found = [claims.as_document() for claims in device_claims(presented)]
    return Verdict(found[0] if len(found) == 1 else {"kind": NVIDIA, "devices": found})


def _token(verifier: Callable[[Presented], Claims]) -> Callable[[Presented], Verdict]:
    return lambda presented: _of(verifier(presented))


KINDS: Mapping[str, Callable[[Presented], Verdict]] = {
    "sample": _sample,
    "snp": _snp,
    "tdx": _tdx,
    "tdx-quote": _tdx_quote,
    "nitro": _nitro,
    AZURE: _azure,
    "azure-vtpm-quote": _azure_quote,
    "tpm": _tpm,
    NVIDIA: _nvidia,
    **{name: _token(verifier) for name, verifier in TOKENS.items()},
}
