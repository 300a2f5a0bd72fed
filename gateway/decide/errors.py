"""The errors of gateway.decide, in one place for importers; each is defined beside what raises it."""

from gateway.decide.answer import MalformedAnswer
from gateway.decide.bundle import BundleUnreadable
from gateway.decide.doctrine import DoctrineUnavailable
from gateway.decide.engine import BundleRefused, EngineError, EngineFailed, EngineTimeout, EngineUnavailable

__all__ = [
    "BundleRefused", "BundleUnreadable", "DoctrineUnavailable", "EngineError", "EngineFailed", "EngineTimeout",
    "EngineUnavailable", "MalformedAnswer",
]
