"""A Nitro security module behind the real ioctl: it reads and writes its caller's memory by address, as the driver."""

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from typing import Any

import cbor2

from demesne.evidence.nitro import Message

IOCTL_RAW = 0xC0200A00  # _IOWR(0x0A, 0, 32 bytes), as linux/nsm.h has it on 64-bit machines


class FakeNsm:
    """`document(nonce)` is the module; `answer` overrides the whole response, `fault` is an error of the driver."""

    def __init__(self, document: Callable[[bytes], bytes]) -> None:
        self._document = document
        self.answer: bytes | None = None
        self.error: str | None = None
        self.fault: int | None = None
        self.absent = False
        self.length: int | None = None
        self.requests: list[Any] = []
        self.open_descriptors = 0

    def open(self, path: str) -> int:
        if self.absent:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self.open_descriptors += 1
        return 77

    def close(self, descriptor: int) -> None:
        assert descriptor == 77
        self.open_descriptors -= 1

    def ioctl(self, descriptor: int, request: int, message: Message) -> int:
        assert descriptor == 77
        if request != IOCTL_RAW:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if self.fault is not None:
            raise OSError(self.fault, os.strerror(self.fault))
        given, length, room, most = struct.unpack("<QQQQ", bytes(message))
        if length > 0x1000:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        answer = self._answer(ctypes.string_at(given, length))
        written = answer[: min(most, 0x3000)]
        ctypes.memmove(room, written, len(written))
        ctypes.memmove(
            ctypes.addressof(message) + 24, struct.pack("<Q", len(written) if self.length is None else self.length), 8
        )
        return 0

    def _answer(self, raw: bytes) -> bytes:
        request = cbor2.loads(raw)
        self.requests.append(request)
        if self.answer is not None:
            return self.answer
        if self.error is not None:
            return cbor2.dumps({"Error": self.error})
        attestation = request["Attestation"]
        if set(attestation) != {"user_data", "nonce", "public_key"}:
            return cbor2.dumps({"Error": "InvalidArgument"})
        if any(len(value) > 1024 for value in attestation.values() if value is not None):
            return cbor2.dumps({"Error": "InputTooLarge"})
        return cbor2.dumps({"Attestation": {"document": self._document(attestation["nonce"])}})
