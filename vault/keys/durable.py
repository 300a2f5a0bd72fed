"""Small secret files that survive power loss and are never readable by others, not even for a moment."""

import os
import secrets
from pathlib import Path

from vault.errors import Unavailable


def make_private_directory(path: Path) -> None:
    """Create with parents, mode 0700; an existing one is narrowed to 0700."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)


def create_durable(path: Path, content: bytes) -> bool:
    """Create `path` (0600) with `content`, durable on return; False when it was there before, and is untouched.

    The name appears only once the content is on the disk: link(2) neither overwrites nor shows a torn file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise Unavailable("key.file", f"{path.name}: {error.strerror}") from error
    return True


def erase_durable(path: Path) -> None:
    """Overwrite with random bytes, unlink, make both durable; an absent file is no error.

    Overwriting is best effort: a copying file system or a flash translation layer may keep old blocks
    (docs/limitations.md). The wraps are useless without this file either way.
    """
    try:
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
        sync_directory(path.parent)
    except FileNotFoundError:
        return
    except OSError as error:
        raise Unavailable("key.file", f"{path.name}: {error.strerror}") from error


def sync_directory(path: Path) -> None:
    """fsync of a directory: without it a rename or unlink may be undone by power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
