"""`demesne session` and `demesne attest revoke`: who is attested now, and ending it."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from demesne.cli.output import Json, ReadyFile, ZoneName, console, print_json, print_table, settings_of
from demesne.client import Client
from demesne.errors import Invalid

_SESSION_HELP = "Attested sessions: which there are, what each rests on, and ending one."
_ATTEST_HELP = "Evidence of machines, and what is no longer trusted."
_LISTED = ["session_id", "principal_id", "purpose", "tier", "state", "attested_at", "expires_at", "bound"]
Who = Annotated[
    str, typer.Option("--as", help="Whose credentials of the ready file; without one, those of the environment.")
]
Session = Annotated[str, typer.Argument(help="Id of the session, as `session list` shows it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in words the auditor will read.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=_SESSION_HELP, no_args_is_help=True)
    commands: dict[str, Callable[..., None]] = {"list": list_sessions, "show": show, "revoke": revoke}
    for name, command in commands.items():
        group.command(name)(command)
    app.add_typer(group, name="session")
    trust = typer.Typer(help=_ATTEST_HELP, no_args_is_help=True)
    trust.command("revoke")(revoke_trust)
    trust.command("revoked")(list_revoked)
    app.add_typer(trust, name="attest")


def list_sessions(
    own: Annotated[bool, typer.Option("--own", help="Only the caller's; everybody's needs a steward or custodian.")]
    = False,
    who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """List sessions that have not expired, newest first."""
    with _client(ready_file, zone, who) as client:
        found = client.request("GET", "/v1/sessions", query=None if own else {"everybody": "true"})
    if json:
        print_json({"sessions": found})
        return
    rows = [entry | {"bound": entry["bound_key"] or entry["bound_source"] or "nothing"} for entry in found]
    print_table("Sessions", _LISTED, [[str(entry[name]) for name in _LISTED] for entry in rows])


def show(
    session: Session, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Show one session, and the values of its claims that `attest revoke` takes."""
    with _client(ready_file, zone, who) as client:
        found = client.request("GET", f"/v1/sessions/{_id(session)}")
    if json:
        print_json(found)
        return
    facts = [[name, _cell(value)] for name, value in found.items() if name not in {"claims", "revocable"}]
    print_table(f"Session {session}", ["fact", "value"], facts)
    values = [[entry["what"], entry["value"]] for entry in found["revocable"]]
    print_table("What it rests on", ["what", "value"], values)


def revoke(
    session: Session, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """End a session everywhere within 5 seconds; its open streams within 10. There is no way back but attesting."""
    with _client(ready_file, zone, who) as client:
        client.request("DELETE", f"/v1/sessions/{_id(session)}")
    if json:
        print_json({"session_id": session, "state": "revoked"})
    else:
        console().print(f"Session {session}: revoked.")


def revoke_trust(
    reason: Reason,
    subject: Annotated[str | None, typer.Option("--subject", help="A principal, by name or id.")] = None,
    platform: Annotated[
        str | None, typer.Option("--platform", help="A chip, module, TPM key, device or firmware, as claims name it.")
    ] = None,
    measurement: Annotated[str | None, typer.Option("--measurement", help="Code, as claims name it.")] = None,
    who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Trust a principal, a platform or a measurement no more. Ends every session that rests on it; for good.

    The values are those of `demesne session show`. Example:
    demesne attest revoke --measurement 6f2a… --reason "CVE-2026-0001 in the training image"
    """
    named = {"subject": subject, "platform": platform, "measurement": measurement}
    given = [(what, value) for what, value in named.items() if value]
    if len(given) != 1:
        raise Invalid("usage", "name one thing", remedy="--subject, --platform or --measurement")
    what, value = given[0]
    with _client(ready_file, zone, who) as client:
        document = {"what": what, "value": value, "reason": reason}
        found = client.request("POST", "/v1/revocations", document=document)
    if json:
        print_json(found)
        return
    console().print(f"{what} {found['value']}: revoked; {len(found['sessions'])} sessions end.", markup=False)


def list_revoked(
    who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """List what was revoked. Values are SHA-256 of what claims say."""
    with _client(ready_file, zone, who) as client:
        found = client.request("GET", "/v1/revocations")
    if json:
        print_json({"revocations": found})
        return
    names = ["what", "value", "at", "by", "reason"]
    print_table("Revoked", names, [[str(entry[name]) for name in names] for entry in found])


def _id(session: str) -> str:
    if not session.isalnum():
        raise Invalid("usage", "not a session id", remedy="`demesne session list`")
    return session


def _client(ready_file: Any, zone: str | None, who: str) -> Client:
    return Client.from_settings(settings_of(ready_file), zone=zone, role=who)


def _cell(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
