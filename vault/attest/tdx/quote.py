"""The quote of a trust domain, versions 4 and 5 (Intel TDX DCAP Quoting Library API, appendix A.3).

    header 48 ‖ [v5: u16 body type ‖ u32 body size] ‖ body 584 or 648 ‖ u32 length ‖ signature data
    signature data = signature 64 ‖ attestation key 64 ‖ u16 6 ‖ u32 size ‖
                     quoting enclave's report 384 ‖ its signature 64 ‖ u16 length ‖ authentication data ‖
                     u16 5 ‖ u32 size ‖ PEM chain

What follows the signature data is ignored: kernels and clouds hand out buffers of fixed size, and fill the rest with
what lay there. So two quotes of different bytes may say the same: nothing may be keyed by a quote's hash.
"""

from dataclasses import dataclass

from vault.attest.claims import Refusal, refuse
from vault.attest.fields import Fields

MAX_QUOTE = 16 * 1024
INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_ECDSA_P256 = 2
_TEE_TDX = 0x81
_BODY_LENGTHS = {2: 584, 3: 648}  # TD report 1.0 and 1.5
_QE_CERTIFICATION, _PCK_CHAIN = 6, 5


@dataclass(frozen=True, slots=True)
class EnclaveReport:
    """The SGX report body of the quoting enclave, 384 bytes."""

    raw: bytes
    miscselect: int
    attributes: bytes
    mrsigner: bytes
    isvprodid: int
    isvsvn: int
    report_data: bytes


@dataclass(frozen=True, slots=True)
class Quote:
    """What a quote says, before anything is believed. `rtmrs` are the four runtime registers."""

    version: int
    signed: bytes
    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: bytes
    td_attributes: int
    xfam: int
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmrs: tuple[bytes, bytes, bytes, bytes]
    report_data: bytes
    signature: bytes
    attestation_key: bytes
    qe_report: EnclaveReport
    qe_signature: bytes
    qe_authentication: bytes
    pck_chain: bytes
    tee_tcb_svn2: bytes | None = None
    """TD report 1.5: the TCB now, after updates of the module that left the domain running; None in 1.0."""
    mrservicetd: bytes = bytes(48)


def parse_quote(raw: bytes) -> Quote:
    """`Refused`: `malformed`, `unknown-version`, `unknown-kind`, `algorithm`, `qe-identity`."""
    if len(raw) > MAX_QUOTE:
        raise refuse(Refusal.MALFORMED, f"quote of {len(raw)} bytes")
    f = Fields(raw, "quote")
    version, key_type, tee = f.number(2), f.number(2), f.number(4)
    if version not in {4, 5}:
        raise refuse(Refusal.UNKNOWN_VERSION, f"quote version {version}")
    if tee != _TEE_TDX:
        raise refuse(Refusal.UNKNOWN_KIND, f"TEE type {tee:#x}")
    if key_type != _ECDSA_P256:
        raise refuse(Refusal.ALGORITHM, f"attestation key type {key_type}")
    f.take(4)  # SVNs of the quoting and provisioning enclaves, in some drafts; the certificates say them, signed
    if f.take(16) != INTEL_QE_VENDOR:
        raise refuse(Refusal.QE_IDENTITY, "vendor of the quoting enclave")
    f.take(20)  # user data of the quoting enclave
    body = Fields(f.take(_body_length(f, version)), "body")
    signed, fields = raw[: f.at], _body(body)
    later = (body.take(16), body.take(48)) if body.remaining else (None, bytes(48))
    data = Fields(f.take(f.number(4)), "signature data")
    signature, attestation_key = data.take(64), data.take(64)
    if data.number(2) != _QE_CERTIFICATION:
        raise refuse(Refusal.MALFORMED, "certification data type")
    certification = Fields(data.take(data.number(4)), "certification data")
    data.end()
    qe_report, qe_signature = _enclave_report(certification.take(384)), certification.take(64)
    authentication = certification.take(certification.number(2))
    if certification.number(2) != _PCK_CHAIN:
        raise refuse(Refusal.MALFORMED, "certification data without a PCK chain")
    chain = certification.take(certification.number(4))
    certification.end()
    return Quote(
        version, signed, *fields, signature, attestation_key, qe_report, qe_signature, authentication, chain, *later
    )  # fmt: skip


def _body_length(f: Fields, version: int) -> int:
    if version == 4:
        return _BODY_LENGTHS[2]
    kind, length = f.number(2), f.number(4)
    if kind not in _BODY_LENGTHS:
        raise refuse(Refusal.UNKNOWN_VERSION, f"body type {kind}")
    if length != _BODY_LENGTHS[kind]:
        raise refuse(Refusal.MALFORMED, "body size")
    return length


def _body(
    f: Fields,
) -> tuple[bytes, bytes, bytes, bytes, int, int, bytes, bytes, bytes, bytes, tuple[bytes, bytes, bytes, bytes], bytes]:
    tcb, mrseam, mrsignerseam, seam_attributes = f.take(16), f.take(48), f.take(48), f.take(8)
    td_attributes, xfam = f.number(8), f.number(8)
    mrtd, mrconfigid, mrowner, mrownerconfig = f.take(48), f.take(48), f.take(48), f.take(48)
    rtmrs = f.take(48), f.take(48), f.take(48), f.take(48)
    return (
        tcb, mrseam, mrsignerseam, seam_attributes, td_attributes, xfam, mrtd, mrconfigid, mrowner, mrownerconfig,
        rtmrs, f.take(64),
    )  # fmt: skip


def _enclave_report(raw: bytes) -> EnclaveReport:
    return EnclaveReport(
        raw, int.from_bytes(raw[16:20], "little"), raw[48:64], raw[128:160],
        int.from_bytes(raw[256:258], "little"), int.from_bytes(raw[258:260], "little"), raw[320:384],
    )  # fmt: skip
