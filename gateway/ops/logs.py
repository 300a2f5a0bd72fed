"""Logs: one JSON object a line on standard error, event names and ids only.

No request objects, keys, headers or exception values: pyarrow and SQL drivers put data into messages, and a log
is a copy of it that nobody masks.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

_ALLOWED = frozenset({
    "event", "level", "timestamp", "logger", "role", "zone", "reason", "decision", "kind", "job", "revision", "state",
    "port", "count", "seconds", "view", "exception_type", "where", "strength", "pid",
})  # fmt: skip


def only_allowed(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Drop every field nobody decided to log; name what was dropped."""
    dropped = sorted(name for name in event if name not in _ALLOWED)
    for name in dropped:
        del event[name]
    if dropped:
        event["count"] = len(dropped)
    return event


def without_traceback_values(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception is logged as its type and place; its text may hold data."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["exception_type"] = type(error).__name__
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        if trace is not None:
            event["where"] = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
    return event


def configure_logs() -> None:
    """For this process: structlog, and the standard library's loggers through the same rules."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            without_traceback_values,
            only_allowed,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_StandardFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class _StandardFormatter(logging.Formatter):
    """Libraries' records: logger, level, the message template without its arguments, exception type and place."""

    def format(self, record: logging.LogRecord) -> str:
        event: MutableMapping[str, Any] = {
            "event": str(record.msg)[:200], "level": record.levelname.lower(), "logger": record.name,
        }  # fmt: skip
        if record.exc_info:
            event["exc_info"] = record.exc_info
        event = without_traceback_values(None, "", event)
        return str(structlog.processors.JSONRenderer()(None, "", event))
