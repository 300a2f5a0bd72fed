"""SEV-SNP and TDX through Linux's configfs-tsm (kernel 6.7 and later, Documentation/ABI/testing/configfs-tsm).

    mkdir /sys/kernel/config/tsm/report/NAME     ENXIO: no such hardware here
    inblob ← 64 bytes, privlevel ← VMPL          each write moves `generation` by one; EBUSY: later; EFBIG: too long
    outblob, auxblob →                           the report is made when first read; EBUSY, EAGAIN: too many
    provider →                                   "sev_guest\n" or "tdx_guest\n"
    rmdir

Binary attributes are written when the file is *closed*, and what goes wrong then is told to nobody: `generation` is
what tells that all our writes happened and nobody else's did. A report made between another's writes is thrown away.
"""

import base64
import errno
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from demesne.errors import DemesneError, Invalid, Malformed, NotConfigured, Unavailable

T = TypeVar("T")
REPORTS = Path("/sys/kernel/config/tsm/report")
KINDS = {"sev_guest": "snp", "tdx_guest": "tdx"}
_MOST = {"outblob": 32 * 1024, "auxblob": 64 * 1024}  # the kernel's first limit; a GHCB table that the gateway reads
_ATTRIBUTE = 4096
_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0)  # SNP firmware admits about two requests a second
_RACES = 3
_COSE = b"\xd2"
_LATER = {errno.EBUSY, errno.EAGAIN, errno.ETIMEDOUT}


class FileCalls(Protocol):
    """The part of `os` that configfs needs."""

    def mkdir(self, path: str, /) -> None: ...

    def rmdir(self, path: str, /) -> None: ...

    def open(self, path: str, flags: int, /) -> int: ...

    def read(self, fd: int, length: int, /) -> bytes: ...

    def write(self, fd: int, data: bytes, /) -> int: ...

    def close(self, fd: int, /) -> None: ...


class TsmAttester:
    """Reports of the machine's own firmware. `kind` is what evidence is asked for: "snp" or "tdx".

    privlevel: the VMPL to ask as (SNP only; None leaves it to the kernel). event_log: the boot's CCEL (TDX), if it is
    to be sent along. endorsement: the platform's signed statement about the measurement (SNP), COSE_Sign1 as bytes or
    base64. Needs the right to write configfs: root, or a mount that was prepared.
    """

    def __init__(
        self, kind: str, *, reports: Path = REPORTS, privlevel: int | None = None, event_log: Path | None = None,
        endorsement: Path | None = None, calls: FileCalls = os,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:  # fmt: skip
        if endorsement is not None and kind != "snp":
            raise Invalid("evidence.endorsement", "endorsements are of SNP measurements")
        if kind not in KINDS.values():
            raise Invalid("evidence.kind", f"configfs-tsm has no evidence of kind {kind!r}")
        self.kind = kind
        self._reports = reports
        self._privlevel = privlevel
        self._event_log = event_log
        self._endorsement = endorsement
        self._calls = calls
        self._sleep = sleep

    def evidence(self, report_data: bytes) -> dict[str, Any]:
        """Evidence, version 1 (docs/spec/attestation.md §3, §5). Raises NotConfigured, Unavailable, Malformed."""
        if len(report_data) != 64:
            raise Invalid("evidence.report-data", "report_data is 64 bytes")
        provider, report, table = self._report(report_data)
        if KINDS.get(provider) != self.kind:
            raise NotConfigured(
                "evidence.kind", f"this machine's provider is {provider!r}, which is not {self.kind}",
                remedy="`demesne attest detect` says what there is",
            )  # fmt: skip
        if self.kind == "snp":
            made = {"kind": "snp", "version": 1, "report": _text(report), "certificates": [], "auxblob": _text(table)}
            return made | ({"endorsement": _statement(self._endorsement)} if self._endorsement else {})
        log = self._event_log.read_bytes() if self._event_log is not None else b""
        return {"kind": "tdx", "version": 1, "quote": _text(report), "event_log": _text(log)}

    def provider(self) -> str:
        """What makes reports here. Raises NotConfigured where nothing does."""
        entry = _Entry(self._reports, self._calls, self._sleep)
        with entry:
            return entry.provider()

    def _report(self, report_data: bytes) -> tuple[str, bytes, bytes]:
        for _ in range(_RACES):
            entry = _Entry(self._reports, self._calls, self._sleep)
            with entry:
                made = entry.report(report_data, self._privlevel)
                if made is not None:
                    return (entry.provider(), *made)
        raise Unavailable(
            "evidence.race", "somebody else writes to this machine's report entries",
            remedy="nothing but this process should know the entry's name; look for what scans configfs",
        )  # fmt: skip


class _Entry:
    """One directory of configfs, with a name that nobody else has, removed whatever happens."""

    def __init__(self, reports: Path, calls: FileCalls, sleep: Callable[[float], None]) -> None:
        self._path = str(reports / f"demesne-{os.getpid()}-{secrets.token_hex(8)}")
        self._calls = calls
        self._sleep = sleep

    def __enter__(self) -> None:
        try:
            self._retried(lambda: self._calls.mkdir(self._path))
        except OSError as error:
            raise _absent(error, self._path) from error

    def __exit__(self, *_: object) -> None:
        with suppress(FileNotFoundError):  # somebody tidied up; what we read, we had read before
            self._calls.rmdir(self._path)

    def report(self, report_data: bytes, privlevel: int | None) -> tuple[bytes, bytes] | None:
        """outblob and auxblob, or None when others wrote here meanwhile."""
        try:
            before = self._generation()
            writes = 0
            if privlevel is not None:
                self._retried(lambda: self._write("privlevel", b"%d\n" % privlevel))
                writes += 1
            self._retried(lambda: self._write("inblob", report_data))
            writes += 1
            report = self._retried(lambda: self._read("outblob"))
            table = self._retried(self._table)
            moved = self._generation() - before
        except FileNotFoundError as error:
            raise NotConfigured("evidence.tsm", f"this kernel has no {error.filename}") from error
        except OSError as error:
            raise _failed(error) from error
        if moved != writes:
            return None  # more: another wrote. Fewer: a write was lost at close, and the report is over other data
        return report, table

    def provider(self) -> str:
        try:
            return self._read("provider").decode("ascii", "replace").removesuffix("\n")
        except OSError as error:
            raise _failed(error) from error

    def _table(self) -> bytes:
        try:
            return self._read("auxblob")
        except FileNotFoundError:  # TDX has none, and newer kernels do not show it
            return b""

    def _generation(self) -> int:
        text = self._read("generation")
        try:
            return int(text)
        except ValueError:
            raise Malformed("evidence.tsm", f"generation is {text[:32]!r}") from None

    def _read(self, name: str) -> bytes:
        most = _MOST.get(name, _ATTRIBUTE)
        descriptor = self._calls.open(f"{self._path}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            found = b""
            while piece := self._calls.read(descriptor, 4096):
                found += piece
                if len(found) > most:
                    raise Malformed("evidence.tsm", f"{name} is longer than {most} bytes")
            return found
        finally:
            self._calls.close(descriptor)

    def _write(self, name: str, content: bytes) -> None:
        """In one call: an attribute in text takes each write as a whole, and counts it."""
        descriptor = self._calls.open(f"{self._path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            written = self._calls.write(descriptor, content)
        finally:
            self._calls.close(descriptor)
        if written != len(content):
            raise Malformed("evidence.tsm", f"{name} took {written} of {len(content)} bytes")

    def _retried(self, step: Callable[[], T]) -> T:
        for wait in _WAITS:
            try:
                return step()
            except OSError as error:
                if error.errno not in _LATER:
                    raise
            self._sleep(wait)
        return step()


def _absent(error: OSError, path: str) -> DemesneError:
    if error.errno in {errno.ENXIO, errno.ENOENT, errno.ENODEV}:
        why = "no report provider is loaded" if error.errno == errno.ENXIO else "configfs-tsm is not there"
        return NotConfigured(
            "evidence.tsm", f"{why} ({Path(path).parent})",
            remedy="mount configfs, and load sev-guest or tdx-guest; `demesne attest detect` says what there is",
        )  # fmt: skip
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return NotConfigured(
            "evidence.permission", f"this process may not write {Path(path).parent}",
            remedy="run the attester as root, or the agent beside the job",
        )  # fmt: skip
    return _failed(error)


def _failed(error: OSError) -> DemesneError:
    name = errno.errorcode.get(error.errno or 0, str(error.errno))
    if error.errno in _LATER:
        return Unavailable("evidence.busy", f"the machine's firmware is busy ({name})", retry_after=5)
    if error.errno == errno.EFBIG:
        return Malformed("evidence.tsm", "this kernel takes no 64 bytes of report data (EFBIG)")
    if error.errno == errno.ENXIO:
        return NotConfigured("evidence.tsm", "the report provider went away (ENXIO)")
    return Unavailable("evidence.tsm", f"the kernel made no report ({name})")


def _statement(path: Path) -> str:
    """Platforms write it in base64; a COSE_Sign1 in bytes begins with its tag, which base64 cannot."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise NotConfigured("evidence.endorsement", f"{path} cannot be read ({error.strerror})") from error
    return _text(content) if content[:1] == _COSE else content.decode("ascii", "replace").strip()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
