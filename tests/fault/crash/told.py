"""What a child said before it died, read by the parent."""

import json
from dataclasses import dataclass, field

from tests.fault.crash.model import Dataset, Model, Op


def first_model() -> Model:
    return Model({"claims": Dataset("off"), "open-data": Dataset("off"), "versioned": Dataset("enabled")})


@dataclass
class Told:
    """The lines of a victim, read."""

    model: Model = field(default_factory=first_model)
    pending: Op | None = None
    promised: list[tuple[int, str]] = field(default_factory=list)
    ops: int = 0
    points: list[tuple[str, list[str]]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, lines: list[str]) -> "Told":
        told = cls()
        for line in lines:
            kind, text = line[0], line[1:]
            if kind == "N":
                told.points.append(_points_of(text))
                continue
            value = json.loads(text)
            if kind == "B":
                told.pending, told.ops = value, told.ops + 1
            elif kind == "A":
                assert told.pending is not None
                told.model.apply(told.pending, value)
                told.pending = None
            elif kind == "P":
                told.promised.append((value[0], value[1]))
            else:
                told.errors.append(value)
        return told

    @property
    def candidates(self) -> list[Model]:
        return [self.model] if self.pending is None else [self.model, self.model.after(self.pending, {})]


def _points_of(text: str) -> tuple[str, list[str]]:
    try:
        kind, seen = json.loads(text)
    except ValueError:  # cut at a line's length: long ones are counted as far as they were told
        kind, seen = json.loads(text[: text.rindex(",")] + "]]")
    return kind, seen
