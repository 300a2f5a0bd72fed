"""The machine's side of enrolling an attestation key: make it, show whose TPM it is in, answer the challenge.

Everything secret stays in the TPM. The endorsement certificate is the maker's, from the TPM's own NV memory (TCG PC
Client Platform: 0x01c00002 RSA, 0x01c0000a P-256) or from a file.
"""

import base64
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from demesne.errors import NotConfigured
from demesne.evidence.tpm import KEY_HANDLE
from demesne.evidence.tpm_commands import ECC, ENDORSEMENT, NO_HANDLE, RSA, Tpm, TpmError
from demesne.evidence.tpm_public import attestation_template, endorsement_template, subject_public_key

CERTIFICATES = {RSA: 0x01C00002, ECC: 0x01C0000A}


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is sent (`request`), and the algorithm of the endorsement key that the answer will be for."""

    request: dict[str, Any]
    algorithm: int
    key_public: bytes = field(repr=False)


def prepare(
    tpm: Tpm, *, key_handle: int = KEY_HANDLE, endorsement: int = RSA, issuers: Sequence[bytes] = (),
    certificate: bytes | None = None,
) -> Prepared:  # fmt: skip
    """An attestation key at `key_handle`, made if none is there, and who made its TPM.

    issuers: certificates (DER) between the TPM's own and a root the gateway pins. certificate: the TPM's own, where it
    does not lie in its NV memory. Raises NotConfigured, TpmError.
    """
    public = _attestation_key(tpm, key_handle)
    chain = [certificate if certificate is not None else _certificate(tpm, endorsement), *issuers]
    handle = tpm.create_primary(ENDORSEMENT, endorsement_template(endorsement))
    try:
        endorsement_key = tpm.read_public(handle)
    finally:
        tpm.flush(handle)
    request = {
        "endorsement_certificates": [_text(der) for der in chain],
        "endorsement_key": _text(endorsement_key),
        "attestation_key": _text(public),
    }
    return Prepared(request, endorsement, subject_public_key(public))


def activate(tpm: Tpm, prepared: Prepared, blob: bytes, secret: bytes, *, key_handle: int = KEY_HANDLE) -> bytes:
    """The answer to a challenge: what only this TPM, with this very key in it, gives out. Raises TpmError."""
    handle = tpm.create_primary(ENDORSEMENT, endorsement_template(prepared.algorithm))
    try:
        return tpm.activate_credential(key_handle, handle, blob, secret)
    finally:
        tpm.flush(handle)


def _attestation_key(tpm: Tpm, handle: int) -> bytes:
    try:
        return tpm.read_public(handle)
    except TpmError as error:
        if error.rc != NO_HANDLE:
            raise
    # With something random in its template it is a new key each time: one that was retired is never made again. Under
    # the endorsement hierarchy, since a TPM blurs its reset counters in what keys of the owner sign (part 1 §36.7).
    made = tpm.create_primary(ENDORSEMENT, attestation_template(ECC, os.urandom(32)))
    try:
        tpm.persist(made, handle)
    finally:
        tpm.flush(made)
    return tpm.read_public(handle)


def _certificate(tpm: Tpm, algorithm: int) -> bytes:
    index = CERTIFICATES[algorithm]
    try:
        raw = tpm.nv_read(index)
    except TpmError as error:
        if error.rc != NO_HANDLE:
            raise
        raise NotConfigured(
            "evidence.tpm-certificate", f"the TPM has no endorsement certificate at 0x{index:08x}",
            remedy="pass its maker's certificate of it with --ek-certificate",
        ) from error  # fmt: skip
    return _trimmed(raw)


def _trimmed(raw: bytes) -> bytes:
    """One DER object: indices are larger than what is in them."""
    if raw[:1] != b"\x30" or len(raw) < 4:
        return raw
    if raw[1] < 0x80:
        return raw[: 2 + raw[1]]
    width = raw[1] & 0x7F
    return raw[: 2 + width + int.from_bytes(raw[2 : 2 + width], "big")]


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
