"""How the decoder child locks itself in, before it reads the first byte of a hostile file.

Two steps, because threads and imports need what the second one takes away: `confine_process` first thing,
`confine_calls` once everything is loaded. Each returns what the kernel granted, for the hello frame; the
builder decides whether that is enough. A network namespace alone would not stop a connect to the broker's
socket, which is found through the file system: that is the filter's work.
"""

import ctypes
import errno
import os
import platform
import resource
import struct

RLIMITS = "rlimits"
NO_NEW_PRIVS = "no-new-privs"
NOT_DUMPABLE = "not-dumpable"
NAMESPACES = "namespaces"
FILTER = "filter"

ADDRESS_SPACE = 2 << 30
CPU_SECONDS = 600
OPEN_FILES = 16

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC, _CLONE_THREAD = 0x1000_0000, 0x4000_0000, 0x0800_0000, 0x0001_0000
_SECCOMP_MODE_FILTER = 2
_ALLOW, _ERRNO, _KILL = 0x7FFF_0000, 0x0005_0000, 0x8000_0000

# Memory, clocks, threads of this process, and I/O on descriptors that are already open. By name:
# read write readv writev close fstat lseek poll ppoll select pselect6 mmap mprotect munmap mremap madvise brk
# futex sched_yield sched_getaffinity gettid getpid set_robust_list rseq rt_sigaction rt_sigprocmask rt_sigreturn
# sigaltstack clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getrandom getrusage sysinfo
# membarrier restart_syscall exit exit_group
_X86_64 = (0xC000_003E, 56, 435, (
    0, 1, 19, 20, 3, 5, 8, 7, 271, 23, 270, 9, 10, 11, 25, 28, 12, 202, 24, 204, 186, 39, 273, 334, 13, 14, 15,
    131, 228, 229, 230, 35, 96, 201, 318, 98, 99, 324, 219, 60, 231,
))  # fmt: skip
_AARCH64 = (0xC000_00B7, 220, 435, (
    63, 64, 65, 66, 57, 80, 62, 73, 72, 222, 226, 215, 216, 233, 214, 98, 124, 123, 178, 172, 99, 293, 134, 135,
    139, 132, 113, 114, 115, 101, 169, 278, 165, 179, 283, 128, 93, 94,
))  # fmt: skip
_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}


def confine_process() -> list[str]:
    """Limits, no privileges to gain, no dumps, own namespaces. Must run before any thread exists."""
    libc = ctypes.CDLL(None, use_errno=True)
    granted = []
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        granted.append(NO_NEW_PRIVS)
    # Namespaces need a file system write for id maps only if we wanted ids; we want none.
    alone = _CLONE_NEWNET | _CLONE_NEWIPC
    if libc.unshare(_CLONE_NEWUSER | alone) == 0 or libc.unshare(alone) == 0:
        granted.append(NAMESPACES)
    limits = (
        (resource.RLIMIT_AS, ADDRESS_SPACE),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    )
    for which, value in limits:
        resource.setrlimit(which, (value, value))
    granted.append(RLIMITS)
    # After unshare: entering a user namespace makes a process dumpable again.
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0:
        granted.append(NOT_DUMPABLE)
    return granted


def confine_calls() -> list[str]:
    """Close what is open besides the pipes; then the system-call filter, where this machine has one."""
    os.closerange(3, OPEN_FILES)
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return []
    program = _program(*machine)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: unsigned short len, padding, pointer.
    fprog = struct.pack("@HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    holder = ctypes.create_string_buffer(fprog, len(fprog))
    return [FILTER] if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, holder, 0, 0) == 0 else []


def _program(audit_arch: int, clone: int, clone3: int, allowed: tuple[int, ...]) -> bytes:
    """Classic BPF: foreign architecture dies, listed calls pass, clone only for threads, the rest is EPERM."""
    load, equal, bits, give = 0x20, 0x15, 0x45, 0x06
    steps = [
        (load, 0, 0, 4),                                   # seccomp_data.arch
        (equal, 1, 0, audit_arch),
        (give, 0, 0, _KILL),
        (load, 0, 0, 0),                                   # seccomp_data.nr
        (equal, 0, 1, clone3),
        (give, 0, 0, _ERRNO | errno.ENOSYS),               # the C library falls back to clone
        (equal, 0, 4, clone),
        (load, 0, 0, 16),                                  # low word of the first argument: flags
        (bits, 0, 1, _CLONE_THREAD),
        (give, 0, 0, _ALLOW),
        (give, 0, 0, _ERRNO | errno.EPERM),
    ]  # fmt: skip
    for number in allowed:
        steps += [(equal, 0, 1, number), (give, 0, 0, _ALLOW)]
    steps.append((give, 0, 0, _ERRNO | errno.EPERM))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)
