"""`demesne dataset`: create, list, show."""

from typing import Annotated, Any

import typer

from demesne.cli.output import Json, ReadyFile, ZoneName, client_of, console, print_json, print_table


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Datasets: named sets of objects, pinned to one zone.", no_args_is_help=True)
    group.command("create")(create)
    group.command("list")(list_datasets)
    group.command("show")(show)
    app.add_typer(group, name="dataset")


def create(
    name: Annotated[str, typer.Argument(help="3 to 63 characters of a-z, 0-9, '.', '-'.")],
    zone: ZoneName = None,
    synthetic: Annotated[bool, typer.Option("--synthetic", help="Holds made-up data only.")] = False,
    label: Annotated[str, typer.Option("--label", help="personal or none.")] = "personal",
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Create a dataset. Exits 7 when the name is taken."""
    with client_of(ready_file, zone) as client:
        made = client.create_dataset(name, zone=zone, synthetic=synthetic, label=label)
    if json:
        print_json(made)
    else:
        console().print(f"Created dataset {name} in zone {made.get('zone', zone or 'default')}.")


def list_datasets(zone: ZoneName = None, ready_file: ReadyFile = None, json: Json = False) -> None:
    """List the datasets you may know of."""
    with client_of(ready_file, zone) as client:
        found = client.datasets()
    if json:
        print_json({"datasets": found})
        return
    columns = ["name", "zone", "label", "synthetic"]
    print_table("Datasets", columns, [[_cell(entry.get(name)) for name in columns] for entry in found])


def show(
    name: Annotated[str, typer.Argument(help="Name of the dataset.")],
    zone: ZoneName = None,
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Show a dataset: contract, columns with their labels, plans, views."""
    with client_of(ready_file, zone) as client:
        found = client.dataset(name)
    if json:
        print_json(found)
        return
    facts = [[key, _cell(value)] for key, value in found.items() if not isinstance(value, dict | list)]
    print_table(f"Dataset {name}", ["fact", "value"], facts)
    rows = [[_cell(column.get(key)) for key in ("name", "type", "label")] for column in columns_of(found)]
    print_table("Columns", ["name", "type", "label"], rows)
    views = found.get("views") or []
    rows = [[_cell(view.get(key)) for key in ("version_id", "plan_id", "state", "progress")] for view in views]
    print_table("Views", ["version", "plan", "state", "progress"], rows)


def columns_of(dataset: dict[str, Any]) -> list[dict[str, Any]]:
    """The contract's columns, whether the document stands alone or under "document"."""
    contract = dataset.get("contract") or {}
    document = contract.get("document", contract)
    columns = document.get("columns", [])
    return columns if isinstance(columns, list) else []


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
