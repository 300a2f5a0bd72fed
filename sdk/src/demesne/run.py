"""`session.run(…)`: what a job says of its run, kept by the gateway as the job's words, apart from what it saw."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from demesne.errors import Invalid

Digest = str | Path | bytes
State = Callable[[dict[str, Any]], dict[str, Any]]
_SHA256 = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_CHUNK = 1 << 20


class Run:
    """A block of work. Entering states name and parents; leaving states outputs, model digests and how it ended.

        with session.run("train-risk", parents=[other.run_id], outputs=["s3://models/risk.joblib"],
                         models={"s3://models/risk.joblib": Path("risk.joblib")}):
            …

    `models`: where the model lies → its SHA-256 (hex), or the file or bytes to hash when the block ends, since a
    training block writes them. Nothing here changes what the run is or which labels it carries.
    Raises what the gateway says on entering; on leaving only when the block itself raised nothing.
    """

    def __init__(
        self,
        state: State,
        name: str | None,
        *,
        outputs: Sequence[str],
        parents: Sequence[str],
        models: Mapping[str, Digest],
    ) -> None:
        self._state = state
        self._said: dict[str, Any] = {"outputs": list(outputs), "parents": list(parents)}
        if name is not None:
            self._said["name"] = name
        self._models: dict[str, Digest] = dict(models)
        self.statement_id: str | None = None

    def output(self, uri: str) -> None:
        """One more output, known only now."""
        self._said["outputs"].append(uri)

    def model(self, uri: str, digest: Digest) -> None:
        """One more model, known only now."""
        self._models[uri] = digest

    def __enter__(self) -> Self:
        self._say("started", {})
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._say("completed", digests(self._models))
            return
        try:
            self._say("failed", {})
        except Exception as error:  # noqa: BLE001 - the block's own error is the one to be seen
            if value is not None:
                value.add_note(f"the gateway was not told that the run failed: {error}")

    def _say(self, status: str, models: dict[str, str]) -> None:
        said = {name: value for name, value in self._said.items() if value}
        answer = self._state(said | {"status": status, **({"models": models} if models else {})})
        self.statement_id = str(answer.get("statement_id") or "") or None


def digests(models: Mapping[str, Digest]) -> dict[str, str]:
    """Each model's SHA-256 in hex. Raises Invalid naming the one that is neither a digest nor a readable file."""
    return {uri: _digest(uri, given) for uri, given in models.items()}


def _digest(uri: str, given: Digest) -> str:
    if isinstance(given, bytes):
        return hashlib.sha256(given).hexdigest()
    if isinstance(given, str) and (found := _SHA256.fullmatch(given)):
        return found[1]
    hashed = hashlib.sha256()
    try:
        with Path(given).open("rb") as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
    except OSError as error:
        raise Invalid(
            "run.model", f"{uri}: {str(given)[:200]!r} is no SHA-256 and no file that can be read",
            remedy="give 64 hex digits, bytes, or the path of the model's file",
        ) from error  # fmt: skip
    return hashed.hexdigest()
