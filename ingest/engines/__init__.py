"""Where the checking of files runs. An engine maps one function over files and yields results in order."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from ingest.formats.checked import CheckedFile
from ingest.sources.files import SourceFile


class Engine(Protocol):
    """Ordered, lazily; the first file that fails raises its BadFile and no later result is yielded."""

    def check(self, files: Sequence[SourceFile], one: Callable[[SourceFile], CheckedFile]) -> Iterator[CheckedFile]: ...
