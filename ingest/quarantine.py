"""Rows that do not parse, kept: one JSON Lines file beside each source key, with line and reason a row.

These files hold personal data in clear, on the machine that runs ingest: mode 0600, in directories of 0700.
"""

import base64
import json
import os
from pathlib import Path

from ingest.formats.checked import CheckedFile


def write(directory: Path, checked: CheckedFile) -> Path:
    """`<directory>/<key>.quarantine.jsonl`, whole or not at all; the same rows give the same file. Raises OSError.

    A line: {"file", "line", "reason", "row"}; `row_base64` in place of `row` when it is not UTF-8.
    """
    path = directory / f"{checked.source.key}.quarantine.jsonl"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out, checked.source.path.open("rb") as file:
        for row in checked.bad_rows:
            file.seek(row.offset)
            entry = {"file": checked.source.key, "line": row.line, "reason": row.reason} | _row(file.read(row.length))
            out.write(json.dumps(entry, ensure_ascii=False) + "\n")
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
    return path


def _row(data: bytes) -> dict[str, str]:
    try:
        return {"row": data.decode("utf-8")}
    except UnicodeDecodeError:
        return {"row_base64": base64.b64encode(data).decode("ascii")}
