"""Where a TPM is spoken to: the kernel's resource manager, or the socket of one in software. Bytes out, bytes back."""

import os
import socket
import stat
from pathlib import Path
from typing import Protocol

from demesne.errors import NotConfigured, Unavailable

DEVICE = Path("/dev/tpmrm0")
_MAX_RESPONSE = 4096
_SECONDS = 60.0


class Transport(Protocol):
    """One command out, one response back."""

    def exchange(self, command: bytes) -> bytes: ...

    def close(self) -> None: ...


class DeviceTransport:
    """/dev/tpmrm0: a command is one write, its response one read."""

    def __init__(self, path: Path = DEVICE) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise NotConfigured(
                "evidence.tpm", f"{path}: {error.strerror}",
                remedy="no TPM here, or not as a member of group tss; `demesne attest detect` says what there is",
            ) from error  # fmt: skip

    def exchange(self, command: bytes) -> bytes:
        try:
            os.write(self._descriptor, command)
            return os.read(self._descriptor, _MAX_RESPONSE)
        except OSError as error:
            raise Unavailable("evidence.tpm", f"the TPM's device failed: {error.strerror}") from error

    def close(self) -> None:
        os.close(self._descriptor)


class SocketTransport:
    """A TPM in software (swtpm) on a Unix socket: the same bytes, in a stream."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_SECONDS)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise NotConfigured("evidence.tpm", f"{path}: {error.strerror}") from error

    def exchange(self, command: bytes) -> bytes:
        try:
            self._socket.sendall(command)
            response = self._socket.recv(10)
            while 10 <= len(response) < min(int.from_bytes(response[2:6], "big"), _MAX_RESPONSE):
                piece = self._socket.recv(_MAX_RESPONSE)
                if not piece:
                    break  # what came is cut short, and will be called that
                response += piece
            return response
        except OSError as error:
            raise Unavailable("evidence.tpm", f"the TPM's socket failed: {error}") from error

    def close(self) -> None:
        self._socket.close()


def opened(path: Path) -> Transport:
    """The TPM at `path`: a device, or a socket."""
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        is_socket = False
    return SocketTransport(path) if is_socket else DeviceTransport(path)
