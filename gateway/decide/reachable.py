"""Which modules of a doctrine the decision can read at all, so that the engine asked for every request loads no others.

regorus works once through every module it holds for each question, whether the question needs it or not. What is left
out must be what no answer can depend on, so everything is guessed upwards: a reference whose path is only known when
it is followed takes in all it could reach.
"""

import re
from collections.abc import Sequence
from typing import Final

Module = Sequence[str]
"""Path and text."""

_PACKAGE: Final = re.compile(r"^package\s+([\w.]+)", re.MULTILINE)
_REFERENCE: Final = re.compile(r"(?<![\w.])data\b((?:\.[A-Za-z_]\w*)*)")


def reachable(modules: Sequence[Module], rule: str) -> list[Module]:
    """The modules that `rule` (as `demesne.main.decision`) can read, in their order.

    Files of its package that do not define it are left out as well, unless something reached refers to the package.
    """
    package, _, name = rule.rpartition(".")
    packages = [_package(text) for _, text in modules]
    defines = re.compile(rf"^(?:default\s+)?{re.escape(name)}\b", re.MULTILINE)
    taken = {index for index, (_, text) in enumerate(modules) if packages[index] == package and defines.search(text)}
    waiting = list(taken)
    while waiting:
        for wanted in _references(modules[waiting.pop()][1]):
            found = {index for index, there in enumerate(packages) if _meets(wanted, there)} - taken
            taken |= found
            waiting += found
    return [module for index, module in enumerate(modules) if index in taken]


def _package(text: str) -> str:
    found = _PACKAGE.search(text)
    return found[1] if found else ""


def _references(text: str) -> set[str]:
    if '$"' in text or "$`" in text:
        return {""}  # an interpolated string can hide a reference
    return {found[1].removeprefix(".") for found in _REFERENCE.finditer(without_strings(text))}


def _meets(reference: str, package: str) -> bool:
    """The reference names something in the package, or the package lies under what the reference names."""
    return not reference or f"{reference}.".startswith(f"{package}.") or f"{package}.".startswith(f"{reference}.")


def without_strings(text: str) -> str:
    """The module with string contents and comments blanked, so that neither hides nor fakes a call."""
    blanked: list[str] = []
    index = 0
    while index < len(text):
        mark = text[index]
        if mark == "#":
            end = text.find("\n", index)
            index = len(text) if end < 0 else end
        elif mark == "`":
            end = text.find("`", index + 1)
            index = len(text) if end < 0 else end + 1
            blanked.append('""')
        elif mark == '"':
            index += 1
            while index < len(text) and text[index] != '"':
                index += 2 if text[index] == "\\" else 1
            index += 1
            blanked.append('""')
        else:
            blanked.append(mark)
            index += 1
    return "".join(blanked)
