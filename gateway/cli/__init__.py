"""The server's commands of `demesne`. The client owns the command and finds these by entry point."""

import typer

from gateway.cli import attest, dev, ledger, maintain, policy, run_demo, serve


def register(app: typer.Typer) -> None:
    """Add `dev`, `serve`, `demo`, `fsck`, `rebuild`, `backup`, `restore`, `policy …`,
    `ledger verify|verify-receipt` and `attest …` to `app`.
    """
    for part in (dev, serve, run_demo, maintain, policy, ledger, attest):
        part.register(app)
