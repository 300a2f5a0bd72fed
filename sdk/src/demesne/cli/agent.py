"""`demesne agent` and `demesne creds`: a session for programs that do not speak Python.

The agent is a sidecar: it attests, re-attests, and serves the container-credentials endpoint on loopback until it is
told to stop. `creds --aws-process` answers AWS's credential_process, from a running agent or by attesting itself.
"""

import json as jsonlib
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

import demesne
from demesne.agent import Place, write_private
from demesne.agent_client import fetch
from demesne.cli.output import Json, ReadyFile, console, print_json
from demesne.credentials import Credentials
from demesne.errors import DemesneError, Invalid, NotConfigured, Refused, Unavailable
from demesne.renewal import Renewal
from demesne.session import Session

EXIT_REFUSED = 3
URI, TOKEN_FILE = "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
# AWS SDKs take credentials over plain HTTP from these addresses only (sdkref, container credential provider).
_HOSTS = ("127.0.0.1", "::1", "169.254.170.2", "169.254.170.23", "fd00:ec2::23")

Purpose = Annotated[str | None, typer.Option("--purpose", help="What the data is wanted for.")]
Scope = Annotated[list[str] | None, typer.Option("--scope", help="Dataset to be opened raw; repeat. Default: all.")]
Listen = Annotated[str, typer.Option("--listen", help="Loopback address and port; port 0 takes a free one.")]
Bind = Annotated[str | None, typer.Option("--bind", help="certificate: raw data only to who shows it.")]
Wait = Annotated[float, typer.Option("--wait", help="Wait so many seconds for a gateway that is not up yet.")]
RunName = Annotated[str | None, typer.Option("--run", help="Name of the lineage run.")]
Attester = Annotated[str, typer.Option("--attester", help="Kind of evidence; auto takes the best this machine has.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", help="Where clients find the agent's token (0600).")]
UriFile = Annotated[Path | None, typer.Option("--uri-file", help="Where clients find the agent's URI.")]


def register(app: typer.Typer) -> None:
    app.command("agent")(agent)
    app.command("creds")(creds)


def agent(
    purpose: Purpose = None,
    scope: Scope = None,
    run: RunName = None,
    attester: Attester = "auto",
    listen: Listen = "127.0.0.1:0",
    token_file: TokenFile = None,
    uri_file: UriFile = None,
    bind: Bind = None,
    wait: Wait = 60.0,
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Attest, keep it fresh, and serve credentials on loopback until SIGTERM.

    Prints what clients need in their environment when it serves. Exits 3 when the gateway refuses for good. On SIGTERM
    it answers what has arrived, revokes its session and removes its files.
    """
    if purpose is None:
        raise Invalid("usage", "say what the data is wanted for", remedy="demesne agent --purpose model-training")
    if bind not in {None, "certificate"}:
        raise Invalid("usage", f"--bind {bind!r} is not known", remedy="certificate is the only one")
    stop = _stopping()
    options: dict[str, Any] = {
        "purpose": purpose, "scope": scope or None, "run": run, "attester": attester, "bind": bind,
        "agent": _place(listen, token_file), "ready_file": ready_file,
    }  # fmt: skip
    session = _opened(options, stop, wait)
    if session is None:
        return
    try:
        _announce(session, uri_file, as_json=json)
        while not stop.is_set() and not session.ended(0.2):
            pass
    finally:
        if uri_file is not None:
            uri_file.unlink(missing_ok=True)
        refused = session.failure if session.ended(0) else None
        _close(session)
    if refused is not None:
        print(f"demesne: {refused.sentence}", file=sys.stderr)
        raise typer.Exit(EXIT_REFUSED)


def creds(
    aws_process: Annotated[bool, typer.Option("--aws-process", help="AWS's credential_process document.")] = False,
    purpose: Purpose = None,
    scope: Scope = None,
    run: RunName = None,
    attester: Attester = "auto",
    token_file: TokenFile = None,
    uri_file: UriFile = None,
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Print session credentials, of the agent that is named or in the environment; with --purpose attest here.

    What attests by itself has nobody who re-attests: its credentials end with the attestation's freshness, and AWS SDKs
    then ask again. Prefer an agent.
    """
    found = _from_agent(uri_file, token_file)
    if found is None:
        if purpose is None:
            raise NotConfigured(
                "agent.missing", f"no agent is named by --uri-file or {URI}",
                remedy="start one with 'demesne agent', or give --purpose to attest here",
            )  # fmt: skip
        found = _attested(
            {"purpose": purpose, "scope": scope or None, "run": run, "attester": attester, "ready_file": ready_file}
        )
    if aws_process or json:
        print_json(process_document(found))
        return
    console().print(f"Credentials {found.access_key_id} until {found.expiration}. Programs: --aws-process")


def process_document(found: Credentials) -> dict[str, object]:
    """AWS sdkref, "process credential provider", version 1."""
    document = found.as_container_document()
    document["SessionToken"] = document.pop("Token")
    return {"Version": 1, **document}


def _from_agent(uri_file: Path | None, token_file: Path | None) -> Credentials | None:
    uri, token = os.environ.get(URI), token_file
    if uri_file is not None and uri_file.exists():
        uri = uri_file.read_text(encoding="ascii").strip()
    if token is None and os.environ.get(TOKEN_FILE):
        token = Path(os.environ[TOKEN_FILE])
    return fetch(uri, token) if uri and token is not None else None


def _attested(options: dict[str, Any]) -> Credentials:
    session = demesne.session(reattest=False, **options)
    now = session.credentials
    fresh = datetime.now(UTC) + timedelta(seconds=session.fresh_seconds)
    session.leave_open()
    end = min(now.expiration or fresh, fresh)
    return Credentials(now.access_key_id, now.secret_access_key, now.session_token, end)


def _place(listen: str, token_file: Path | None) -> Place:
    """Raises Invalid for an address that other machines reach: whoever gets the token gets the data."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if host not in _HOSTS or not port.isdigit() or int(port) > 65535:
        raise Invalid("agent.listen", f"{listen!r} is not a loopback address with a port", remedy="127.0.0.1:0")
    return Place(host, int(port), token_file.absolute() if token_file is not None else None)


def _opened(options: dict[str, Any], stop: threading.Event, wait: float) -> Session | None:
    """The session; a gateway that is not up yet is waited for. None when stopped meanwhile."""
    started = time.monotonic()
    schedule = Renewal(wait, lambda: 0.5)
    while not stop.is_set():
        try:
            return demesne.session(**options)
        except Unavailable as error:
            pause = schedule.failed(error, 0.0) or 1.0
            if error.code == "agent.address" or time.monotonic() + pause - started > wait:
                raise
            print(f"demesne: trying again in {pause:.0f} s: {error.sentence}", file=sys.stderr)
            stop.wait(pause)
    return None


def _stopping() -> threading.Event:
    stop = threading.Event()

    def told(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, told)
    return stop


def _announce(session: Session, uri_file: Path | None, *, as_json: bool) -> None:
    """Ready: the file first, since whoever waits for it reads it at once."""
    env = session.env()
    if uri_file is not None:
        write_private(uri_file.absolute(), env[URI].encode("ascii"))
    if as_json:
        about = {"session_id": session.session_id, "run_id": session.run_id, "environment": env}
        print(jsonlib.dumps(about), flush=True)
        return
    for name, value in env.items():
        print(f"export {name}='{value}'", flush=True)


def _close(session: Session) -> None:
    try:
        session.close()
    except Refused:
        pass  # revoked already
    except DemesneError as error:
        print(f"demesne: the session was not revoked, and ends by itself: {error.sentence}", file=sys.stderr)
