"""The doctrine as the guard sees it: ask, and get `Allow` or `Deny`. It never raises for a bad answer.

Undefined, malformed, timed out, engine gone, nothing loaded: `Deny`. A new bundle replaces the serving one
only after it was read, passed the activation gate, compiled, and refused an empty request as every doctrine
must; until then the last good one serves, and `status` says what was refused and why.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.decide.answer import MalformedAnswer, read_appraisal, read_decision, read_plans
from gateway.decide.bundle import Bundle, BundleUnreadable, read_bundle
from gateway.decide.decision import Appraisal, Decision, DeclaredPlan, Deny, deny
from gateway.decide.engine import UNDEFINED, BundleRefused, Engine, EngineError, EngineTimeout, Undefined
from gateway.decide.gate import check_builtins

DECISION: Final = "demesne/main/decision"
PLANS: Final = "demesne/main/plans"
APPRAISAL: Final = "demesne/evidence/appraisal"


class DoctrineUnavailable(Exception):
    """Plans or an appraisal were asked for and the doctrine gave none. The caller goes no further."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class RefusedBundle:
    """A bundle that did not become the serving one: why, and when (ms UTC)."""

    reason: str
    at: int


@dataclass(frozen=True, slots=True)
class DoctrineStatus:
    """What serves: engine name, revision ("" before the first), since when (ms UTC), what was refused since."""

    engine: str
    revision: str
    loaded_at: int | None
    refused: RefusedBundle | None

    def as_document(self) -> dict[str, Any]:
        """As `/v1/doctrine` and `/readyz` tell it."""
        refused = {"reason": self.refused.reason, "at": self.refused.at} if self.refused else None
        return {"engine": self.engine, "revision": self.revision, "loaded_at": self.loaded_at, "refused": refused}


def _new_id() -> str:
    return secrets.token_hex(16)


class Doctrine:
    """Decides. One per process; `clock` gives ms UTC, `new_id` a 32-hex decision id."""

    def __init__(
        self, engine: Engine, bundle_dir: Path, clock: Callable[[], int], *, new_id: Callable[[], str] = _new_id
    ) -> None:
        self._engine = engine
        self._bundle_dir = bundle_dir
        self._clock = clock
        self._new_id = new_id
        self._revision = ""
        self._serving: Bundle | None = None
        self._loaded_at: int | None = None
        self._answering = False
        self._refused: RefusedBundle | None = None
        self._refused_revision = ""
        self._reloading = asyncio.Lock()

    @property
    def revision(self) -> str:
        """Revision of the serving bundle, "" when none serves."""
        return self._revision

    @property
    def answering(self) -> bool:
        """Whether the engine had the serving bundle when it was last looked at: without it every answer is a Deny."""
        return self._answering

    @property
    def status(self) -> DoctrineStatus:
        """What serves and what was refused."""
        return DoctrineStatus(self._engine.name, self._revision, self._loaded_at, self._refused)

    async def reload(self) -> bool:
        """Read the folder and make it the serving doctrine. False: refused, the last good one still serves."""
        async with self._reloading:
            try:
                bundle = await asyncio.to_thread(read_bundle, self._bundle_dir)
                # An OPA server may have been restarted under us, and then has nothing.
                if bundle.revision == self._revision and await self._engine.serving() == bundle.revision:
                    self._refused, self._refused_revision, self._answering = None, "", True
                    return True
                if bundle.revision == self._refused_revision:
                    await self._put_back()
                    return False
                self._refused_revision = bundle.revision
                if not self._engine.any_builtin:
                    check_builtins(bundle)
                self._revision = await self._engine.load(bundle)
                self._serving = bundle
            except BundleRefused as error:
                return self._refuse(str(error))
            except (BundleUnreadable, EngineError) as error:
                self._refused_revision = ""  # not the bundle's fault, or gone: look again next time
                if isinstance(error, EngineError):
                    self._answering = False
                return self._refuse(str(error))
            self._refused_revision = ""
            self._loaded_at = self._clock()
            self._refused, self._answering = None, True
            return True

    async def _put_back(self) -> None:
        """An OPA server restarted while the folder holds a refused bundle has nothing; the last good one still serves.
        Raises EngineError."""
        if self._serving is not None and await self._engine.serving() != self._revision:
            await self._engine.load(self._serving)
        self._answering = self._serving is not None

    def _refuse(self, reason: str) -> bool:
        """Keep what serves; the time is that of the first refusal for this reason."""
        if self._refused is None or self._refused.reason != reason:
            self._refused = RefusedBundle(reason, self._clock())
        return False

    async def decide(self, document: Mapping[str, Any]) -> Decision:
        """Decide the request that `document` (docs/spec/decision.md, input) describes."""
        decision_id, revision = self._new_id(), self._revision
        if not revision:
            return deny(
                decision_id, "", "doctrine.unavailable", "No doctrine is loaded, and without one nothing is permitted",
                "see /v1/doctrine for why the bundle was refused",
            )
        try:
            value = await self._engine.evaluate(DECISION, document)
        except EngineError as error:
            return _failed(decision_id, revision, error)
        if isinstance(value, Undefined):
            return deny(
                decision_id, revision, "doctrine.undefined", "The doctrine says nothing about this request",
                "tell the compliance team; `demesne policy explain` shows what it was asked",
            )
        request = document.get("request")
        action = request.get("action") if isinstance(request, Mapping) else None
        return read_decision(value, decision_id, revision, action if isinstance(action, str) else "")

    async def plans(self, dataset: Mapping[str, Any]) -> list[DeclaredPlan]:
        """The plans the dataset document (`input.dataset`) must have declared and built. Raises DoctrineUnavailable."""
        value = await self._ask(PLANS, {"dataset": dataset})
        try:
            return read_plans(value)
        except MalformedAnswer as error:
            raise DoctrineUnavailable("doctrine.malformed", str(error)) from error

    async def appraise(self, document: Mapping[str, Any]) -> Appraisal:
        """What verified claims (`gateway.decide.document.build_appraisal`) are worth. Raises DoctrineUnavailable."""
        value = await self._ask(APPRAISAL, document)
        try:
            return read_appraisal(value, self._revision)
        except MalformedAnswer as error:
            raise DoctrineUnavailable("doctrine.malformed", str(error)) from error

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.close()

    async def _ask(self, path: str, document: Any) -> Any:
        if not self._revision:
            raise DoctrineUnavailable("doctrine.unavailable", "no doctrine is loaded")
        try:
            value = await self._engine.evaluate(path, document)
        except EngineError as error:
            failure = _failed("", self._revision, error).reason
            raise DoctrineUnavailable(failure.code, failure.message) from error
        if value is UNDEFINED:
            raise DoctrineUnavailable("doctrine.undefined", f"{path} has no value")
        return value


def _failed(decision_id: str, revision: str, error: EngineError) -> Deny:
    if isinstance(error, EngineTimeout):
        return deny(
            decision_id, revision, "doctrine.timeout", "The doctrine did not decide in time", "try again",
        )
    if isinstance(error, BundleRefused):
        return deny(
            decision_id, revision, "doctrine.malformed", "The doctrine in the engine is not the one expected",
            "tell the operator; /v1/doctrine shows the serving revision",
        )
    return deny(
        decision_id, revision, "doctrine.unavailable", f"The doctrine could not decide ({type(error).__name__})",
        "try again; if it persists, tell the operator",
    )
