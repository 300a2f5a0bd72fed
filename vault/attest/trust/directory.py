"""The trust directory of a zone: every file of it as last read, looked at again every two seconds of use.

    platforms.json  reference-values.json  issuers.json  tpm-keys.json  endorsers.json
    collateral/{intel,amd,nvidia,endorsements}/…         development-roots/*.pem

An empty or missing directory is an answer: nothing is trusted. Source: docs/spec/trust-material.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

from vault.attest.snp.reference import Endorser
from vault.attest.trust.collateral import (
    Answer,
    IntelCollateral,
    RevocationList,
    parse_amd,
    parse_answer,
    parse_intel,
    parse_list,
)
from vault.attest.trust.document import Dated, wrong
from vault.attest.trust.endorsers import Statement, parse_endorsers, parse_statement
from vault.attest.trust.issuers import TokenIssuer, parse_issuers
from vault.attest.trust.manifests import Manifest, parse_manifest
from vault.attest.trust.platforms import Platforms, parse_platforms
from vault.attest.trust.references import Reference, parse_references
from vault.attest.trust.roots import DevelopmentRoot, parse_development_root
from vault.attest.trust.tpm_keys import TpmTrust, parse_tpm_keys
from vault.attest.trust.watched import Loaded, State, WatchedFile

LOOK_MS = 2_000
MAX_FILES = 512
PLATFORMS, REFERENCES, ISSUERS, TPM_KEYS, ENDORSERS = (
    "platforms.json",
    "reference-values.json",
    "issuers.json",
    "tpm-keys.json",
    "endorsers.json",
)
INTEL, AMD, NVIDIA = "collateral/intel", "collateral/amd", "collateral/nvidia"
ENDORSEMENTS = "collateral/endorsements"
DEVELOPMENT = "development-roots"

_T = TypeVar("_T")
_Parsed = tuple[_T, Dated | None]
DeviceFile = Manifest | RevocationList | Answer


@dataclass(frozen=True, slots=True)
class Material:
    """What the directory holds. Whether a file counts is asked with a time: `loaded.valid(now_ms)`."""

    platforms: Loaded[Platforms] = field(default_factory=lambda: Loaded(PLATFORMS))
    references: Loaded[tuple[Reference, ...]] = field(default_factory=lambda: Loaded(REFERENCES))
    issuers: Loaded[tuple[TokenIssuer, ...]] = field(default_factory=lambda: Loaded(ISSUERS))
    tpm: Loaded[TpmTrust] = field(default_factory=lambda: Loaded(TPM_KEYS))
    endorsers: Loaded[tuple[Endorser, ...]] = field(default_factory=lambda: Loaded(ENDORSERS))
    intel: tuple[Loaded[IntelCollateral], ...] = ()
    amd: tuple[Loaded[RevocationList], ...] = ()
    nvidia: tuple[Loaded[DeviceFile], ...] = ()
    endorsements: tuple[Loaded[Statement], ...] = ()
    development: tuple[Loaded[DevelopmentRoot], ...] = ()

    def files(self) -> Iterator[Loaded[Any]]:
        """All of them, those with a fixed name first."""
        yield from self._named()
        for group in (self._collateral(), self.development):
            yield from group

    def states(self, now_ms: int) -> dict[str, str]:
        """For who asks how the zone is: state of each named file, and of each folder how many are in which. Names of
        no chip, key or platform."""
        told = {loaded.name.removesuffix(".json"): loaded.state(now_ms).value for loaded in self._named()}
        counts = dict.fromkeys(State, 0)
        for loaded in self._collateral():
            counts[loaded.state(now_ms)] += 1
        worst = (State.UNREADABLE, State.EXPIRED, State.PRESENT)
        told["collateral"] = next((state.value for state in worst if counts[state]), State.MISSING.value)
        return told

    def ends(self) -> dict[str, int]:
        """When each named file expires, and the first file of collateral; milliseconds since 1970."""
        told = {loaded.name.removesuffix(".json"): loaded.dated.expires_ms for loaded in self._named() if loaded.dated}
        ends = [loaded.dated.expires_ms for loaded in self._collateral() if loaded.dated]
        return told | ({"collateral": min(ends)} if ends else {})

    def _named(self) -> tuple[Loaded[Any], ...]:
        return self.platforms, self.references, self.issuers, self.tpm, self.endorsers

    def _collateral(self) -> tuple[Loaded[Any], ...]:
        return *self.intel, *self.amd, *self.nvidia, *self.endorsements


class TrustDirectory:
    """Safe from several threads. `development`: whether roots of development are read at all."""

    def __init__(self, path: Path, *, development: bool = False, look_ms: int = LOOK_MS) -> None:
        self._look_ms = look_ms
        self._lock = Lock()
        self._looked: int | None = None
        self._material = Material()
        self._platforms = WatchedFile(path / PLATFORMS, parse_platforms)
        self._references = WatchedFile(path / REFERENCES, parse_references)
        self._issuers = WatchedFile(path / ISSUERS, parse_issuers)
        self._tpm = WatchedFile(path / TPM_KEYS, parse_tpm_keys)
        self._endorsers = WatchedFile(path / ENDORSERS, parse_endorsers)
        self._intel = _Folder(path, INTEL, parse_intel)
        self._amd = _Folder(path, AMD, parse_amd)
        self._nvidia = _Folder(path, NVIDIA, _parse_device_file)
        self._endorsements = _Folder(path, ENDORSEMENTS, parse_statement)
        self._development = _Folder(path, DEVELOPMENT, parse_development_root) if development else None

    def material(self, now_ms: int) -> Material:
        """As of at most two seconds ago, by the caller's clock; a clock that went back looks again."""
        with self._lock:
            if self._looked is None or abs(now_ms - self._looked) >= self._look_ms:
                self._material = self._look()
                self._looked = now_ms
            return self._material

    def _look(self) -> Material:
        return Material(
            self._platforms.look(), self._references.look(), self._issuers.look(), self._tpm.look(),
            self._endorsers.look(), self._intel.look(), self._amd.look(), self._nvidia.look(),
            self._endorsements.look(), self._development.look() if self._development else (),
        )  # fmt: skip


class _Folder(Generic[_T]):
    """Every file of one folder but those whose name begins with a dot, sorted by name."""

    def __init__(self, root: Path, name: str, parse: Callable[[str, bytes], _Parsed[_T]]) -> None:
        self._path = root / name
        self._name = name
        self._parse = parse
        self._files: Mapping[str, WatchedFile[_T]] = {}

    def look(self) -> tuple[Loaded[_T], ...]:
        try:
            names = sorted(entry.name for entry in self._path.iterdir() if not entry.name.startswith("."))
        except FileNotFoundError:
            if self._path.is_symlink():  # a mount that did not come up is not a folder that nobody made
                return (Loaded(self._name, problem="a link to nothing; mend or remove it"),)
            names = []
        except OSError as error:
            return (Loaded(self._name, problem=error.strerror or str(error)),)
        if len(names) > MAX_FILES:
            return (Loaded(self._name, problem=f"more than {MAX_FILES} files; remove those no longer needed"),)
        self._files = {name: self._files.get(name) or self._watched(name) for name in names}
        return tuple(file.look() for file in self._files.values())

    def _watched(self, name: str) -> WatchedFile[_T]:
        return WatchedFile(self._path / name, lambda raw: self._parse(name, raw), f"{self._name}/{name}")


def _parse_device_file(name: str, raw: bytes) -> _Parsed[DeviceFile]:
    match name.rpartition(".")[2]:
        case "xml":
            return parse_manifest(name, raw)
        case "crl":
            return parse_list(raw)
        case "ocsp":
            return parse_answer(raw)
        case _:
            raise wrong("", "name it .xml (a reference manifest), .crl (a list) or .ocsp (an answer), or remove it")
