"""The few TPM 2.0 commands that attestation takes, as bytes to a TPM and back (TCG TPM 2.0 Library, parts 2 and 3).

    command   tag u16 ‖ size u32 ‖ code u32 ‖ handles ‖ [size u32 ‖ authorizations] ‖ parameters        (big-endian)
    response  tag u16 ‖ size u32 ‖ code u32 ‖ [handle] ‖ [size u32] ‖ parameters ‖ [authorizations]

Spoken to the kernel's resource manager (/dev/tpmrm0) as it is: neither a library nor a tool has to be installed.
"""

import os
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from demesne.errors import DemesneError, Malformed, Unavailable
from demesne.evidence.tpm_device import Transport

OWNER, ENDORSEMENT = 0x40000001, 0x4000000B
SHA256 = 0x000B
RSA, ECC = 0x0001, 0x0023
PCRS = 24
_NULL_HANDLE, _PASSWORD = 0x40000007, 0x40000009
_NULL = 0x0010
_RSASSA, _ECDSA = 0x0014, 0x0018
_SESSIONS, _PLAIN = 0x8002, 0x8001
_CHUNK = 1024  # of NV reads and writes: every TPM's buffer takes that
_RETRIES = 8
# Response codes (part 2 §6.6): warnings that pass by themselves, and what people can do something about.
_LATER = {
    0x908: "yielded",
    0x909: "canceled",
    0x90A: "testing",
    0x920: "NV rate",
    0x922: "retry",
    0x923: "NV unavailable",
}
_LOCKOUT = 0x921
NO_HANDLE, NO_KEY = 0x8B, 0x82  # nothing at this handle; nothing that this key may do


class TpmError(DemesneError):
    """A response code other than success; `rc` with the number of handle, session or parameter taken out."""

    def __init__(self, command: str, rc: int) -> None:
        self.rc = rc & 0xBF if rc & 0x80 else rc
        super().__init__("evidence.tpm", f"the TPM answers {command} with 0x{rc:03x}")


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote as it was signed. `signature`: RSA as it is, ECDSA as (r, s)."""

    message: bytes
    signature: bytes | tuple[int, int]


class Tpm:
    """Commands to one TPM. Not for several threads. Raises TpmError, Unavailable, Malformed."""

    def __init__(self, transport: Transport, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._transport = transport
        self._sleep = sleep

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._transport.close()

    def read_public(self, handle: int) -> bytes:
        """TPMT_PUBLIC of a loaded or persistent key."""
        return _Answer(self._run("ReadPublic", 0x173, [handle])).sized()

    def pcrs(self, indices: Iterable[int]) -> dict[int, bytes]:
        """Values of the SHA-256 bank. Malformed when the TPM has no such bank."""
        wanted, found = sorted(set(indices)), dict[int, bytes]()
        while missing := [index for index in wanted if index not in found]:
            answer = _Answer(self._run("PCR_Read", 0x17E, [], _selection(missing)))
            answer.number(4)
            read = answer.selection()
            values = [answer.sized() for _ in range(answer.number(4))]
            if not read or len(read) != len(values) or not set(read) <= set(missing):
                raise Malformed("evidence.tpm", "the TPM has no SHA-256 bank, or not these PCRs")
            found |= dict(zip(read, values, strict=True))
        return found

    def quote(self, key: int, data: bytes, indices: Iterable[int]) -> Quote:
        """Of the SHA-256 bank, by the key's own scheme (RSASSA or ECDSA with SHA-256)."""
        body = _sized(data) + struct.pack(">H", _NULL) + _selection(indices)
        answer = _Answer(self._run("Quote", 0x158, [key], body, authorizations=[_password()]))
        message = answer.sized()
        scheme, digest = answer.number(2), answer.number(2)
        if digest != SHA256 or scheme not in {_RSASSA, _ECDSA}:
            raise Malformed("evidence.tpm", f"the key signs by scheme 0x{scheme:04x} with 0x{digest:04x}")
        if scheme == _RSASSA:
            return Quote(message, answer.sized())
        return Quote(message, (int.from_bytes(answer.sized(), "big"), int.from_bytes(answer.sized(), "big")))

    def create_primary(self, hierarchy: int, template: bytes) -> int:
        """Handle of the key that this template has under this hierarchy's seed. `flush` it."""
        sensitive = _sized(struct.pack(">HH", 0, 0))
        body = sensitive + _sized(template) + struct.pack(">H", 0) + struct.pack(">I", 0)
        raw = self._run("CreatePrimary", 0x131, [hierarchy], body, authorizations=[_password()], handles=1)
        return int.from_bytes(raw[:4], "big")

    def persist(self, handle: int, at: int) -> None:
        """Keep a key at a persistent handle of the owner."""
        self._run("EvictControl", 0x120, [OWNER, handle], struct.pack(">I", at), authorizations=[_password()])

    def flush(self, handle: int) -> None:
        self._run("FlushContext", 0x165, [], struct.pack(">I", handle))

    def nv_size(self, index: int) -> int:
        """How many bytes an NV index has."""
        public = _Answer(_Answer(self._run("NV_ReadPublic", 0x169, [index])).sized())
        for width in (4, 2, 4):
            public.number(width)
        public.sized()
        return public.number(2)

    def nv_read(self, index: int) -> bytes:
        """Everything in an NV index that the owner may read."""
        size, found = self.nv_size(index), b""
        while len(found) < size:
            body = struct.pack(">HH", min(_CHUNK, size - len(found)), len(found))
            raw = self._run("NV_Read", 0x14E, [OWNER, index], body, authorizations=[_password()])
            piece = _Answer(raw).sized()
            if not piece:
                raise Malformed("evidence.tpm", f"NV index 0x{index:08x} ends at {len(found)} of {size}")
            found += piece
        return found

    def nv_write(self, index: int, content: bytes) -> None:
        """From the beginning of an NV index that the owner may write."""
        for offset in range(0, len(content), _CHUNK):
            body = _sized(content[offset : offset + _CHUNK]) + struct.pack(">H", offset)
            self._run("NV_Write", 0x137, [OWNER, index], body, authorizations=[_password()])

    def nv_define(self, index: int, size: int) -> None:
        """An ordinary index that the owner reads and writes."""
        public = struct.pack(">IHIHH", index, SHA256, 0x00020002, 0, size)
        self._run("NV_DefineSpace", 0x12A, [OWNER], _sized(b"") + _sized(public), authorizations=[_password()])

    def activate_credential(self, key: int, endorsement_key: int, blob: bytes, secret: bytes) -> bytes:
        """What a credential protects, when it was made for exactly this key beside this endorsement key."""
        session = self._endorsement_session()
        try:
            policy = struct.pack(">IHBH", session, 0, 0, 0)
            body = _sized(blob) + _sized(secret)
            raw = self._run(
                "ActivateCredential", 0x147, [key, endorsement_key], body, authorizations=[_password(), policy]
            )
        finally:
            with suppress(DemesneError):  # ended by its use; left over only when that failed
                self.flush(session)
        return _Answer(raw).sized()

    def _endorsement_session(self) -> int:
        """A policy session that satisfies the default policy of endorsement keys: PolicySecret(endorsement)."""
        body = _sized(os.urandom(16)) + _sized(b"") + struct.pack(">BHH", 1, _NULL, SHA256)
        raw = self._run("StartAuthSession", 0x176, [_NULL_HANDLE, _NULL_HANDLE], body, handles=1)
        session = int.from_bytes(raw[:4], "big")
        empty = _sized(b"") * 3 + struct.pack(">i", 0)
        self._run("PolicySecret", 0x151, [ENDORSEMENT, session], empty, authorizations=[_password()])
        return session

    def _run(
        self, name: str, code: int, handles_in: list[int], body: bytes = b"", *,
        authorizations: list[bytes] | None = None, handles: int = 0,
    ) -> bytes:  # fmt: skip
        """The handle, if there is one, and the parameters of the response."""
        content = b"".join(struct.pack(">I", handle) for handle in handles_in)
        if authorizations:
            area = b"".join(authorizations)
            content += struct.pack(">I", len(area)) + area
        content += body
        tag = _SESSIONS if authorizations else _PLAIN
        command = struct.pack(">HII", tag, 10 + len(content), code) + content
        for attempt in range(_RETRIES):
            response = self._transport.exchange(command)
            if len(response) < 10 or int.from_bytes(response[2:6], "big") != len(response):
                raise Malformed("evidence.tpm", "the TPM's response is cut short")
            rc = int.from_bytes(response[6:10], "big")
            if rc not in _LATER:
                break
            self._sleep(0.02 * 2**attempt)
        else:
            raise Unavailable("evidence.busy", f"the TPM is busy ({_LATER[rc]})", retry_after=5)
        if rc == _LOCKOUT:
            raise Unavailable("evidence.tpm", "the TPM is locked out", remedy="tpm2_dictionarylockout, or wait")
        if rc:
            raise TpmError(name, rc)
        answer = response[10:]
        if not authorizations:
            return answer
        start = 4 * handles
        length = int.from_bytes(answer[start : start + 4], "big")
        return answer[:start] + answer[start + 4 : start + 4 + length]


class _Answer:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self, width: int) -> int:
        return int.from_bytes(self._take(width), "big")

    def sized(self) -> bytes:
        return self._take(self.number(2))

    def selection(self) -> list[int]:
        found = []
        for _ in range(self.number(4)):
            bank, bits = self.number(2), self._take(self.number(1))
            if bank == SHA256:
                found += [index for index in range(8 * len(bits)) if bits[index // 8] >> index % 8 & 1]
        return found

    def _take(self, length: int) -> bytes:
        if length > len(self._data):
            raise Malformed("evidence.tpm", "the TPM's response is cut short")
        taken, self._data = self._data[:length], self._data[length:]
        return taken


def _sized(content: bytes) -> bytes:
    return struct.pack(">H", len(content)) + content


def _password() -> bytes:
    """The empty authorization value, as owners of machines in clouds leave it."""
    return struct.pack(">IHBH", _PASSWORD, 0, 0, 0)


def _selection(indices: Iterable[int]) -> bytes:
    bits = bytearray(3)
    for index in indices:
        bits[index // 8] |= 1 << index % 8
    return struct.pack(">IHB", 1, SHA256, 3) + bytes(bits)
