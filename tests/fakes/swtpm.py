"""A real TPM 2.0 in software: `swtpm` on a socket of its own, with a maker's certificate of its endorsement key."""

import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest

from demesne.errors import NotConfigured
from demesne.evidence.tpm_device import SocketTransport

PROGRAMS = ("swtpm", "swtpm_setup", "swtpm_localca", "certtool")


def need_swtpm() -> None:
    """Skip where it is not installed."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")


class Swtpm:
    """One TPM. `manufactured`: swtpm's own local authority certifies its endorsement keys, RSA and P-384."""

    def __init__(self, *, manufactured: bool = False) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="swtpm")
        self.path = Path(self._directory.name)
        self._process: subprocess.Popen[bytes] | None = None
        self._manufactured = manufactured

    def __enter__(self) -> Self:
        if self._manufactured:
            self._manufacture()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._directory.cleanup()

    def start(self) -> None:
        """Power on. Its clocks go on from where they stood."""
        self._socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.path}", "--server",
             f"type=unixio,path={self._socket}", "--flags", "not-need-init,startup-clear"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 10
        while not self._socket.exists() and time.monotonic() < end:
            time.sleep(0.01)

    def stop(self) -> None:
        """Power off."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)

    def transport(self) -> SocketTransport:
        end = time.monotonic() + 10
        while True:
            try:
                return SocketTransport(self._socket)
            except NotConfigured:
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    @property
    def authority(self) -> list[bytes]:
        """Certificates (PEM) of swtpm's local authority: issuer, root."""
        return [(self.path / name).read_bytes() for name in ("issuercert.pem", "swtpm-localca-rootca-cert.pem")]

    @property
    def _socket(self) -> Path:
        return self.path / "s"

    def _manufacture(self) -> None:
        options, configuration = self.path / "localca.options", self.path / "localca.conf"
        options.write_text("--platform-manufacturer Demesne\n--platform-version 1\n--platform-model test\n")
        configuration.write_text(
            f"statedir = {self.path}\nsigningkey = {self.path}/signkey.pem\n"
            f"issuercert = {self.path}/issuercert.pem\ncertserial = {self.path}/certserial\n"
        )
        setup = self.path / "setup.conf"
        setup.write_text(
            f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
            f"create_certs_tool_config = {configuration}\ncreate_certs_tool_options = {options}\n"
        )
        subprocess.run(
            ["swtpm_setup", "--tpm2", "--tpmstate", str(self.path), "--create-ek-cert", "--config", str(setup),
             "--overwrite"],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip


def extend_command(index: int, digest: bytes) -> bytes:
    """TPM2_PCR_Extend of the SHA-256 bank."""
    body = (
        struct.pack(">I", index) + struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0) + struct.pack(">IH", 1, 0x0B) + digest
    )
    return struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body


def extend(machine: Swtpm, index: int, digest: bytes) -> None:
    """As measured boot does."""
    transport = machine.transport()
    response = transport.exchange(extend_command(index, digest))
    transport.close()
    assert response[6:10] == bytes(4), response.hex()
