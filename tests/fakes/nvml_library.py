"""libnvidia-ml as C functions over the caller's memory, by the offsets of NVIDIA's header and not by our structures."""

import ctypes
import struct
from collections.abc import Callable, Sequence

OK, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, TIMEOUT, LOST, IN_USE = 0, 1, 2, 3, 4, 10, 15, 19
_Handle, _Pointer = ctypes.c_void_p, ctypes.c_void_p
# nvmlConfComputeGpuAttestationReport_t: three u32, nonce 0x20, report 0x2000, CEC report 0x1000
_NONCE, _REPORT, _ROOM = 12, 44, 0x2000
# nvmlConfComputeGpuCertificate_t: two u32, chain 0x1000, attestation chain 0x1400
_CHAIN = 8 + 0x1000


class FakeNvml:
    """`reports[i](nonce)` and `chains[i]` are the GPUs. Attributes are the functions, as on a loaded library."""

    def __init__(self, reports: Sequence[Callable[[bytes], bytes]], chains: Sequence[bytes]) -> None:
        self._reports = list(reports)
        self._chains = list(chains)
        self.codes: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.confidential = True
        self.started = 0
        self._missing: set[str] = set()
        self.nvmlInit_v2 = ctypes.CFUNCTYPE(ctypes.c_int)(self._init)
        self.nvmlShutdown = ctypes.CFUNCTYPE(ctypes.c_int)(self._shutdown)
        self.nvmlDeviceGetCount_v2 = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)(self._count)
        self.nvmlSystemGetConfComputeState = ctypes.CFUNCTYPE(ctypes.c_int, _Pointer)(self._state)
        self.nvmlDeviceGetHandleByIndex_v2 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_uint, _Pointer)(self._handle)
        self.nvmlDeviceGetConfComputeGpuCertificate = ctypes.CFUNCTYPE(ctypes.c_int, _Handle, _Pointer)(self._chain)
        self.nvmlDeviceGetConfComputeGpuAttestationReport = ctypes.CFUNCTYPE(ctypes.c_int, _Handle, _Pointer)(
            self._report
        )

    def lose(self, name: str) -> None:
        """As an older driver's library, without this function."""
        delattr(self, name)

    def _init(self) -> int:
        if code := self.codes.get("init", OK):
            return code
        self.started += 1
        return OK

    def _shutdown(self) -> int:
        self.started -= 1
        return OK

    def _count(self, out: int) -> int:
        return self._put("count", out, struct.pack("=I", self.sizes.get("count", len(self._reports))))

    def _state(self, out: int) -> int:
        return self._put("state", out, struct.pack("=III", 2, int(self.confidential), 0))

    def _handle(self, index: int, out: int) -> int:
        if index >= len(self._reports):
            return INVALID_ARGUMENT
        return self._put("handle", out, struct.pack("=Q", 0x1000 + index))

    def _chain(self, device: int, out: int) -> int:
        chain = self._chains[device - 0x1000]
        code = self._put("chain", out, struct.pack("=II", 0, self.sizes.get("chain", len(chain))))
        if code == OK:
            ctypes.memmove(out + _CHAIN, chain, len(chain))
        return code

    def _report(self, device: int, out: int) -> int:
        if not self.confidential:
            return NOT_SUPPORTED
        report = self._reports[device - 0x1000](ctypes.string_at(out + _NONCE, 32))
        code = self._put("report", out, struct.pack("=III", 0, self.sizes.get("report", len(report)), 0))
        if code == OK:
            ctypes.memmove(out + _REPORT, report[:_ROOM], len(report[:_ROOM]))
        return code

    def _put(self, what: str, out: int, content: bytes) -> int:
        if not self.started:
            return UNINITIALIZED
        if code := self.codes.get(what, OK):
            return code
        ctypes.memmove(out, content, len(content))
        return OK
