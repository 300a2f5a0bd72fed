"""An enrolled TPM's quote → claims, or the name of the first check that fails. No network, no clock, no state.

There is no root for all TPMs: a key is trusted because it was enrolled, by the hash of its public key. The claims never
say `hardware`: a TPM measures what was loaded and keeps no memory secret from whoever runs the machine.

    {"kind":"tpm","version":1,"key": base64 SPKI,"message": base64,"signature": base64,"pcrs": {"0": hex, …}}
"""

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from vault.attest.binding import Binding
from vault.attest.claims import Claims, Refusal, refuse
from vault.attest.fields import base64_field
from vault.attest.tpm.quote import (
    MAX_MESSAGE,
    MAX_SIGNATURE,
    PCRS,
    AttestationKey,
    TpmQuote,
    check_bound,
    check_tpm_quote,
    load_key,
)

KIND = "tpm"
VERSION = 1
_FIELDS = {"kind", "version", "key", "message", "signature", "pcrs"}
_PCR = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class TpmPolicy:
    """`pcrs`: admitted values of each index that must be quoted. `boots`: (resetCount, restartCount, clock) last seen
    of a key, by its hash: a TPM that is behind them was put back, or is a copy of its state.
    """

    pcrs: Mapping[int, Collection[bytes]] = field(default_factory=dict)
    boots: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TpmEvidence:
    """Evidence of one machine, not verified. `key` is SubjectPublicKeyInfo."""

    key: bytes
    message: bytes
    signature: bytes
    pcrs: Mapping[int, bytes]


def verify_tpm(
    evidence: TpmEvidence, enrolled: Collection[str], policy: TpmPolicy, report_data: bytes | None
) -> Claims:
    """Claims of a quote of an enrolled key (`enrolled`: SHA-256 of its SPKI, hex).

    `report_data` is what extraData must commit to; None looks at none, and the claims then say `bound` false.
    """
    if not enrolled:
        raise refuse(Refusal.NO_TRUST, "no attestation key is enrolled")
    key = load_key(evidence.key)
    name = key_name(key)
    if name not in enrolled:
        raise refuse(Refusal.CHAIN, "attestation key is not enrolled")
    quote = check_tpm_quote(evidence.message, evidence.signature, evidence.pcrs, key)
    if set(evidence.pcrs) != set(quote.selection):
        raise refuse(Refusal.MEASUREMENT, "PCRs that the quote is not over")
    _check_boot(quote, policy.boots.get(name))
    check_pcrs(quote, evidence.pcrs, policy.pcrs)
    if report_data is not None:
        check_bound(quote, report_data)
    return Claims(
        KIND, "tpm", quote.pcr_digest.hex(), debug=False, hardware=False, synthetic_only=False,
        platform={"bound": report_data is not None, "key": name} | tpm_claims(quote, evidence.pcrs),
    )  # fmt: skip


def key_name(key: AttestationKey) -> str:
    """What an attestation key is enrolled by: SHA-256 of its SubjectPublicKeyInfo, hex."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def check_pcrs(quote: TpmQuote, pcrs: Mapping[int, bytes], admitted: Mapping[int, Collection[bytes]]) -> None:
    """`Refused("attest.measurement")` unless each index named was quoted, with an admitted value."""
    for index, values in admitted.items():
        if index not in quote.selection or pcrs[index] not in values:
            raise refuse(Refusal.MEASUREMENT, f"PCR{index}")


def tpm_claims(quote: TpmQuote, pcrs: Mapping[int, bytes]) -> dict[str, Any]:
    """What a checked quote adds to a platform's claims; PCRs that are not zero."""
    return {
        "clock": quote.clock,
        "reset_count": quote.reset_count,
        "restart_count": quote.restart_count,
        "firmware": f"{quote.firmware:016x}",
        "extra_data": quote.extra_data.hex(),
        "pcr_digest": quote.pcr_digest.hex(),
        **{f"pcr{index}": pcrs[index].hex() for index in quote.selection if any(pcrs[index])},
    }


def _check_boot(quote: TpmQuote, last: tuple[int, int, int] | None) -> None:
    if last is not None and (quote.reset_count, quote.restart_count, quote.clock) < last:
        raise refuse(Refusal.PLATFORM, "the TPM's clock went back")


def parse_evidence(evidence: Mapping[str, Any]) -> TpmEvidence:
    """From our own form; `malformed` or `unknown-version`."""
    if set(evidence) != _FIELDS or evidence["kind"] != KIND:
        raise refuse(Refusal.MALFORMED, f"exactly the fields {', '.join(sorted(_FIELDS))}")
    if type(evidence["version"]) is not int or evidence["version"] != VERSION:
        raise refuse(Refusal.UNKNOWN_VERSION, "evidence")
    return TpmEvidence(
        base64_field(evidence, "key", MAX_MESSAGE),
        base64_field(evidence, "message", MAX_MESSAGE),
        base64_field(evidence, "signature", MAX_SIGNATURE),
        _pcrs(evidence["pcrs"]),
    )


def _pcrs(value: object) -> dict[int, bytes]:
    names = {str(index) for index in range(PCRS)}
    if not isinstance(value, dict) or not set(value) <= names:
        raise refuse(Refusal.MALFORMED, "pcrs")
    if not all(isinstance(text, str) and _PCR.fullmatch(text) for text in value.values()):
        raise refuse(Refusal.MALFORMED, "pcrs")
    return {int(index): bytes.fromhex(text) for index, text in value.items()}


class TpmVerifier:
    """The port `Verifier` over `verify_tpm`: the quote must carry the expected binding."""

    def __init__(self, enrolled: Collection[str], policy: TpmPolicy) -> None:
        self._enrolled = enrolled
        self._policy = policy

    def verify(self, evidence: Mapping[str, Any], expected: Binding, now_ms: int) -> Claims:  # noqa: ARG002
        return verify_tpm(parse_evidence(evidence), self._enrolled, self._policy, expected.report_data())
