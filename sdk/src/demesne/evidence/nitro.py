"""AWS Nitro Enclaves: a document from the enclave's security module, by one ioctl on /dev/nsm.

    struct nsm_iovec { u64 address; u64 length; };  struct nsm_raw { nsm_iovec request, response; };
    NSM_IOCTL_RAW = _IOWR(0x0A, 0, struct nsm_raw)           (linux/nsm.h; the same in AWS's out-of-tree driver)

Request and response are CBOR: {"Attestation": {"user_data", "nonce", "public_key"}} → {"Attestation": {"document"}} or
{"Error": name}. `response.length` goes in as the room there is and comes back as what was written. The dozen lines of
CBOR that this takes are here: a dependency would be larger than the whole conversation.
"""

import base64
import ctypes
import errno
import fcntl
import os
from pathlib import Path
from typing import Any, Protocol

from demesne.errors import Invalid, Malformed, NotConfigured, Unavailable

DEVICE = Path("/dev/nsm")
MAX_REQUEST, MAX_RESPONSE = 0x1000, 0x3000
_ERRORS_OF_OURS = {"InvalidArgument", "InputTooLarge", "BufferTooSmall", "InvalidOperation"}


class _Vector(ctypes.Structure):
    _fields_ = (("address", ctypes.c_uint64), ("length", ctypes.c_uint64))


class Message(ctypes.Structure):
    """struct nsm_raw."""

    _fields_ = (("request", _Vector), ("response", _Vector))


IOCTL_RAW = 3 << 30 | ctypes.sizeof(Message) << 16 | 0x0A << 8


class DeviceCalls(Protocol):
    """Opening, asking and closing the device."""

    def open(self, path: str) -> int: ...

    def ioctl(self, descriptor: int, request: int, message: Message) -> int: ...

    def close(self, descriptor: int) -> None: ...


class _Kernel:
    def open(self, path: str) -> int:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def ioctl(self, descriptor: int, request: int, message: Message) -> int:
        return fcntl.ioctl(descriptor, request, message)  # type: ignore[no-any-return]

    def close(self, descriptor: int) -> None:
        os.close(descriptor)


class NitroAttester:
    """Documents of this enclave; the binding is their `nonce`."""

    kind = "nitro"

    def __init__(self, *, device: Path = DEVICE, calls: DeviceCalls | None = None) -> None:
        self._device = device
        self._calls = calls or _Kernel()

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Evidence, version 1 (docs/spec/attestation.md §4). Raises NotConfigured, Unavailable, Malformed."""
        if len(report_data) != 64:
            raise Invalid("evidence.report-data", "report_data is 64 bytes")
        document = _document(self._ask(_attestation(report_data)))
        return {"kind": self.kind, "version": 1, "document": base64.b64encode(document).decode("ascii")}

    def _ask(self, request: bytes) -> bytes:
        try:
            descriptor = self._calls.open(str(self._device))
        except OSError as error:
            raise NotConfigured(
                "evidence.nitro", f"{self._device}: {error.strerror}", remedy="this is no Nitro enclave, or not as root"
            ) from error
        sent, room = ctypes.create_string_buffer(request, len(request)), ctypes.create_string_buffer(MAX_RESPONSE)
        message = Message(_Vector(ctypes.addressof(sent), len(request)), _Vector(ctypes.addressof(room), MAX_RESPONSE))
        try:
            self._calls.ioctl(descriptor, IOCTL_RAW, message)
        except OSError as error:
            if error.errno in {errno.EPERM, errno.EACCES}:
                raise NotConfigured(
                    "evidence.permission", "the security module answers who has CAP_SYS_ADMIN only"
                ) from error
            name = errno.errorcode.get(error.errno or 0, str(error.errno))
            raise Unavailable("evidence.nitro", f"the security module did not answer ({name})") from error
        finally:
            self._calls.close(descriptor)
        length = message.response.length
        if not 0 < length <= MAX_RESPONSE:
            raise Malformed("evidence.nitro", f"the security module wrote {length} bytes")
        return room.raw[:length]


def _attestation(nonce: bytes) -> bytes:
    fields = _head(5, 3) + _pair("user_data", b"\xf6") + _pair("nonce", _head(2, len(nonce)) + nonce)
    return _head(5, 1) + _pair("Attestation", fields + _pair("public_key", b"\xf6"))


def _pair(name: str, value: bytes) -> bytes:
    return _head(3, len(name)) + name.encode("ascii") + value


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes((major << 5 | argument,))
    return bytes((major << 5 | 24, argument))  # nothing here is longer than 255


def _document(response: bytes) -> bytes:
    answer = _Reader(response)
    name, content = answer.only_member()
    if name == "Error":
        why = content.text()[:64]
        wrong = Malformed if why in _ERRORS_OF_OURS else Unavailable
        raise wrong("evidence.nitro", f"the security module answers {why}")
    if name != "Attestation":
        raise Malformed("evidence.nitro", "the security module answers something else")
    member, value = content.only_member()
    if member != "document":
        raise Malformed("evidence.nitro", "the security module's answer has no document")
    return value.document()


class _Reader:
    """Maps of one member, texts and byte strings of definite length (RFC 8949 §3): all that an answer is made of."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def only_member(self) -> tuple[str, "_Reader"]:
        self._expect(5, 1)
        return self.text(), self

    def text(self) -> str:
        return self._take(self._length(3)).decode("utf-8", "replace")

    def document(self) -> bytes:
        found = self._take(self._length(2))
        if self._data:
            raise Malformed("evidence.nitro", "the security module's answer goes on after its end")
        return found

    def _expect(self, major: int, argument: int) -> None:
        if self._length(major) != argument:
            raise Malformed("evidence.nitro", "the security module's answer is not one map of one member")

    def _length(self, major: int) -> int:
        first = self._take(1)[0]
        if first >> 5 != major:
            raise Malformed("evidence.nitro", "the security module's answer is of another shape")
        argument = first & 31
        if argument < 24:
            return argument
        if argument > 27:
            raise Malformed("evidence.nitro", "the security module's answer is of no length")
        return int.from_bytes(self._take(1 << argument - 24), "big")

    def _take(self, length: int) -> bytes:
        if length > len(self._data):
            raise Malformed("evidence.nitro", "the security module's answer is cut short")
        taken, self._data = self._data[:length], self._data[length:]
        return taken
