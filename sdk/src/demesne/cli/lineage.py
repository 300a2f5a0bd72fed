"""`demesne lineage show`: what was read, by which run, and what came of it; observed by the gateway."""

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from demesne.cli.output import Json, ReadyFile, ZoneName, client_of, console, print_json
from demesne.errors import Invalid


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Lineage, observed and not reported.", no_args_is_help=True)
    group.command("show")(show)
    app.add_typer(group, name="lineage")


def show(
    dataset: Annotated[str | None, typer.Argument(help="Dataset to start from.")] = None,
    run: Annotated[str | None, typer.Option("--run", help="Run id to start from.")] = None,
    events: Annotated[bool, typer.Option("--events", help="The zone's OpenLineage events, one JSON a line.")] = False,
    zone: ZoneName = None,
    ready_file: ReadyFile = None,
    json: Json = False,
) -> None:
    """Show the lineage of a dataset or a run as a tree."""
    if events:
        _print_events(ready_file, zone, as_document=json)
        return
    if dataset is None and run is None:
        raise Invalid("usage", "name a dataset or --run", remedy="demesne lineage show claims")
    with client_of(ready_file, zone) as client:
        graph = client.lineage(dataset=dataset, run=run)
    if json:
        print_json(graph)
    else:
        console().print(tree_of(graph, dataset or run or ""))


def _print_events(ready_file: Any, zone: str | None, *, as_document: bool) -> None:
    import json

    with client_of(ready_file, zone) as client:
        events = client.lineage_events()
    if as_document:
        print_json({"events": events})
        return
    for event in events:
        typer.echo(json.dumps(event, ensure_ascii=False))


def tree_of(graph: dict[str, Any], title: str) -> Tree:
    """The graph as a tree from its sources; a node met twice is named again and not opened again.

    Membership (`in`: an object is in its dataset) is said in the object's own name and drawn by no branch.
    """
    edges = [
        (_end(edge, "from", "source"), _end(edge, "to", "target"), edge)
        for edge in graph.get("edges", [])
        if edge.get("kind") != "in"
    ]
    ends = {end for source, target, _ in edges for end in (source, target)}
    every = {str(node["id"]): node for node in graph.get("nodes", [])}
    nodes = {name: node for name, node in every.items() if name in ends or node.get("kind") != "dataset"}
    fed = {target for _, target, _ in edges}
    root = Tree(escape(f"Lineage of {title}"))
    shown: set[str] = set()
    for name in [name for name in nodes if name not in fed] or list(nodes)[:1]:
        _grow(root, name, "", nodes=nodes, edges=edges, shown=shown)
    return root


def _grow(
    parent: Tree,
    name: str,
    how: str,
    *,
    nodes: dict[str, Any],
    edges: list[tuple[str, str, dict[str, Any]]],
    shown: set[str],
) -> None:
    again = name in shown
    branch = parent.add(escape(f"{_named(nodes.get(name, {}), name)}{how}" + (", see above" if again else "")))
    if again:
        return
    shown.add(name)
    for source, target, edge in edges:
        if source == name:
            _grow(branch, target, _how(edge), nodes=nodes, edges=edges, shown=shown)


def _named(node: dict[str, Any], name: str) -> str:
    """A node in words: an object by its URI, a run by its name or else by who ran it for what."""
    kind, said = str(node.get("kind", "node")), _stated(node.get("stated") or [])
    if kind == "object" and node.get("key"):
        return f"s3://{node.get('dataset', '')}/{node['key']} [{node.get('label') or 'no label'}]"
    if kind == "run" and not node.get("name") and node.get("principal"):
        return f"run of {node['principal']} for {node.get('purpose', '')}{said}"
    return f"{kind} {node.get('name') or name}{said}"


def _stated(statements: list[dict[str, Any]]) -> str:
    """What the job itself said, all its statements folded, and marked as its words: ` {job says: name x; …}`."""
    parts = []
    for fact in ("name", "status"):  # the last word counts
        parts += [f"{fact} {said}" for said in [s[fact] for s in statements if s.get(fact)][-1:]]
    for fact in ("parents", "outputs"):
        listed = dict.fromkeys(str(entry) for s in statements for entry in s.get(fact, ()))
        parts += [f"{fact} {', '.join(listed)}"] if listed else []
    models = {str(uri): str(digest) for s in statements for uri, digest in s.get("models", {}).items()}
    parts += [f"model {uri} sha256 {digest[:16]}…" for uri, digest in models.items()]
    return f" {{job says: {'; '.join(parts)}}}" if parts else ""


def _how(edge: dict[str, Any]) -> str:
    """How the edge came about: ` (read, raw, columns email, name)`."""
    columns = edge.get("columns") or []
    view = str(edge.get("view") or "")
    # Any other view is a plan's id: a masked rendering.
    parts = [str(edge.get("kind") or ""), view if view in {"", "raw", "open"} else "masked"]
    if columns:
        parts.append("columns " + ", ".join(map(str, columns)))
    said = ", ".join(part for part in parts if part)
    return f" ({said})" if said else ""


def _end(edge: dict[str, Any], *names: str) -> str:
    return next((str(edge[name]) for name in names if name in edge), "")
