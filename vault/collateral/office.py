"""Import and status over one trust directory."""

from dataclasses import dataclass
from pathlib import Path

from vault.attest.claims import Refusal, refuse
from vault.attest.fields import at_time
from vault.attest.snp.amd import amd_certificates
from vault.attest.trust.collateral import Answer, IntelCollateral, RevocationList
from vault.attest.trust.directory import INTEL, NVIDIA, Material, TrustDirectory
from vault.attest.trust.endorsers import Statement
from vault.attest.trust.manifests import Manifest
from vault.attest.trust.roots import Roots, roots_of
from vault.attest.trust.watched import Loaded, State, read_bounded
from vault.collateral.candidates import CHAINS, Anchors, Candidate, candidate, with_paths
from vault.collateral.placing import Placed, place
from vault.errors import Malformed, VaultError

FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file that was brought or asked for: new, updated, unchanged or failed."""

    source: str
    outcome: str
    name: str = ""
    what: str = ""
    expires_ms: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one file in place stands. `verified` None: it is checked when it is used, or has no signature."""

    name: str
    state: State
    what: str
    issued_ms: int | None
    expires_ms: int | None
    verified: bool | None
    problem: str

    @property
    def good(self) -> bool:
        """Whether nobody has to mend anything: what is missing was not wanted."""
        return self.state in {State.PRESENT, State.MISSING} and self.verified is not False


class Office:
    """`development`: roots of development in the directory count, as they do for verifiers. `roots`: the package's
    pins, but in tests."""

    def __init__(self, root: Path, *, development: bool = False, roots: Roots | None = None) -> None:
        self._root = root
        self._directory = TrustDirectory(root, development=development, look_ms=0)
        self._pinned = roots or Roots()

    @property
    def root(self) -> Path:
        return self._root

    def material(self, now_ms: int) -> Material:
        """What the directory holds."""
        return self._directory.material(now_ms)

    def anchors(self, now_ms: int) -> Anchors:
        """Pinned roots, those of development if they count, and paths that files in place show."""
        files = [loaded.value for loaded in self.material(now_ms).development if loaded.value is not None]
        issuers = (*amd_certificates(), *(der for file in files for der in file.issuers))
        endorsers = self.material(now_ms).endorsers.valid(now_ms) or ()
        anchors = Anchors(_together(self._pinned, roots_of(files)), issuers, endorsers=endorsers)
        return with_paths(anchors, self._shown(), at_time(now_ms))

    def check(self, name: str, content: bytes, now_ms: int) -> Candidate:
        """A candidate, verified. Refused or Malformed."""
        return candidate(name, content, self.anchors(now_ms), at_time(now_ms))

    def take_in(self, source: str, content: bytes, now_ms: int, expected: str = "") -> Outcome:
        """Verified and put in place, or failed with the reason; nothing is changed by what failed. `expected`: the
        file that was asked for, which it must be."""
        try:
            found = self.check((expected or source).rpartition("/")[2], content, now_ms)
            if expected and found.name != expected:
                raise refuse(Refusal.FMSPC if expected.startswith(INTEL) else Refusal.COLLATERAL,
                             f"it is {found.what}, and another was asked for")  # fmt: skip
            return told(source, place(self._root, found))
        except (VaultError, OSError) as error:
            return failed(source, error)

    def standings(self, now_ms: int) -> list[Standing]:
        """Every file, those that have a fixed name first; collateral's signatures are checked here."""
        anchors = self.anchors(now_ms)
        return [self._standing(loaded, anchors, now_ms) for loaded in self.material(now_ms).files()]

    def _standing(self, loaded: Loaded[object], anchors: Anchors, now_ms: int) -> Standing:
        what, verified, problem = "", None, loaded.said(now_ms)
        state = loaded.state(now_ms)
        if isinstance(loaded.value, IntelCollateral | RevocationList | Answer | Manifest | Statement):
            what, verified, why = self._verified(loaded.name, anchors, now_ms)
            problem = problem or why
        dated = loaded.dated
        return Standing(
            loaded.name, state, what, dated.issued_ms if dated else None, dated.expires_ms if dated else None, verified,
            problem,
        )  # fmt: skip

    def _verified(self, name: str, anchors: Anchors, now_ms: int) -> tuple[str, bool, str]:
        try:
            _, content = read_bounded(self._root / name)
            found = candidate(name.rpartition("/")[2], content, anchors, at_time(now_ms))
        except (VaultError, OSError) as error:
            return "", False, str(error)
        return found.what, True, ""

    def _shown(self) -> list[tuple[str, bytes]]:
        found = []
        for folder, ending in ((CHAINS, "*.pem"), (NVIDIA, "*.xml")):
            for path in sorted((self._root / folder).glob(ending))[:512]:
                try:
                    found.append((path.name, read_bounded(path)[1]))
                except (Malformed, OSError):
                    continue
        return found


def told(source: str, placed: Placed) -> Outcome:
    found = placed.candidate
    expires_ms = found.dated.expires_ms if found.dated else None
    return Outcome(source, placed.outcome, found.name, found.what, expires_ms)


def failed(source: str, error: Exception) -> Outcome:
    return Outcome(source, FAILED, detail=str(error))


def _together(one: Roots, other: Roots) -> Roots:
    amd = {
        product: one.amd.get(product, frozenset()) | other.amd.get(product, frozenset())
        for product in (*one.amd, *other.amd)
    }
    return Roots(
        amd, one.intel | other.intel, one.aws | other.aws, one.nvidia | other.nvidia, one.manifests | other.manifests,
        one.google | other.google,
    )  # fmt: skip
