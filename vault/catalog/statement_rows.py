"""The row of what jobs say of their runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunStatementRow:
    """What a job said of its run. `document` is the text whose SHA-256 the ledger has: not parsed here."""

    tenant: str
    statement_id: str
    run_id: str
    document: str
    at: int
