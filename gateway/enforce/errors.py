"""What enforcement ends in when it does not end in a view: one base, three children, reasons from a closed list.

    EnforceError
    ├── PlanRefused      the plan's effect is not one this program understands
    ├── Undecodable      the object is not what its format allows, or is beyond the limits
    └── SandboxFailed    the decoder child crashed, was silent, or spoke another protocol

A reason never holds a value, a column name or a number of the data: messages of decoders quote cells
(`pyarrow` puts the offending row into the exception), so they are dropped at the border.
"""

REASONS = frozenset(
    {
        "format.opaque", "parquet.malformed", "parquet.unsupported",
        "csv.malformed", "csv.encoding", "csv.columns", "csv.row-too-long",
        "columns.none", "columns.duplicate", "columns.limit", "rows.limit", "groups.limit", "decoded.limit",
        "decoder.memory", "decoder.cpu", "decoder.crashed", "decoder.failed", "sealed.unverified",
        "plan.malformed", "plan.field", "plan.action", "plan.params", "plan.duplicate", "plan.empty",
        "plan.purpose-class", "plan.retired", "plan.identity",
        "sandbox.protocol", "sandbox.output", "sandbox.deadline", "sandbox.confinement",
    }
)  # fmt: skip


class EnforceError(Exception):
    """Base. `reason` is one of `REASONS`, safe to store and to show."""

    def __init__(self, reason: str) -> None:
        if reason not in REASONS:
            raise ValueError("reason is not in the closed list")
        super().__init__(reason)
        self.reason = reason


class PlanRefused(EnforceError):
    """The effect has an unknown field, action or parameter; nothing is built from it."""


class Undecodable(EnforceError):
    """The object's bytes do not parse, do not verify, or exceed a limit."""


class SandboxFailed(EnforceError):
    """The decoder child did not do its part; its output is thrown away."""
