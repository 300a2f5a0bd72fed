"""The file that static secrets derive from: made once, read by front workers; holds no key that opens data."""

import os
import secrets
from pathlib import Path


def read_static_key(path: Path, *, create: bool = False) -> bytes:
    """The 32 bytes static secrets derive from. Made once, never replaced: replacing it would change every secret."""
    if create and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass  # another zone of this host made it first: one key for all of them
        finally:
            temporary.unlink()
    return path.read_bytes()
