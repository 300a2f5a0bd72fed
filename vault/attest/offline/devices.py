"""Device reports out of files: one with its chain, or a list of NVIDIA's tools."""

from vault.attest.claims import Claims
from vault.attest.documents import json_object
from vault.attest.nvidia.evidence import parse_evidence, parse_list
from vault.attest.nvidia.verify import ROOTS, NvidiaPolicy, verify_nvidia
from vault.attest.offline.contents import Presented, binary, ders, is_json


def device_claims(presented: Presented) -> list[Claims]:
    """The claims of each device; one refused refuses all."""
    lists = () if presented.collateral is None else (presented.collateral,)
    return [
        verify_nvidia(report, chain, ROOTS, NvidiaPolicy(), presented.expected, presented.at_ms, lists)
        for report, chain in devices(presented)
    ]


def devices(presented: Presented) -> list[tuple[bytes, list[bytes]]]:
    """Report and DER certificates of each device in the files."""
    if presented.evidence.lstrip().startswith(b"["):
        return parse_list(presented.evidence)
    if is_json(presented.evidence):
        return [parse_evidence(json_object(presented.evidence, "evidence"))]
    return [(binary(presented.evidence), [der for content in presented.endorsements for der in ders(content)])]
