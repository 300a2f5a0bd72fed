"""Azure confidential VMs: the paravisor's vTPM, and the hardware's word for it.

    NV 0x01400001         the paravisor's report (HCL): SNP report or TDREPORT, and runtime data with the vTPM's key
    NV 0x01400002         64 bytes of ours; the next report's runtime data has them as `user-data`
    key 0x81000003        HCLAkPub, which quotes
    GET  http://169.254.169.254/metadata/THIM/amd/certification   VCEK and its issuers (SNP)
    POST http://169.254.169.254/acc/tdquote                       TDREPORT → quote (TDX)

The binding is the quote's extraData. User data is optional and slow: NV memory wears, so it is off unless asked for.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import Any

import httpx2 as httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from demesne.errors import Invalid, Malformed, NotConfigured, Unavailable
from demesne.evidence.tpm import DEFAULT_PCRS, as_members, quote, read_key
from demesne.evidence.tpm_commands import NO_HANDLE, Tpm, TpmError
from demesne.evidence.tpm_device import DeviceTransport, Transport

KIND = "azure-vtpm"
METADATA = "http://169.254.169.254"
REPORT, USER_DATA, KEY = 0x01400001, 0x01400002, 0x81000003
_SNP, _TDX = 2, 4
_HARDWARE, _TYPE, _LENGTH = 32, 32 + 1184 + 8, 32 + 1184 + 16  # offsets in the paravisor's report
_TDREPORT = 1024
_MOST = 64 * 1024
_SECONDS = 10.0
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)


class AzureAttester:
    """Evidence of this VM. `user_data`: also write the binding where the paravisor reports it."""

    kind = KIND

    def __init__(
        self, *, pcrs: Iterable[int] = DEFAULT_PCRS, user_data: bool = False, metadata: str = METADATA,
        transport: Callable[[], Transport] = DeviceTransport, seconds: float = _SECONDS,
    ) -> None:  # fmt: skip
        self._pcrs = tuple(sorted(set(pcrs)))
        self._user_data = user_data
        self._metadata = metadata.rstrip("/")
        self._transport = transport
        self._seconds = seconds

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Evidence, version 1 (docs/spec/attestation.md §6). Raises NotConfigured, Unavailable, Malformed, TpmError."""
        if len(report_data) != 64:
            raise Invalid("evidence.report-data", "report_data is 64 bytes")
        with Tpm(self._transport()) as tpm:
            if self._user_data:
                self._write_user_data(tpm, report_data)
            report = read_report(tpm)
            read_key(tpm, KEY)
            quoted = quote(tpm, KEY, report_data, self._pcrs)
        kind = int.from_bytes(report[_TYPE : _TYPE + 4], "little")
        certificates, td_quote = self._vouching(kind, report)
        return {
            "kind": self.kind, "version": 1, "hcl_report": _text(report), **as_members(quoted),
            "certificates": [_text(der) for der in certificates], "td_quote": _text(td_quote),
        }  # fmt: skip

    def _write_user_data(self, tpm: Tpm, report_data: bytes) -> None:
        try:
            tpm.nv_write(USER_DATA, report_data)
        except TpmError as error:
            if error.rc != NO_HANDLE:
                raise
            tpm.nv_define(USER_DATA, 64)
            tpm.nv_write(USER_DATA, report_data)

    def _vouching(self, kind: int, report: bytes) -> tuple[list[bytes], bytes]:
        if kind == _SNP:
            return self._certificates(), b""
        if kind == _TDX:
            return [], self._td_quote(report[_HARDWARE : _HARDWARE + _TDREPORT])
        raise Malformed("evidence.azure", f"the paravisor reports hardware of type {kind}")

    def _certificates(self) -> list[bytes]:
        """VCEK first, then its issuers."""
        answer = self._asked("GET", "/metadata/THIM/amd/certification")
        try:
            pems = _PEM.findall((str(answer["vcekCert"]) + "\n" + str(answer["certificateChain"])).encode("ascii"))
            return [x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER) for pem in pems]
        except (KeyError, ValueError) as error:
            raise Malformed("evidence.azure", f"the host's certificates do not parse: {error!r}"[:200]) from error

    def _td_quote(self, report: bytes) -> bytes:
        spelled = base64.urlsafe_b64encode(report).rstrip(b"=").decode("ascii")
        answer = self._asked("POST", "/acc/tdquote", {"report": spelled})
        try:
            text = str(answer["quote"])
            return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (KeyError, binascii.Error) as error:
            raise Malformed("evidence.azure", f"the host's quote does not parse: {error!r}"[:200]) from error

    def _asked(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Of the host, over its link-local address: never by a proxy, and no redirect is followed."""
        try:
            with httpx.Client(trust_env=False, timeout=self._seconds, follow_redirects=False) as client:
                answer = client.request(method, self._metadata + path, json=body, headers={"metadata": "true"})
        except httpx.HTTPError as error:
            raise Unavailable("evidence.azure", f"the host's service does not answer: {error}") from error
        if answer.status_code != 200:
            later = answer.status_code in {410, 429} or answer.status_code >= 500
            raise (Unavailable if later else NotConfigured)(
                "evidence.azure", f"{path} answers {answer.status_code}", retry_after=5 if later else None
            )
        if len(answer.content) > _MOST:
            raise Malformed("evidence.azure", f"{path} answers {len(answer.content)} bytes")
        try:
            document = answer.json()
        except ValueError as error:
            raise Malformed("evidence.azure", f"{path} answers no JSON") from error
        if not isinstance(document, dict):
            raise Malformed("evidence.azure", f"{path} answers no JSON object")
        return document


def read_report(tpm: Tpm) -> bytes:
    """The paravisor's report, without the zeros behind it. NotConfigured where there is none: no confidential VM."""
    try:
        raw = tpm.nv_read(REPORT)
    except TpmError as error:
        if error.rc != NO_HANDLE:
            raise
        raise NotConfigured("evidence.azure", "this TPM has no paravisor's report: no confidential VM") from error
    if raw[:4] != b"HCLA" or len(raw) < _LENGTH + 4:
        raise Malformed("evidence.azure", "the paravisor's report is of another form")
    end = _LENGTH + 4 + int.from_bytes(raw[_LENGTH : _LENGTH + 4], "little")
    if end > len(raw):
        raise Malformed("evidence.azure", "the paravisor's report is cut short")
    return raw[:end]


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
