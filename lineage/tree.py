"""Lineage as a tree for people: files -> dataset -> run -> what it wrote, with view and columns of each read.

Only the data; the CLI draws it. A run or object already shown higher up is named again without its branches.
"""

from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineage.errors import NotFound
from lineage.graph import open_readonly
from lineage.questions import Input, Object, Questions, Run


@dataclass
class TreeNode:
    """`kind` is dataset, file, run or object; `title` one line; `facts` what to print beside it, in order."""

    kind: str
    id: str
    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    children: "list[TreeNode]" = field(default_factory=list)

    def as_document(self) -> dict[str, Any]:
        return {
            "kind": self.kind, "id": self.id, "title": self.title, "facts": self.facts,
            "children": [child.as_document() for child in self.children],
        }  # fmt: skip


def dataset_tree(path: str | Path, dataset: str) -> TreeNode:
    """The dataset, its files, each run that read it, and on to everything made from it. NotFound("dataset")."""
    with closing(open_readonly(path)) as connection:
        questions = Questions(connection)
        objects = questions.objects(dataset)
        if not objects:
            raise NotFound("dataset", dataset)
        return _dataset(questions, dataset, objects, set())


def run_tree(path: str | Path, run_id: str) -> TreeNode:
    """One run: what it read, what it wrote, and on from there. NotFound("run")."""
    with closing(open_readonly(path)) as connection:
        questions = Questions(connection)
        return _run(questions, questions.run(run_id), set())


def _dataset(questions: Questions, name: str, objects: list[Object], shown: set[str]) -> TreeNode:
    shown.add(name)
    node = TreeNode("dataset", name, f"s3://{name}", {"objects": len(objects), "label": _strictest(objects)})
    for version in objects:
        writer = _run_title(questions, version.run_id)
        facts = {"format": version.format, "bytes": version.bytes, "written by": writer}
        node.children.append(TreeNode("file", version.version_id, version.key, facts))
    readers = {read.run_id: None for version in objects for read in questions.readers(version.version_id)}
    node.children += [_run(questions, questions.run(run_id), shown) for run_id in readers]
    return node


def _run(questions: Questions, run: Run, shown: set[str]) -> TreeNode:
    node = TreeNode("run", run.run_id, run.title, {"purpose": run.purpose, "principal": run.principal})
    if run.run_id in shown:
        node.facts["see"] = "above"
        return node
    shown.add(run.run_id)
    if run.stated:
        node.facts["stated by the job"] = list(run.stated)
    node.facts["reads"] = _reads(questions.inputs(run.run_id))
    for made in questions.outputs(run.run_id):
        facts = {"format": made.format, "bytes": made.bytes, "label": made.label}
        child = TreeNode("object", made.version_id, f"s3://{made.dataset}/{made.key}", facts)
        readers = {read.run_id: None for read in questions.readers(made.version_id) if read.run_id != run.run_id}
        child.children = [_run(questions, questions.run(run_id), shown) for run_id in readers]
        node.children.append(child)
    return node


def _reads(inputs: list[Input]) -> list[dict[str, Any]]:
    """What a run read, one line for each dataset and view."""
    grouped: dict[tuple[str, str], list[Input]] = {}
    for read in inputs:
        grouped.setdefault((read.object.dataset, read.view), []).append(read)
    return [
        {
            "dataset": dataset, "view": reads[0].rendering, "plan": None if view in {"raw", "open"} else view,
            "objects": len(reads), "bytes": sum(read.bytes for read in reads),
            "columns": list(dict.fromkeys(name for read in reads for name in read.columns)),
            "assumed whole": any(read.assumed for read in reads),
        }
        for (dataset, view), reads in grouped.items()
    ]  # fmt: skip


def _strictest(objects: list[Object]) -> str:
    return "personal" if any(version.label != "none" for version in objects) else "none"


def _run_title(questions: Questions, run_id: str) -> str:
    try:
        return questions.run(run_id).title
    except NotFound:
        return "unknown"
