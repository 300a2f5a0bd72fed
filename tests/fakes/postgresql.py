"""A PostgreSQL server of this machine, in a directory of its own, on a Unix socket alone."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _program(name: str) -> str | None:
    found = shutil.which(name)
    if found is None:
        installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
        return str(installed[-1]) if installed else None
    return found


def _account() -> list[str] | None:
    """PostgreSQL refuses to run as root: then as its own account, where there is one."""
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam("postgres")
    except KeyError:
        return None
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if shutil.which("setpriv") else None


def available() -> bool:
    return _program("initdb") is not None and _program("pg_ctl") is not None and _account() is not None


@contextmanager
def postgresql() -> Iterator[str]:
    """SQLAlchemy URL of an empty database; server and data are gone when the block ends."""
    account = _account()
    assert account is not None
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        directory = Path(name)
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        data = directory / "data"

        def run(program: str, *arguments: str) -> None:
            found = _program(program)
            assert found is not None
            done = subprocess.run(
                [*account, found, *arguments], cwd=directory, check=False, capture_output=True, text=True, timeout=60,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": name},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr + done.stdout

        run("initdb", "-D", str(data), "-U", "demesne", "--auth=trust", "--encoding=UTF8", "--no-sync")
        options = f"-k {directory} -c listen_addresses='' -c fsync=off -c max_connections=50"
        run("pg_ctl", "-D", str(data), "-w", "-l", str(directory / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://demesne@/postgres?host={directory}"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
