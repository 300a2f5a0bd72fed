"""Unmodified command-line clients against the S3 face: aws cli, rclone, s3cmd; and DuckDB through s3fs."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.s3_server import ACCESS_KEY, REGION, SECRET, Served, serve

pytestmark = pytest.mark.servers
BIN = Path(sys.executable).parent
BODY = bytes(range(256)) * 40_000  # 10 MB: in parts for each of them


@pytest.fixture(scope="module")
def running() -> Iterator[Served]:
    with serve() as served:
        yield served


@pytest.fixture
def served(running: Served) -> Served:
    running.guard.__init__(REGION)  # type: ignore[misc]
    running.guard.view = "open"
    running.guard.create("claims")
    return running


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "big.bin").write_bytes(BODY)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "a b+ü.txt").write_text("small")
    return tmp_path


def run(home: Path, *command: str, **environment: str) -> str:
    program = BIN / command[0]
    if not program.exists():
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        [str(program), *command[1:]], cwd=home, check=False, capture_output=True, timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **environment},
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def test_aws_cli(served: Served, home: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": served.endpoint}  # fmt: skip
    run(home, "aws", "s3", "sync", ".", "s3://claims/up", **keys)
    assert served.guard.body("claims", "up/big.bin") == BODY
    assert served.guard.body("claims", "up/dir/a b+ü.txt") == b"small"
    run(home, "aws", "s3", "mv", "s3://claims/up/big.bin", "s3://claims/moved.bin", **keys)
    assert served.guard.body("claims", "moved.bin") == BODY
    run(home, "aws", "s3", "cp", "s3://claims/moved.bin", "back.bin", **keys)
    assert (home / "back.bin").read_bytes() == BODY
    assert "PRE up/" in run(home, "aws", "s3", "ls", "s3://claims/", **keys)
    run(home, "aws", "s3", "rm", "--recursive", "s3://claims/", **keys)
    assert served.guard.keys("claims") == []


def test_rclone(served: Served, home: Path) -> None:
    keys = {"RCLONE_CONFIG_D_TYPE": "s3", "RCLONE_CONFIG_D_PROVIDER": "Other",
            "RCLONE_CONFIG_D_ENDPOINT": served.endpoint, "RCLONE_CONFIG_D_REGION": REGION,
            "RCLONE_CONFIG_D_ACCESS_KEY_ID": ACCESS_KEY,
            "RCLONE_CONFIG_D_SECRET_ACCESS_KEY": SECRET, "RCLONE_S3_UPLOAD_CUTOFF": "6Mi",
            "RCLONE_S3_CHUNK_SIZE": "5Mi", "RCLONE_CONFIG": str(home / "none.conf")}  # fmt: skip
    run(home, "rclone", "copy", ".", "d:claims/up", **keys)
    assert served.guard.body("claims", "up/big.bin") == BODY
    assert served.guard.body("claims", "up/dir/a b+ü.txt") == b"small"
    run(home, "rclone", "check", "--download", ".", "d:claims/up", **keys)
    run(home, "rclone", "copyto", "d:claims/up/big.bin", "d:claims/copy.bin", **keys)
    assert served.guard.body("claims", "copy.bin") == BODY
    assert "copy.bin" in run(home, "rclone", "lsf", "d:claims", **keys)
    run(home, "rclone", "delete", "d:claims", **keys)
    assert served.guard.keys("claims") == []


def test_s3cmd(served: Served, home: Path) -> None:
    host = served.endpoint.partition("://")[2]
    flags = [f"--access_key={ACCESS_KEY}", f"--secret_key={SECRET}", f"--host={host}", f"--host-bucket={host}",
             "--no-ssl", f"--region={REGION}", "--multipart-chunk-size-mb=5", "--no-progress"]  # fmt: skip
    run(home, "s3cmd", *flags, "put", "big.bin", "dir/a b+ü.txt", "s3://claims/up/")
    assert served.guard.body("claims", "up/big.bin") == BODY
    assert served.guard.body("claims", "up/a b+ü.txt") == b"small"
    run(home, "s3cmd", *flags, "get", "s3://claims/up/big.bin", "back.bin")
    assert (home / "back.bin").read_bytes() == BODY
    run(home, "s3cmd", *flags, "cp", "s3://claims/up/a b+ü.txt", "s3://claims/copy.txt")
    assert served.guard.body("claims", "copy.txt") == b"small"
    assert "s3://claims/copy.txt" in run(home, "s3cmd", *flags, "ls", "s3://claims")
    run(home, "s3cmd", *flags, "del", "--recursive", "--force", "s3://claims/")
    assert served.guard.keys("claims") == []


def test_duckdb_through_s3fs(served: Served, home: Path) -> None:
    import duckdb
    import s3fs

    files = s3fs.S3FileSystem(
        key=ACCESS_KEY, secret=SECRET, endpoint_url=served.endpoint, client_kwargs={"region_name": REGION},
        skip_instance_cache=True,
    )  # fmt: skip
    with duckdb.connect() as connection:
        connection.register_filesystem(files)
        connection.execute("COPY (SELECT range AS x FROM range(100000)) TO 's3://claims/t.parquet' (FORMAT parquet)")
        assert served.guard.body("claims", "t.parquet") is not None
        found = connection.execute("SELECT sum(x) FROM read_parquet('s3://claims/t.parquet')").fetchone()
    assert found == (4_999_950_000,)
