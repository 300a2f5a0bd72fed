"""A zone's processes start in any order; who needs the broker waits for it."""

import time

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
