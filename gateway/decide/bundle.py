"""A doctrine as one value: Rego modules, data, and a revision that is the hash of exactly these.

Layout (OPA's bundle convention): `*.rego` anywhere, `*_test.rego` beside the rules and never activated,
data in files named `data.json`, rooted at their folder. `builtins.json` lists the built-ins the doctrine
may use. Everything else in the folder (schemas) is not part of the doctrine.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import rfc8785

MAX_FILES: Final = 2_000
MAX_FILE_BYTES: Final = 1 << 20
BUILTINS_FILE: Final = "builtins.json"


class BundleUnreadable(Exception):
    """The folder does not hold a doctrine; the message names the file."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Modules by path (sorted, without tests), the test modules, the data tree, and the revision (64 hex)."""

    modules: tuple[tuple[str, str], ...]
    tests: tuple[tuple[str, str], ...]
    data: dict[str, Any]
    builtins: tuple[str, ...]
    revision: str


def read_bundle(directory: Path) -> Bundle:
    """Read the doctrine under `directory`. Raises BundleUnreadable."""
    modules: list[tuple[str, str]] = []
    tests: list[tuple[str, str]] = []
    data: dict[str, Any] = {}
    builtins: tuple[str, ...] = ()
    for path in _files(directory):
        name = path.relative_to(directory).as_posix()
        if name.endswith("_test.rego"):
            tests.append((name, _text(path, name)))
        elif name.endswith(".rego"):
            modules.append((name, _text(path, name)))
        elif path.name == "data.json":
            _plant(data, name.split("/")[:-1], _json(path, name), name)
        elif name == BUILTINS_FILE:
            builtins = _builtins(_json(path, name), name)
    if not modules:
        raise BundleUnreadable(f"{directory.name}: no .rego file")
    return bundle_of(modules, data, builtins, tests)


def bundle_of(
    modules: list[tuple[str, str]],
    data: dict[str, Any],
    builtins: tuple[str, ...],
    tests: list[tuple[str, str]] | None = None,
) -> Bundle:
    """A Bundle of these parts. The revision covers modules, data and the allow-list, not the tests."""
    ordered = tuple(sorted(modules))
    digest = hashlib.sha256(b"demesne/doctrine/1\n")
    pairs = [list(pair) for pair in ordered]
    digest.update(rfc8785.dumps({"modules": pairs, "data": data, "builtins": list(builtins)}))
    return Bundle(ordered, tuple(sorted(tests or [])), data, builtins, digest.hexdigest())


def _files(directory: Path) -> Iterator[Path]:
    if not directory.is_dir():
        raise BundleUnreadable(f"{directory.name}: no such folder")
    count = 0
    for path in sorted(directory.rglob("*")):
        if path.suffix not in (".rego", ".json") or not path.is_file():
            continue
        count += 1
        if count > MAX_FILES:
            raise BundleUnreadable(f"{directory.name}: more than {MAX_FILES} files")
        yield path


def _text(path: Path, name: str) -> str:
    try:
        content = path.read_bytes()
        if len(content) > MAX_FILE_BYTES:
            raise BundleUnreadable(f"{name}: larger than {MAX_FILE_BYTES} bytes")
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleUnreadable(f"{name}: {error}") from error


def _json(path: Path, name: str) -> Any:
    try:
        return json.loads(_text(path, name), parse_float=_no_float, object_pairs_hook=_no_repeats)
    except (ValueError, RecursionError) as error:
        raise BundleUnreadable(f"{name}: {error}") from error


def _no_float(text: str) -> Any:
    # Two engines, two ideas of 0.1 + 0.2: the doctrine counts in whole numbers.
    raise ValueError(f"{text}: numbers in the doctrine are whole")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field stands twice in one object; which one counts would depend on the reader")
    return fields


def _builtins(value: Any, name: str) -> tuple[str, ...]:
    names = value.get("allowed") if isinstance(value, dict) else None
    if not isinstance(names, list) or not all(isinstance(item, str) for item in names):
        raise BundleUnreadable(f'{name}: needs a list "allowed" of built-in names')
    return tuple(sorted(names))


def _plant(tree: dict[str, Any], folders: list[str], value: Any, name: str) -> None:
    if not isinstance(value, dict):
        raise BundleUnreadable(f"{name}: data is an object")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    for key, item in value.items():
        if key in tree:
            raise BundleUnreadable(f"{name}: {key} is already given by another file")
        tree[key] = item
