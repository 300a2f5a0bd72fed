"""How each S3 client is used, unmodified: a function that makes it once and answers how to read with it, many times.

Who reads is said by the environment alone. Each read answers rows (email, visits) of one Parquet object, in its order.
"""

import atexit
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COLUMNS = ["email", "visits"]
BIN = Path(sys.executable).parent
Rows = list[tuple[str, int]]
Read = Callable[[], Rows]


@dataclass(frozen=True)
class Place:
    """One object, and where it is: what a person tells a client that does not read it from the environment."""

    bucket: str
    key: str
    endpoint: str
    region: str
    ca: str | None

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def path(self) -> str:
        return f"{self.bucket}/{self.key}"


def place(bucket: str, key: str) -> Place:
    """The object behind the endpoint that the environment names."""
    env = os.environ
    return Place(bucket, key, env["AWS_ENDPOINT_URL"], env["AWS_REGION"], env.get("AWS_CA_BUNDLE"))


def rows(table: Any) -> Rows:
    """Of a data frame or Arrow table."""
    columns = [table[name] for name in COLUMNS]
    email, visits = (column.to_list() if hasattr(column, "to_list") else column.to_pylist() for column in columns)
    return list(zip(email, visits, strict=True))


def from_parquet(file: Any) -> Rows:
    import pyarrow.parquet as pq

    return rows(pq.read_table(file, columns=COLUMNS))


def boto3(at: Place) -> Read:
    import boto3

    client = boto3.client("s3")
    return lambda: from_parquet(io.BytesIO(client.get_object(Bucket=at.bucket, Key=at.key)["Body"].read()))


def s3fs(at: Place) -> Read:
    import s3fs

    files = s3fs.S3FileSystem()

    def read() -> Rows:
        with files.open(at.uri, "rb") as file:
            return from_parquet(file)

    return read


def pandas(at: Place) -> Read:
    """pandas' own choice: pyarrow's filesystem, made for each read."""
    import pandas as pd

    return lambda: rows(pd.read_parquet(at.uri, columns=COLUMNS))


def pandas_s3fs(at: Place) -> Read:
    """fsspec keeps the one s3fs of these options."""
    import pandas as pd

    return lambda: rows(pd.read_parquet(at.uri, columns=COLUMNS, storage_options={"anon": False}))


def duckdb(at: Place) -> Read:
    import duckdb
    import s3fs

    connection = duckdb.connect()
    connection.register_filesystem(s3fs.S3FileSystem())
    return lambda: connection.execute(f"select email, visits from read_parquet('{at.uri}')").fetchall()


def polars(at: Place) -> Read:
    """Its default: boto3 finds the credentials."""
    import polars as pl

    scan = pl.scan_parquet(at.uri).select(COLUMNS)
    return lambda: rows(scan.collect())


def polars_native(at: Place) -> Read:
    import polars as pl

    scan = pl.scan_parquet(at.uri, credential_provider=None).select(COLUMNS)
    return lambda: rows(scan.collect())


def pyarrow_s3() -> Any:
    """`S3FileSystem(…)`: it reads no endpoint from the environment."""
    from pyarrow import fs

    at = place("", "")
    scheme, _, address = at.endpoint.partition("://")
    options: dict[str, Any] = {"tls_ca_file_path": at.ca} if at.ca else {}
    return fs.S3FileSystem(endpoint_override=address, scheme=scheme, **options)


def pyarrow(at: Place) -> Read:
    import pyarrow.parquet as pq

    files = pyarrow_s3()
    return lambda: rows(pq.read_table(at.path, filesystem=files, columns=COLUMNS))


def pyarrow_uri(at: Place) -> Read:
    import pyarrow.dataset as ds
    from pyarrow import fs

    files, path = fs.FileSystem.from_uri(at.uri)
    return lambda: rows(ds.dataset(path, filesystem=files, format="parquet").to_table(columns=COLUMNS))


def obstore(at: Place) -> Read:
    import obstore
    from obstore.store import S3Store

    store = S3Store(at.bucket)
    return lambda: from_parquet(io.BytesIO(bytes(obstore.get(store, at.key).bytes())))


def minio(at: Place) -> Read:
    from minio import Minio
    from minio.credentials import ChainedProvider, EnvAWSProvider, IamAwsProvider

    scheme, _, address = at.endpoint.partition("://")
    known = ChainedProvider([EnvAWSProvider(), IamAwsProvider()])
    client = Minio(address, credentials=known, region=at.region, secure=scheme == "https")

    def read() -> Rows:
        answer = client.get_object(at.bucket, at.key)
        try:
            return from_parquet(io.BytesIO(answer.read()))
        finally:
            answer.close()
            answer.release_conn()

    return read


def pyiceberg(at: Place, implementation: str) -> Read:
    from pyiceberg.io import load_file_io

    files = load_file_io({"py-io-impl": implementation, "s3.endpoint": at.endpoint, "s3.region": at.region})

    def read() -> Rows:
        with files.new_input(at.uri).open() as file:
            return from_parquet(file)

    return read


def pyiceberg_pyarrow(at: Place) -> Read:
    return pyiceberg(at, "pyiceberg.io.pyarrow.PyArrowFileIO")


def pyiceberg_fsspec(at: Place) -> Read:
    return pyiceberg(at, "pyiceberg.io.fsspec.FsspecFileIO")


def datasets(at: Place) -> Read:
    """Hugging Face: one streaming dataset, gone through again and again."""
    import datasets

    stream = datasets.load_dataset("parquet", data_files={"train": at.uri}, streaming=True, split="train")
    return lambda: [(row["email"], row["visits"]) for row in stream]


def ray(at: Place) -> Read:
    """A local Ray; its tasks get the driver's filesystem object."""
    import ray

    directory = tempfile.mkdtemp(prefix="dms-ray-", dir="/tmp")  # sockets lie in it: short
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100 << 20, _temp_dir=directory,
             log_to_driver=False, logging_level="ERROR")  # fmt: skip
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    atexit.register(ray.shutdown)
    files = pyarrow_s3()
    return lambda: rows(ray.data.read_parquet(at.path, filesystem=files).select_columns(COLUMNS).to_pandas())


def scikit_learn(at: Place) -> Read:
    """A model that learns a little from each read."""
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import SGDRegressor

    read_frame, model, words = pandas_s3fs(at), SGDRegressor(), HashingVectorizer(n_features=64)

    def read() -> Rows:
        found = read_frame()
        model.partial_fit(words.transform([email for email, _ in found]), [visits for _, visits in found])
        return found

    return read


class Shares:
    """A PyTorch map-style dataset: a share of the row groups an item. Each worker makes its own filesystem.

    A view's row groups are others than the original's: their number is asked of the file.
    """

    def __init__(self, path: str, shares: int) -> None:
        self._path = path
        self._shares = shares
        self._files: Any = None

    def __len__(self) -> int:
        return self._shares

    def __getitem__(self, share: int) -> Rows:
        import pyarrow.parquet as pq

        self._files = self._files or pyarrow_s3()
        with pq.ParquetFile(self._path, filesystem=self._files) as file:
            first, end = (bound * file.num_row_groups // self._shares for bound in (share, share + 1))
            return rows(file.read_row_groups(list(range(first, end)), columns=COLUMNS))


def torch(at: Place) -> Read:
    """Two worker processes that stay, forked before any client exists in the parent."""
    from torch.utils.data import DataLoader

    loader = DataLoader(
        Shares(at.path, 2), batch_size=1, num_workers=2, persistent_workers=True, collate_fn=lambda batch: batch[0]
    )
    return lambda: [row for group in loader for row in group]


def rclone(at: Place) -> Read:
    """One rclone that stays and serves the bucket to this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    remote = {"RCLONE_CONFIG_ZONE_TYPE": "s3", "RCLONE_CONFIG_ZONE_PROVIDER": "Other",
              "RCLONE_CONFIG_ZONE_ENV_AUTH": "true", "RCLONE_CONFIG_ZONE_ENDPOINT": at.endpoint,
              "RCLONE_CONFIG_ZONE_REGION": at.region}  # fmt: skip
    running = subprocess.Popen(
        [str(BIN / "rclone"), "--config", os.devnull, "rcd", "--rc-serve", "--rc-no-auth", "--rc-addr",
         f"127.0.0.1:{port}"], env=os.environ | remote, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    atexit.register(running.wait)
    atexit.register(running.terminate)
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    url = f"http://127.0.0.1:{port}/[zone:{at.bucket}]/{at.key}"

    def read() -> Rows:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
            return from_parquet(io.BytesIO(answer.read()))

    return read


def aws(at: Place) -> Read:
    """One command a read."""

    def read() -> Rows:
        done = subprocess.run([str(BIN / "aws"), "s3", "cp", at.uri, "-"], check=True, capture_output=True, timeout=60)
        return from_parquet(io.BytesIO(done.stdout))

    return read


def aws_slowly(at: Place, target: Path, *, bytes_per_second: int, chunk: int) -> None:
    """One `aws s3 cp` of the whole object, in ranges one after the other, held to that speed."""
    settings = {"max_concurrent_requests": 1, "max_bandwidth": f"{bytes_per_second // 1024}KB/s",
                "multipart_threshold": chunk, "multipart_chunksize": chunk}  # fmt: skip
    lines = ["[default]", "s3 =", *(f"  {name} = {value}" for name, value in settings.items()), ""]
    path = target.with_suffix(".config")
    path.write_text("\n".join(lines))
    subprocess.run(
        [str(BIN / "aws"), "s3", "cp", "--only-show-errors", at.uri, str(target)], check=True, timeout=120,
        env=os.environ | {"AWS_CONFIG_FILE": str(path)},
    )  # fmt: skip


CLIENTS: dict[str, Callable[[Place], Read]] = {
    "boto3": boto3,
    "s3fs": s3fs,
    "pandas": pandas,
    "pandas-s3fs": pandas_s3fs,
    "duckdb": duckdb,
    "polars": polars,
    "polars-native": polars_native,
    "pyarrow": pyarrow,
    "pyarrow-uri": pyarrow_uri,
    "obstore": obstore,
    "minio": minio,
    "rclone": rclone,
    "aws": aws,
    "pyiceberg-pyarrow": pyiceberg_pyarrow,
    "pyiceberg-fsspec": pyiceberg_fsspec,
    "datasets": datasets,
    "scikit-learn": scikit_learn,
    "ray": ray,
    "torch": torch,
}
