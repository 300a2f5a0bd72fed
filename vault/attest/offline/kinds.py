"""One name of a kind → its verifier, over files. The table is closed: another name is `unknown-kind`.

Trust is what the package pins, and what the person at the command line brings as endorsement; policies are the
defaults, so a question of the doctrine's (measurement, provider, chip) is a claim in the answer and not a verdict.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.documents import json_object
from vault.attest.fields import base64_field
from vault.attest.nitro.document import MAX_DOCUMENT, parse_document
from vault.attest.nitro.verify import ROOTS as AWS_ROOTS
from vault.attest.nitro.verify import NitroPolicy, verify_nitro
from vault.attest.offline.contents import Presented, binary, bounded, ders, is_json
from vault.attest.sample import verify_sample
from vault.attest.snp.evidence import parse_evidence as parse_snp
from vault.attest.snp.evidence import parse_tsm
from vault.attest.snp.policy import SnpPolicy, SnpTrust
from vault.attest.snp.verify import verify_snp
from vault.attest.tdx.collateral import parse_collateral
from vault.attest.tdx.eventlog import MAX_LOG
from vault.attest.tdx.pck import ROOTS as INTEL_ROOTS
from vault.attest.tdx.quote import MAX_QUOTE
from vault.attest.tdx.verify import TdxPolicy, verified_quote, verify_tdx

SNP_POLICY = SnpPolicy(providers=None)


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


def _snp(presented: Presented) -> Verdict:
    report, certificates = binary(presented.evidence), list[bytes]()
    if is_json(presented.evidence):
        document = json_object(presented.evidence, "evidence")
        report, certificates = parse_snp(document) if "kind" in document else parse_tsm(document)
    certificates += _certificates(presented)
    trust = SnpTrust(revocations=(presented.collateral,) if presented.collateral else ())
    return _of(verify_snp(report, certificates, trust, SNP_POLICY, presented.report_data, presented.at_ms))


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


def _tdx(presented: Presented) -> Verdict:
    raw, log = _quote(presented)
    if presented.collateral is None:
        collateral = None
    else:
        collateral = parse_collateral(json_object(presented.collateral, "collateral", Refusal.COLLATERAL))
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


KINDS: Mapping[str, Callable[[Presented], Verdict]] = {
    "sample": _sample,
    "snp": _snp,
    "tdx": _tdx,
    "tdx-quote": _tdx_quote,
    "nitro": _nitro,
}
