"""TPMS_ATTEST of a quote (TCG TPM 2.0 Library, part 2, §10.12), big-endian, and its check against a key.

    magic FF544347 ‖ type 8018 ‖ TPM2B name of the signer ‖ TPM2B extraData ‖ clock u64 ‖ resetCount u32 ‖
    restartCount u32 ‖ safe u8 ‖ firmware u64 ‖ count u32 (1) ‖ hash u16 ‖ size u8 ‖ PCR bits ‖ TPM2B digest

A TPM signs other structures with the same key (certifications, times), and lets its caller choose extraData in all of
them: magic and type are what make this one a quote.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from vault.attest.claims import Refusal, refuse
from vault.attest.fields import Fields

MAX_MESSAGE = 1024
MAX_SIGNATURE = 512
PCRS = 24
_MAGIC, _QUOTE, _SHA256 = 0xFF544347, 0x8018, 0x000B
_LONGEST_EXTRA = 66  # a TPMT_HA of SHA-512
_MIN_RSA = 2048

AttestationKey = RSAPublicKey | EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class TpmQuote:
    """What a quote says, before anything is believed. `selection`: indices of the SHA-256 bank."""

    signer: bytes
    extra_data: bytes
    clock: int
    reset_count: int
    restart_count: int
    safe: bool
    firmware: int
    selection: tuple[int, ...]
    pcr_digest: bytes


def parse_tpm_quote(message: bytes) -> TpmQuote:
    """`Refused`: `malformed`, `unknown-kind` (another structure of a TPM), `algorithm` (another bank)."""
    if len(message) > MAX_MESSAGE:
        raise refuse(Refusal.MALFORMED, "quote length")
    f = Fields(message, "quote")
    if f.big(4) != _MAGIC:
        raise refuse(Refusal.MALFORMED, "not made inside a TPM")
    if f.big(2) != _QUOTE:
        raise refuse(Refusal.UNKNOWN_KIND, "a TPM's statement that is no quote")
    signer, extra_data = f.take(f.big(2)), f.take(f.big(2))
    if len(extra_data) > _LONGEST_EXTRA:
        raise refuse(Refusal.MALFORMED, "extraData")
    clock, reset_count, restart_count, safe = f.big(8), f.big(4), f.big(4), f.big(1)
    if safe > 1:
        raise refuse(Refusal.MALFORMED, "clock")
    firmware = f.big(8)
    if f.big(4) != 1:
        raise refuse(Refusal.MALFORMED, "one bank of PCRs expected")
    if f.big(2) != _SHA256:
        raise refuse(Refusal.ALGORITHM, "PCR bank")
    selection = _selection(f.take(f.big(1)))
    digest = f.take(f.big(2))
    f.end()
    if len(digest) != 32:
        raise refuse(Refusal.ALGORITHM, "PCR digest")
    return TpmQuote(signer, extra_data, clock, reset_count, restart_count, bool(safe), firmware, selection, digest)


def _selection(bits: bytes) -> tuple[int, ...]:
    selected = tuple(index for index in range(8 * len(bits)) if bits[index // 8] >> index % 8 & 1)
    if not selected or selected[-1] >= PCRS:
        raise refuse(Refusal.MALFORMED, "selection of PCRs")
    return selected


def load_key(raw: bytes) -> AttestationKey:
    """An attestation key, SubjectPublicKeyInfo in PEM or DER: RSA of 2048 bits or more, or ECC P-256."""
    try:
        key = load_pem_public_key(raw) if raw.lstrip().startswith(b"-----") else load_der_public_key(raw)
    except (ValueError, TypeError) as error:
        raise refuse(Refusal.MALFORMED, f"attestation key: {error}") from error
    except UnsupportedAlgorithm as error:
        raise refuse(Refusal.ALGORITHM, f"attestation key: {error}") from error
    if isinstance(key, RSAPublicKey) and key.key_size >= _MIN_RSA:
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return key
    raise refuse(Refusal.ALGORITHM, "attestation key is neither RSA 2048 nor P-256")


def check_tpm_quote(message: bytes, signature: bytes, pcrs: Mapping[int, bytes], key: AttestationKey) -> TpmQuote:
    """The quote, when `key` signed it (RSASSA or ECDSA, SHA-256) and `pcrs` are exactly those it is over.

    `Refused`: those of `parse_tpm_quote`, `signature`, `measurement` (PCR values not those signed), `nonce` (none at
    all: a quote that answers nobody is a replay).
    """
    quote = parse_tpm_quote(message)
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, message, PKCS1v15(), SHA256())
        else:
            key.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature as error:
        raise refuse(Refusal.SIGNATURE, "quote") from error
    if not quote.extra_data:
        raise refuse(Refusal.NONCE, "the quote answers no challenge")
    if not set(quote.selection) <= set(pcrs):
        raise refuse(Refusal.MEASUREMENT, "PCRs that the quote is over are missing")
    values = b"".join(pcrs[index] for index in quote.selection)
    if not hmac.compare_digest(hashlib.sha256(values).digest(), quote.pcr_digest):
        raise refuse(Refusal.MEASUREMENT, "PCRs are not those the quote is over")
    return quote


def check_bound(quote: TpmQuote, expected: bytes) -> None:
    """`Refused("attest.binding")` unless extraData is the binding, or its SHA-256: many TPMs take fewer bytes."""
    forms = (expected, hashlib.sha256(expected).digest())
    if not any(hmac.compare_digest(quote.extra_data, form) for form in forms):
        raise refuse(Refusal.BINDING, "extraData is over another nonce, gateway, key, purpose or scope")
