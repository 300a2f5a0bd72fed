"""The view builder process: broker side with store and catalog; decoding happens in its sandbox children only."""

import signal
import sys
import threading
from typing import Any

from gateway.enforce.confinement import FILTER, RLIMITS
from gateway.jobs.builder import Builder
from gateway.processes.waiting import hello_when_up
from gateway.processes.zone import holder, now_ms, open_catalog, open_store
from gateway.settings import Settings
from lineage.errors import LineageError
from lineage.ledger.client import SyncLedgerClient
from vault.broker.client import BrokerClient
from vault.errors import Unavailable
from vault.objects import Vault


def run_builder(settings: Settings) -> int:
    broker = BrokerClient(settings.builder_socket)
    hello = hello_when_up(broker)
    catalog = open_catalog(settings, hello.catalog_mac_key)
    vault = Vault(open_store(settings), catalog, broker, settings.zone, now_ms)
    ledger = SyncLedgerClient(settings.ledger_socket, settings.zone)

    def append(entry: dict[str, Any]) -> None:
        try:
            ledger.append(entry)
        except LineageError as error:
            raise Unavailable("ledger", str(error)) from error

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    command = [sys.executable, "-m", "gateway", "sandbox"]
    # A development machine may lack the call filter; data of real people is decoded behind both or not at all.
    required = frozenset({RLIMITS, FILTER} if settings.posture == "production" else {RLIMITS})
    Builder(vault, catalog, broker, append, command, now_ms, holder=holder(), required=required).serve(stop)
    ledger.close()
    return 0
