"""Clients that put, create, swap, get, delete and list a few keys through several gateways, and write down what they
asked, when, and what they were answered. A disturber kills and stops processes meanwhile."""

import hashlib
import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from tests.fault.history import ABSENT, Operation

KEYS = tuple(f"history/{number}" for number in range(4))
KINDS = ("put",) * 4 + ("get",) * 8 + ("create", "swap", "delete", "list")


@dataclass
class Recorder:
    """What all clients wrote down."""

    bucket: str
    operations: list[Operation] = field(default_factory=list)

    def run(self, doors: dict[str, Callable[[], Any]], clients: int, seconds: float, seed: int) -> None:
        """`doors`: a name and how a client is made for it; every client goes through all of them by turns."""
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=self._client, args=(number, doors, end, random.Random(f"{seed}/{number}")))
            for number in range(clients)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _client(self, number: int, doors: dict[str, Callable[[], Any]], end: float, rng: random.Random) -> None:
        open_doors = {name: make() for name, make in doors.items()}
        last: dict[str, Any] = {}
        count = 0
        while time.monotonic() < end:
            where = rng.choice(list(open_doors))
            key, kind = rng.choice(KEYS), rng.choice(KINDS)
            count += 1
            value: Any = f"{number}-{count}"
            if kind == "swap":
                if last.get(key) is None:
                    continue
                value = (last[key], value)
            called = time.monotonic()
            ok, answer = self._ask(open_doors[where], kind, key, value)
            answered = time.monotonic()
            if kind == "list":
                for each in KEYS if ok else ():
                    seen = "present" if each in answer else "absent"
                    self.operations.append(Operation(number, each, seen, None, True, called, answered, where))
            elif kind == "get":
                if ok:
                    last[key] = answer
                    self.operations.append(Operation(number, key, "get", answer, True, called, answered, where))
            else:
                until = inf if ok is None else answered
                self.operations.append(Operation(number, key, kind, value, ok, called, until, where))

    def _ask(self, s3: Any, kind: str, key: str, value: Any) -> tuple[bool | None, Any]:
        """(True answered, False refused by a condition, None unknown; what was read)."""
        named = {"Bucket": self.bucket, "Key": key}
        try:
            match kind:
                case "put":
                    s3.put_object(**named, Body=value.encode())
                case "create":
                    s3.put_object(**named, Body=value.encode(), IfNoneMatch="*")
                case "swap":
                    s3.put_object(**named, Body=value[1].encode(), IfMatch=etag(value[0]))
                case "delete":
                    s3.delete_object(**named)
                case "list":
                    found = s3.list_objects_v2(Bucket=self.bucket, Prefix="history/")
                    return True, {each["Key"] for each in found.get("Contents", ())}
                case _:
                    return True, s3.get_object(**named)["Body"].read().decode()
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if kind == "get" and status == 404:
                return True, ABSENT
            if status == 412 or (kind == "swap" and status == 404):
                return False, None
            return None, None
        except BotoCoreError:
            return None, None
        return True, None


def etag(value: str) -> str:
    return f'"{hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()}"'


class Disturber(threading.Thread):
    """Every few seconds one of `victims` is stopped for a moment, or killed and started again."""

    def __init__(self, victims: Sequence[Any], seconds: float, seed: int, pause: float = 3.0) -> None:
        super().__init__(daemon=True)
        self._victims = victims
        self._end = time.monotonic() + seconds
        self._rng = random.Random(f"{seed}/disturber")
        self._pause = pause
        self.done: list[str] = []

    def run(self) -> None:
        while time.monotonic() + self._pause + 2 < self._end:
            time.sleep(self._pause)
            child = self._rng.choice(self._victims)
            if self._rng.random() < 0.5:
                with suppress(ProcessLookupError):
                    child.process.send_signal(signal.SIGSTOP)
                    time.sleep(self._rng.uniform(0.2, 1.5))
                    child.process.send_signal(signal.SIGCONT)
                self.done.append(f"stopped {child.role}")
            else:
                child.process.kill()
                child.process.wait(10)
                time.sleep(0.3)
                child.start()
                self.done.append(f"killed {child.role}")
