"""What ingest refuses, each naming the file, the place in it and the fix. All are the SDK's `Invalid` (exit 5),
so that one handler of the command line speaks for both."""

from pathlib import Path

from demesne.errors import Invalid


class BadFile(Invalid):
    """A source file cannot be taken as it is. Nothing was created for any file of the run."""

    def __init__(self, code: str, path: Path, message: str, *, line: int | None = None, remedy: str) -> None:
        where = f"{path}, line {line}" if line is not None else str(path)
        super().__init__(code, f"{where}: {message}", remedy=remedy)
        self.path = path
        self.line = line


class BadContract(Invalid):
    """The contract does not fit the data, or is no contract; `field` says where."""

    def __init__(self, field: str, message: str, *, remedy: str) -> None:
        super().__init__("contract.invalid", f"{field}: {message}", remedy=remedy)
        self.field = field
