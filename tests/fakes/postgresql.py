"""A PostgreSQL server of this machine, in a directory of its own, on a Unix socket or one loopback port."""

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


class Server:
    """One PostgreSQL in `directory`. Without `port` on a Unix socket alone, nobody asked for a password. `tls`: its
    certificate and key."""

    def __init__(
        self, directory: Path, *, port: int | None = None, fsync: bool = False, tls: tuple[bytes, bytes] | None = None
    ) -> None:
        account = _account()
        assert account is not None
        self._account = account
        self._directory = directory
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
        host = "scram-sha-256" if port else "trust"
        self._run("initdb", "-D", str(self._data), "-U", "demesne", "--auth-local=trust", f"--auth-host={host}",
                  "--encoding=UTF8", "--no-sync")  # fmt: skip
        where = f"-c listen_addresses=127.0.0.1 -c port={port}" if port else "-c listen_addresses=''"
        self._options = f"-k {directory} {where} -c fsync={'on' if fsync else 'off'} -c max_connections=80"
        if tls is not None:
            for name, pem in zip(("server.crt", "server.key"), tls, strict=True):
                path = directory / "data" / name
                path.write_bytes(pem)
                path.chmod(0o600)
                if os.geteuid() == 0:
                    shutil.chown(path, "postgres", "postgres")
            self._options += " -c ssl=on"

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def start(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-w", "-l", str(self._directory / "log"), "-o", self._options,
                  "start")  # fmt: skip

    def stop(self) -> None:
        self._run("pg_ctl", "-D", str(self._data), "-m", "immediate", "stop")

    def make_database(self, name: str, user: str, password: str, port: int) -> None:
        """As the image does with POSTGRES_DB, POSTGRES_USER and POSTGRES_PASSWORD."""
        for statement in (f"ALTER ROLE {user} PASSWORD '{password}'", f"CREATE DATABASE {name} OWNER {user}"):
            self._run("psql", "-h", str(self._directory), "-p", str(port), "-U", "demesne", "-d", "postgres", "-c",
                      statement)  # fmt: skip

    def _run(self, program: str, *arguments: str) -> None:
        found = _program(program)
        assert found is not None
        done = subprocess.run(
            [*self._account, found, *arguments], cwd=self._directory, check=False, capture_output=True, text=True,
            timeout=60, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self._directory)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout


@contextmanager
def postgresql() -> Iterator[str]:
    """SQLAlchemy URL of an empty database; server and data are gone when the block ends."""
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        server = Server(Path(name))
        server.start()
        try:
            yield f"postgresql+psycopg://demesne@/postgres?host={name}"
        finally:
            server.stop()
