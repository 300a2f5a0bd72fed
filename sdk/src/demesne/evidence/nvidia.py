"""NVIDIA GPUs in confidential mode: each one's measurements, through NVML (libnvidia-ml), or NVIDIA's `nvattest`.

    nvmlDeviceGetConfComputeGpuAttestationReport    nonce 32 in, report (SPDM, at most 8 KiB) out
    nvmlDeviceGetConfComputeGpuCertificate          the chain of the key that signs it, PEM, leaf first

NVSwitches have no NVML: theirs are asked of `nvattest`, where it is installed.
"""

import base64
import binascii
import ctypes
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from demesne.errors import DemesneError, Invalid, Malformed, NotConfigured, Unavailable

KIND = "nvgpu"
LIBRARY = "libnvidia-ml.so.1"
MAX_DEVICES = 16
_SECONDS = 60
# nvmlReturn_t (NVML API Reference): what a person can do something about.
_NOT_SUPPORTED, _NO_PERMISSION, _TIMEOUT, _LOST, _IN_USE, _DRIVER = 3, 4, 10, 15, 19, 9
_REASONS = {
    _DRIVER: "the NVIDIA driver is not loaded", _NO_PERMISSION: "this process may not ask the GPU",
    _NOT_SUPPORTED: "the GPU is not in confidential mode", _TIMEOUT: "the GPU did not answer in time",
    _LOST: "the GPU fell off the bus", _IN_USE: "another process is asking the GPU",
}  # fmt: skip
_LATER = {_TIMEOUT, _IN_USE}


class AttestationReport(ctypes.Structure):
    """nvmlConfComputeGpuAttestationReport_t."""

    _fields_ = (
        ("cec_present", ctypes.c_uint), ("report_size", ctypes.c_uint), ("cec_size", ctypes.c_uint),
        ("nonce", ctypes.c_ubyte * 0x20), ("report", ctypes.c_ubyte * 0x2000), ("cec_report", ctypes.c_ubyte * 0x1000),
    )  # fmt: skip


class Certificate(ctypes.Structure):
    """nvmlConfComputeGpuCertificate_t; `attestation` is the chain of the key that signs reports."""

    _fields_ = (
        ("chain_size", ctypes.c_uint), ("attestation_size", ctypes.c_uint),
        ("chain", ctypes.c_ubyte * 0x1000), ("attestation", ctypes.c_ubyte * 0x1400),
    )  # fmt: skip


class SystemState(ctypes.Structure):
    """nvmlConfComputeSystemState_t."""

    _fields_ = (("environment", ctypes.c_uint), ("feature", ctypes.c_uint), ("tools", ctypes.c_uint))


class GpuAttester:
    """Every GPU of this machine, in NVML's order. `library`: libnvidia-ml, loaded by name when it is needed."""

    kind = KIND

    def __init__(self, *, library: Any = LIBRARY) -> None:
        self._library = library

    def evidence(self, nonce: bytes) -> list[dict[str, Any]]:
        """Evidence, version 1 (docs/spec/attestation.md §8), a GPU each. NotConfigured, Unavailable, Malformed."""
        _check_nonce(nonce)
        with self._open() as nvml:
            self._check_mode(nvml)
            return [self._device(nvml, index, nonce) for index in range(self._count(nvml))]

    def count(self) -> int:
        """How many GPUs could be attested. Raises as `evidence`."""
        with self._open() as nvml:
            self._check_mode(nvml)
            return self._count(nvml)

    @contextmanager
    def _open(self) -> Iterator[Any]:
        try:
            nvml = ctypes.CDLL(self._library) if isinstance(self._library, str) else self._library
        except OSError as error:
            raise NotConfigured("evidence.nvml", f"{self._library} is not here: no NVIDIA driver") from error
        self._call(nvml, "nvmlInit_v2")
        try:
            yield nvml
        finally:
            self._call(nvml, "nvmlShutdown")

    def _count(self, nvml: Any) -> int:
        count = ctypes.c_uint()
        self._call(nvml, "nvmlDeviceGetCount_v2", ctypes.byref(count))
        if not 0 < count.value <= MAX_DEVICES:
            raise NotConfigured("evidence.nvml", f"{count.value} GPUs; 1 to {MAX_DEVICES} can be attested")
        return count.value

    def _check_mode(self, nvml: Any) -> None:
        """Off, the report call answers "not supported", as old GPUs do; on for debugging, nothing would be hidden."""
        state = SystemState()
        self._call(nvml, "nvmlSystemGetConfComputeState", ctypes.byref(state))
        if not state.feature:
            raise NotConfigured(
                "evidence.gpu-mode", "the GPUs are not in confidential mode",
                remedy="the machine's operator switches it on (nvidia-smi conf-compute -f shows it)",
            )  # fmt: skip

    def _device(self, nvml: Any, index: int, nonce: bytes) -> dict[str, Any]:
        device = ctypes.c_void_p()
        self._call(nvml, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device))
        certificate, report = Certificate(), AttestationReport()
        report.nonce[:] = nonce
        self._call(nvml, "nvmlDeviceGetConfComputeGpuCertificate", device, ctypes.byref(certificate))
        self._call(nvml, "nvmlDeviceGetConfComputeGpuAttestationReport", device, ctypes.byref(report))
        if not 0 < report.report_size <= len(report.report):
            raise Malformed("evidence.nvml", f"GPU {index} says its report has {report.report_size} bytes")
        if not 0 < certificate.attestation_size <= len(certificate.attestation):
            raise Malformed("evidence.nvml", f"GPU {index} says its chain has {certificate.attestation_size} bytes")
        chain = bytes(certificate.attestation[: certificate.attestation_size])
        return _evidence(bytes(report.report[: report.report_size]), chain, nonce)

    @staticmethod
    def _call(nvml: Any, name: str, *arguments: Any) -> None:
        try:
            function = getattr(nvml, name)
        except AttributeError as error:
            raise NotConfigured("evidence.nvml", f"this driver's NVML has no {name}: it is too old") from error
        code = int(function(*arguments))
        if code:
            raise _nvml_error(name, code)


class NvattestAttester:
    """What NVIDIA's command `nvattest` collects, of GPUs or of NVSwitches."""

    kind = KIND

    def __init__(
        self,
        device: str = "nvswitch",
        *,
        run: Callable[[Sequence[str]], "subprocess.CompletedProcess[bytes]"] | None = None,
    ) -> None:
        if device not in {"gpu", "nvswitch"}:
            raise Invalid("evidence.device", "nvattest collects of gpu or nvswitch")
        self._device = device
        self._run = run or _run

    def evidence(self, nonce: bytes) -> list[dict[str, Any]]:
        """As `GpuAttester.evidence`, one a device."""
        _check_nonce(nonce)
        command = ["nvattest", "collect-evidence", "--device", self._device, "--nonce", nonce.hex()]
        done = self._called([*command, "--format", "json"])
        if done.returncode and not done.stdout.lstrip().startswith(b"{"):
            done = self._called(command)  # versions before 1.0 print JSON only, and know no --format
        try:
            answer = json.loads(done.stdout)
            code, listed = answer["result_code"], answer.get("evidences") or []
            if done.returncode or code:
                raise Unavailable("evidence.nvattest", f"nvattest: {str(answer.get('result_message', code))[:200]}")
            if not 0 < len(listed) <= MAX_DEVICES:
                raise NotConfigured("evidence.nvattest", f"nvattest found {len(listed)} devices")
            return [
                _evidence(
                    base64.b64decode(each["evidence"], validate=True), base64.b64decode(each["certificate"]), nonce
                )
                for each in listed
            ]
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
            raise Malformed("evidence.nvattest", f"nvattest answers something else: {error!r}"[:300]) from error

    def _called(self, command: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
        try:
            return self._run(command)
        except FileNotFoundError as error:
            raise NotConfigured("evidence.nvattest", "nvattest is not installed") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise Unavailable("evidence.nvattest", f"nvattest did not answer: {error}") from error


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)


def _evidence(report: bytes, chain: bytes, nonce: bytes) -> dict[str, Any]:
    """Checked for the nonce: drivers have answered an older report, and the gateway would refuse the whole session."""
    if report[4:36] != nonce:
        raise Unavailable("evidence.nonce", "the device answers another nonce than it was given", retry_after=1)
    try:
        certificates = x509.load_pem_x509_certificates(chain.rstrip(b"\0"))
    except ValueError as error:
        raise Malformed("evidence.gpu-chain", f"the device's certificates do not parse: {error}") from error
    return {
        "kind": KIND,
        "version": 1,
        "report": base64.b64encode(report).decode("ascii"),
        "certificates": [base64.b64encode(each.public_bytes(Encoding.DER)).decode("ascii") for each in certificates],
    }


def _check_nonce(nonce: bytes) -> None:
    if len(nonce) != 32:
        raise Invalid("evidence.nonce", "a device's nonce has 32 bytes")


def _nvml_error(name: str, code: int) -> DemesneError:
    why = _REASONS.get(code, f"code {code}")
    if code in _LATER:
        return Unavailable("evidence.busy", f"{name}: {why}", retry_after=2)
    if code in _REASONS and code != _LOST:
        return NotConfigured("evidence.nvml", f"{name}: {why}")
    return Unavailable("evidence.nvml", f"{name}: {why}")
