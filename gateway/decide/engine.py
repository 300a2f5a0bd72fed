"""The port behind which a Rego engine stands: load a bundle, evaluate one rule, nothing else.

An engine never decides. It gives back the JSON value of a rule or `UNDEFINED`; `gateway.decide.doctrine`
turns everything that is not a well-formed Allow into a Deny.
"""

from typing import Any, Final, Protocol, final

from gateway.decide.bundle import Bundle


@final
class Undefined:
    """The rule has no value for this input. Its own type, because `{}` and `null` are values."""

    def __repr__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined()


class EngineError(Exception):
    """Base of what an engine raises on purpose."""


class EngineTimeout(EngineError):
    """The evaluation used up its deadline; whatever it would have said is not an answer."""


class EngineUnavailable(EngineError):
    """The engine cannot be reached or has stopped."""


class EngineFailed(EngineError):
    """The engine refused the evaluation: a failing built-in, a rule conflict, a panic."""


class BundleRefused(EngineError):
    """The bundle does not compile, or uses what this engine may not be trusted with."""


class Engine(Protocol):
    """One Rego engine. Implementations: `gateway.decide.regorus.Regorus`, `gateway.decide.opa.Opa`."""

    name: str
    any_builtin: bool  # True: every built-in of OPA is answered as OPA answers it, so no allow-list is needed

    async def load(self, bundle: Bundle) -> str:
        """Make `bundle` the one that answers and return its revision. All or nothing: when this raises
        BundleRefused or EngineUnavailable, what was loaded before keeps answering."""
        ...

    async def serving(self) -> str:
        """Revision that would answer now, "" when none would. Raises EngineUnavailable."""
        ...

    async def evaluate(self, path: str, document: Any) -> Any | Undefined:
        """Value of the rule at `path` ("demesne/main/decision") for the input `document`. Raises EngineError."""
        ...

    async def close(self) -> None:
        """Release what the engine holds; a second call does nothing."""
        ...
