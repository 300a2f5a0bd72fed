"""This process, one file after the other: constant memory, and the first bad file stops the run."""

from collections.abc import Callable, Iterator, Sequence

from ingest.formats.checked import CheckedFile
from ingest.sources.files import SourceFile


class LocalEngine:
    """The engine of one machine."""

    def check(self, files: Sequence[SourceFile], one: Callable[[SourceFile], CheckedFile]) -> Iterator[CheckedFile]:
        return map(one, files)
