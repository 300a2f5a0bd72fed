"""Every client made once, then all of them reading in turns until standard input ends. One JSON line a turn.

AWS_… python -m tests.e2e.rolling_clients BUCKET DIRECTORY CLIENT,…

Each client reads an object of its own, CLIENT.parquet, so that the gateway's records tell them apart. Beside them one
`aws s3 cp` downloads large.parquet slowly enough to live through what happens to its credentials.
"""

import hashlib
import json
import select
import sys
import threading
from pathlib import Path

from tests.e2e.s3_clients import CLIENTS, Read, aws_slowly, place

SLOW = 192 << 10  # bytes a second
CHUNK = 128 << 10


def one_turn(clients: dict[str, Read]) -> dict[str, str]:
    return {name: told(read) for name, read in clients.items()}


def told(read: Read) -> str:
    """SHA-256 of the rows, or the error."""
    try:
        return hashlib.sha256(json.dumps(read()).encode()).hexdigest()
    except Exception as error:  # one client that fails must not hide the others
        return f"{type(error).__name__}: {error}"[:600]


def ended() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def main() -> None:
    bucket, directory, names = sys.argv[1:4]
    clients = {name: CLIENTS[name](place(bucket, f"{name}.parquet")) for name in names.split(",")}
    print(json.dumps(one_turn(clients)), flush=True)
    target = Path(directory) / "large.parquet"
    large = place(bucket, "large.parquet")
    slow = threading.Thread(target=aws_slowly, args=(large, target), kwargs={"bytes_per_second": SLOW, "chunk": CHUNK})
    slow.start()
    while not ended():
        print(json.dumps(one_turn(clients)), flush=True)
    slow.join()
    print(json.dumps({"aws": hashlib.sha256(target.read_bytes()).hexdigest()}), flush=True)


if __name__ == "__main__":
    main()
