"""`demesne zone`: the zones there are."""

import typer

from demesne.cli.output import Json, ReadyFile, client_of, print_json, print_table


def register(app: typer.Typer) -> None:
    about = "Zones: jurisdictions with gateway, store, keys and ledger of their own."
    group = typer.Typer(help=about, no_args_is_help=True)
    group.command("list")(list_zones)
    app.add_typer(group, name="zone")


def list_zones(ready_file: ReadyFile = None, json: Json = False) -> None:
    """List the zones of the signed directory."""
    with client_of(ready_file) as client:
        zones = client.zones()
    if json:
        print_json({"zones": zones})
        return
    columns = ["name", "jurisdiction", "state", "s3_endpoint", "api_endpoint"]
    print_table("Zones", columns, [[str(zone.get(name, "")) for name in columns] for zone in zones])
