"""Installed S3 clients that are older than what is known to work (docs/clients.md)."""

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from demesne.doctor.findings import Finding, State

_CHECKSUMS = "older ones neither check the checksum of what they read nor send one with what they write"
_UNTRIED = "no older one has been tried with credentials that renew themselves"


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest version that is known to work, and why not an older one."""

    version: tuple[int, ...]
    why: str


PACKAGES: Mapping[str, Oldest] = {
    "boto3": Oldest((1, 36), _CHECKSUMS),
    "botocore": Oldest((1, 36), _CHECKSUMS),
    "s3fs": Oldest((2024, 6), _UNTRIED),
    "pyarrow": Oldest((26,), "older ones may not know container credentials with a token file (apache/arrow#45603)"),
    "obstore": Oldest((0, 12), _UNTRIED),
    "polars": Oldest((2, 1), _UNTRIED),
    "minio": Oldest((7, 2, 20), _UNTRIED),
    "pyiceberg": Oldest((0, 12), _UNTRIED),
    "duckdb": Oldest((2,), _UNTRIED),
    "datasets": Oldest((5, 2), _UNTRIED),
    "ray": Oldest((2, 60), _UNTRIED),
}
PROGRAMS: Mapping[str, Mapping[int, Oldest]] = {
    "aws": {1: Oldest((1, 37), _CHECKSUMS), 2: Oldest((2, 23), _CHECKSUMS)},
    "rclone": {1: Oldest((1, 75), _UNTRIED)},
}
"""By program and major version: the AWS command line has two lines."""

VersionOf = Callable[[str], str | None]
"""Name -> its version, None where it is not installed."""


def clients(package: VersionOf, program: VersionOf) -> list[Finding]:
    """One finding for each old client, or one for all that are there."""
    packages = {name: found for name in PACKAGES if (found := package(name))}
    programs = {name: found for name in PROGRAMS if (found := program(name))}
    old = [_old(name, found, PACKAGES[name]) for name, found in packages.items()]
    for name, found in programs.items():
        lines = PROGRAMS[name]
        old.append(_old(name, found, lines.get(_numbers(found)[0], lines[max(lines)])))
    told = [finding for finding in old if finding is not None]
    present = ", ".join(sorted({*packages, *programs}))
    return told or [Finding("clients", State.OK if present else State.SKIP, present or "none is installed")]


def _old(name: str, found: str, oldest: Oldest) -> Finding | None:
    if _numbers(found) >= oldest.version:
        return None
    wanted = ".".join(map(str, oldest.version))
    return Finding(
        f"{name} {found}", State.WARN, f"older than {wanted}", f"install {name} {wanted} or newer", oldest.why
    )


def _numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version; (0,) where there are none."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found.group().split(".")) if found else (0,)


def installed(package: str) -> str | None:
    """A `VersionOf` for distributions of this Python."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def on_path(program: str) -> str | None:
    """A `VersionOf` for programs: what `PROGRAM --version` says first."""
    path = shutil.which(program)
    if path is None:
        return None
    try:
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+(?:\.\d+)+", said.stdout or said.stderr)
    return found.group() if found else None
