"""Names that the broker sets once and for good: empty files in its own directory, where no catalog reaches.

    <directory>/marks/<kind>-<name>

`ended` for orders about keys that were cancelled, `revoked` for sessions, `upload` (by a hash) for aborted uploads,
`tpm` for retired attestation keys.
"""

import re
from pathlib import Path

from vault.errors import Malformed
from vault.keys.durable import create_durable, make_private_directory

_PART = re.compile(r"[0-9a-z]{1,64}")


class LocalMarks:
    """Durable marks of one broker's host."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "marks"
        make_private_directory(self._directory)

    def has(self, kind: str, name: str) -> bool:
        return self._path(kind, name).exists()

    def put(self, kind: str, name: str) -> None:
        """Durable on return; setting it twice is once. Raises Unavailable."""
        create_durable(self._path(kind, name), b"")

    def _path(self, kind: str, name: str) -> Path:
        if not _PART.fullmatch(kind) or not _PART.fullmatch(name):
            raise Malformed("key.mark")
        return self._directory / f"{kind}-{name}"
