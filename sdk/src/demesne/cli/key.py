"""`demesne key`: the life of the keys that seal datasets. Each command is decided and recorded by the zone."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer

from demesne.cli.output import Json, ReadyFile, ZoneName, console, print_json, print_table, settings_of
from demesne.client import Client
from demesne.errors import Invalid, Unavailable

_HELP = """The keys that seal datasets: see what there is, replace them, take them away.

Each dataset has EPOCH KEYS in the key provider (HSM, KMS, Transit or files), of two classes: RAW opens what is
stored, VIEW opens masked renderings. An epoch key wraps group keys, a group key wraps the keys of up to 10,000
objects. `rotate` makes a new epoch and `rewrap` moves the groups under it: objects are not encrypted again. `disable`
closes everything under an epoch within a minute, `enable` opens it again. `destroy` ends an epoch on which nothing
hangs; `shred` ends objects, in every backup too. These two take two persons: one asks, another one approves.
"""
_POLL_SECONDS = 0.5
_OPEN = frozenset({"approved", "running"})
Who = Annotated[
    str, typer.Option("--as", help="Whose credentials of the ready file; without one, those of the environment.")
]
Dataset = Annotated[str, typer.Argument(help="Name of the dataset.")]
KeyClass = Annotated[str | None, typer.Option("--class", help="raw or view; default: both.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, in words the auditor will read.")]
Order = Annotated[str, typer.Argument(help="Id of the order, as `key requests` lists it.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is carried out.")]
WaitSeconds = Annotated[float, typer.Option("--timeout", help="Wait at most so many seconds.")]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help=_HELP, no_args_is_help=True)
    commands: dict[str, Callable[..., None]] = {
        "list": list_keys, "usage": usage, "rotate": rotate, "rewrap": rewrap, "disable": disable, "enable": enable,
        "destroy": destroy, "shred": shred, "requests": requests, "show": show, "approve": approve, "cancel": cancel,
        "certificate": certificate,
    }  # fmt: skip
    for name, command in commands.items():
        group.command(name)(command)
    app.add_typer(group, name="key")


def list_keys(
    dataset: Annotated[str | None, typer.Argument(help="One dataset; default: all you may know of.")] = None,
    who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """List epoch keys with their state."""
    with _client(ready_file, zone, who) as client:
        found = client.keys(dataset)
    if json:
        print_json({"keys": found})
        return
    names = ["dataset", "key_class", "epoch", "state", "state_since", "destroy_at", "epoch_id"]
    print_table("Epoch keys", names, [[_cell(entry.get(name)) for name in names] for entry in found])


def usage(
    dataset: Dataset, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Show what hangs on each epoch: groups, and keys of objects, views and open uploads in them.

    An old epoch is empty once `rewrap` has moved its last group; only then can it be destroyed.
    """
    with _client(ready_file, zone, who) as client:
        found = client.keys(dataset)
    old = [entry for entry in found if entry["state"] != "active" and entry["groups"]]
    left = {"groups": sum(e["groups"] for e in old), "objects": sum(e["objects"] for e in old)}
    if json:
        print_json({"keys": found, "on_old_epochs": left})
        return
    names = ["key_class", "epoch", "state", "groups", "objects", "epoch_id"]
    print_table(f"What hangs on the keys of {dataset}", names, [[_cell(e.get(n)) for n in names] for e in found])
    if old:
        told = f"On old epochs: {left['groups']} groups, {left['objects']} keys."
        console().print(f"{told} Move them: demesne key rewrap {dataset}")
    else:
        console().print("Nothing hangs on an old epoch.")


def rotate(
    dataset: Dataset, key_class: KeyClass = None, reason: Reason = "rotation", who: Who = "steward",
    zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Make a new epoch key; new objects are sealed under it within a minute.

    What is there stays under the old one until `demesne key rewrap` moves it. Example: demesne key rotate claims
    """
    with _client(ready_file, zone, who) as client:
        made = [
            client.order_keys(dataset, "rotate", key_class=each, reason=reason)
            for each in _classes(client, dataset, key_class)
        ]
    _said(made, json, lambda order: f"{order['key_class']}: new epoch {order['result'].get('epoch_id', '(pending)')}.")


def rewrap(
    dataset: Dataset, key_class: KeyClass = None, reason: Reason = "rotation", wait: Wait = True,
    timeout: WaitSeconds = 600.0, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Move all group keys under the newest epoch; no object is encrypted again. Exits 6 when --timeout passes."""
    with _client(ready_file, zone, who) as client:
        made = [
            client.order_keys(dataset, "rewrap", key_class=each, reason=reason)
            for each in _classes(client, dataset, key_class)
        ]
        if wait:
            made = [_carried_out(client, order, timeout, quiet=json) for order in made]
    _said(made, json, lambda order: f"{order['key_class']}: {order['state']}.")


def disable(
    dataset: Dataset, epochs: Annotated[list[str], typer.Argument(help="Epoch ids, of one class.")],
    reason: Reason = "suspected compromise", who: Who = "steward", zone: ZoneName = None,
    ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Close everything under these epochs, within a minute everywhere. `enable` undoes it."""
    _switch("disable", dataset, epochs, reason, who, zone, ready_file, json)


def enable(
    dataset: Dataset, epochs: Annotated[list[str], typer.Argument(help="Epoch ids, of one class.")],
    reason: Reason = "cleared", who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None,
    json: Json = False,
) -> None:  # fmt: skip
    """Open disabled epochs again."""
    _switch("enable", dataset, epochs, reason, who, zone, ready_file, json)


def destroy(
    dataset: Dataset, epochs: Annotated[list[str], typer.Argument(help="Epoch ids, of one class.")], reason: Reason,
    who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Ask for the destruction of epochs on which nothing hangs. A second person approves with `key approve`.

    Exits 7 while something hangs on one: `rewrap` moves it away, `shred` ends it. After the approval the provider is
    told; `key show` says `destroyed`, or until when it is pending. Until then `key cancel` takes it back.
    """
    with _client(ready_file, zone, who) as client:
        found = {entry["epoch_id"]: entry for entry in client.keys(dataset)}
        if not json:
            for epoch in epochs:
                known = found.get(epoch, {"groups": "?", "objects": "?"})
                console().print(f"{epoch}: {known['groups']} groups, {known['objects']} keys hang on it.")
        order = client.order_keys(
            dataset, "destroy", key_class=_class_of(found, epochs), epochs=epochs, reason=reason
        )
    _to_approve(order, json)


def shred(
    dataset: Dataset, reason: Reason,
    key: Annotated[list[str] | None, typer.Option("--key", help="An object's key; every version of it. Repeatable.")]
    = None,
    prefix: Annotated[str | None, typer.Option("--prefix", help="Every key that begins so.")] = None,
    version: Annotated[
        list[str] | None, typer.Option("--version", help="A version id; of a deleted one too. Repeatable.")
    ] = None,
    who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Ask for the erasure of objects: their keys are destroyed, so that no backup opens them. Irrevocable.

    A second person approves with `key approve`; then it is carried out at once and `key certificate` gives the signed
    proof. Everything else in the dataset stays readable. Example:
    demesne key shred claims --prefix customers/4711/ --reason "request 2026-113"
    """
    if not (key or prefix or version):
        raise Invalid("usage", "name what is to be erased", remedy="--key, --prefix or --version")
    with _client(ready_file, zone, who) as client:
        order = client.order_keys(
            dataset, "shred", keys=key or [], prefix=prefix, versions=version or [], reason=reason
        )
    if not json:
        console().print(f"{len(order['versions'])} versions of {dataset} are to be erased.")
    _to_approve(order, json)


def requests(
    dataset: Dataset, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """List orders about a dataset's keys, newest first."""
    with _client(ready_file, zone, who) as client:
        found = client.key_requests(dataset)
    if json:
        print_json({"requests": found})
        return
    names = ["request_id", "action", "state", "step", "created_at", "reason"]
    print_table(f"Orders about the keys of {dataset}", names, [[_cell(e.get(n)) for n in names] for e in found])


def show(
    order: Order, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Show one order: exactly what it says, how far it is."""
    with _client(ready_file, zone, who) as client:
        found = client.key_request(order)
    if json:
        print_json(found)
    else:
        _show(found)


def approve(
    order: Order, wait: Wait = True, timeout: WaitSeconds = 600.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; for programs.")] = False, who: Who = "custodian",
    zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Approve, as a second person, what somebody else asked for. Shows it first; exits 3 for your own order."""
    with _client(ready_file, zone, who) as client:
        found = client.key_request(order)
        if not json:
            _show(found)
        if not yes and not typer.confirm("Approve exactly this?"):
            raise typer.Exit(1)
        found = client.approve_keys(order, found["request_sha256"])
        if wait:
            found = _carried_out(client, found, timeout, quiet=json)
    _said([found], json, _outcome)


def cancel(
    order: Order, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Take an order back that was not carried out; a scheduled destruction too. Exits 7 when it is too late."""
    with _client(ready_file, zone, who) as client:
        found = client.cancel_keys(order, client.key_request(order)["request_sha256"])
    _said([found], json, _outcome)


def certificate(
    order: Order, who: Who = "steward", zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False,
) -> None:  # fmt: skip
    """Print the erasure certificate of a shredding and its signature by the zone's key (docs/spec/erasure.md)."""
    with _client(ready_file, zone, who) as client:
        found = client.key_request(order)
    if "certificate" not in found:
        raise Invalid("certificate.none", f"order {order} is {found['state']}", remedy="wait until it is carried out")
    if json:
        print_json({"certificate": found["certificate"], "signature": found["signature"]})
        return
    typer.echo(found["certificate"])
    typer.echo(found["signature"])


def _switch(
    action: str, dataset: str, epochs: list[str], reason: str, who: str, zone: str | None, ready_file: Any, json: bool
) -> None:
    with _client(ready_file, zone, who) as client:
        found = {entry["epoch_id"]: entry for entry in client.keys(dataset)}
        order = client.order_keys(dataset, action, key_class=_class_of(found, epochs), epochs=epochs, reason=reason)
    _said([order], json, lambda made: ", ".join(f"{e}: {s}" for e, s in made["result"].get("epochs", {}).items()))


def _client(ready_file: Any, zone: str | None, who: str) -> Client:
    return Client.from_settings(settings_of(ready_file), zone=zone, role=who)


def _classes(client: Client, dataset: str, asked: str | None) -> list[str]:
    if asked is not None and asked not in {"raw", "view"}:
        raise Invalid("usage", f"--class {asked}: raw or view")
    if asked is not None:
        return [asked]
    return sorted({entry["key_class"] for entry in client.keys(dataset)})


def _class_of(found: dict[str, Any], epochs: list[str]) -> str:
    unknown = [epoch for epoch in epochs if epoch not in found]
    if unknown:
        raise Invalid("usage", f"no epoch {unknown[0]} in this dataset", remedy="`demesne key list DATASET`")
    classes = {found[epoch]["key_class"] for epoch in epochs}
    if len(classes) != 1:
        raise Invalid("usage", "epochs of one class at a time")
    return str(classes.pop())


def _carried_out(client: Client, order: dict[str, Any], seconds: float, *, quiet: bool) -> dict[str, Any]:
    """Poll until the order is past being carried out. Raises Unavailable when `seconds` pass."""
    until = time.monotonic() + seconds
    with console().status(f"{order['action']} of {order['dataset']} …") as status:
        while order["state"] in _OPEN:
            if time.monotonic() >= until:
                raise Unavailable("key.slow", f"order {order['request_id']} is still {order['state']}",
                                  remedy="it goes on; look with `demesne key show`")  # fmt: skip
            time.sleep(_POLL_SECONDS)
            order = client.key_request(order["request_id"])
            if not quiet:
                told = ", ".join(f"{name} {value}" for name, value in order["progress"].items())
                status.update(f"{order['action']} of {order['dataset']}: {order['step'] or order['state']} {told}")
    return order


def _said(orders: list[dict[str, Any]], json: bool, sentence: Callable[[dict[str, Any]], str]) -> None:
    if json:
        print_json({"requests": orders})
        return
    for order in orders:
        console().print(sentence(order), markup=False)


def _outcome(order: dict[str, Any]) -> str:
    """`destroyed`, or `pending until DATE`, as the provider said."""
    if order["state"] == "waiting":
        return f"Order {order['request_id']}: pending until {order['execute_at']}."
    if order["action"] in {"destroy", "shred"} and order["state"] == "done":
        return f"Order {order['request_id']}: destroyed."
    return f"Order {order['request_id']}: {order['state']}."


def _to_approve(order: dict[str, Any], json: bool) -> None:
    _said([order], json, lambda made: (
        f"Order {made['request_id']} waits for a second person until {made['expires_at']}:\n"
        f"  demesne key approve {made['request_id']}"
    ))  # fmt: skip


def _show(order: dict[str, Any]) -> None:
    facts = [
        [name, _cell(value)] for name, value in order.items()
        if name not in {"certificate", "signature", "versions", "result", "progress"}
    ]  # fmt: skip
    facts += [[f"result {name}", _cell(value)] for name, value in order["result"].items()]
    facts += [["versions", "\n".join(order["versions"][:20]) + (" …" if len(order["versions"]) > 20 else "")]]
    print_table(f"Order {order['request_id']}", ["fact", "value"], facts)


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
