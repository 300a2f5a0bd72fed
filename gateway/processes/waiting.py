"""A zone's processes and its store start in any order; who needs another waits for it."""

import sys
import time
from collections.abc import Callable

from vault.broker.client import BrokerClient
from vault.broker.types import Hello
from vault.errors import Unavailable

WAIT_SECONDS = 60.0


def hello_when_up(broker: BrokerClient, seconds: float = WAIT_SECONDS) -> Hello:
    """The broker's hello, asked for until it answers. Raises Unavailable after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        try:
            return broker.hello()
        except Unavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def when_up(step: Callable[[], None], what: str, seconds: float = WAIT_SECONDS) -> None:
    """`step`, again while what it needs does not answer; says once that it waits. Raises Unavailable in the end."""
    end, told = time.monotonic() + seconds, False
    while True:
        try:
            return step()
        except Unavailable as error:
            if time.monotonic() > end:
                raise
            if not told:
                print(f"waiting up to {seconds:.0f} s for {what}: {error}", file=sys.stderr, flush=True)
                told = True
            time.sleep(0.25)
