"""urllib3 connection pools whose every connection is opened by a `Dialer`: for urllib3, botocore, minio and requests.

    manager = PoolManager(…); manager.pool_classes_by_scheme = dialled_pools(dialer)
"""

import socket
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util import Timeout

from vault.endpoint.dialer import Dialer
from vault.errors import VaultError


def dialled_pools(
    dialer: Dialer, plain: type[Any] = HTTPConnectionPool, secure: type[Any] = HTTPSConnectionPool
) -> dict[str, type[Any]]:
    """Pool classes by scheme. `plain` and `secure`: a client library's own pools, whose other habits are kept."""

    def open_plain(connection: Any) -> socket.socket:
        return dialer.connect(connection.host, connection.port, _seconds(connection.timeout), secure=False)

    def open_secure(connection: Any) -> socket.socket:
        return dialer.connect(connection.host, connection.port, _seconds(connection.timeout), secure=True)

    def connect(connection: Any) -> None:
        """The handshake, then the pin, before a byte of the request leaves."""
        secure.ConnectionCls.connect(connection)
        try:
            dialer.check_key(connection.host, connection.sock.getpeercert(binary_form=True))
        except VaultError:
            connection.close()
            raise

    def stay(pool: Any, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        """A request without its redirects: botocore asks for none, and urllib3 still reads 303 as an order."""
        base = secure if pool.scheme == "https" else plain
        return base.urlopen(pool, method, url, *arguments, **options | {"redirect": False})

    dialled = type("DialledConnection", (plain.ConnectionCls,), {"_new_conn": open_plain})
    dialled_tls = type("DialledTLSConnection", (secure.ConnectionCls,), {"_new_conn": open_secure, "connect": connect})
    return {
        "http": type("DialledPool", (plain,), {"ConnectionCls": dialled, "urlopen": stay}),
        "https": type("DialledTLSPool", (secure,), {"ConnectionCls": dialled_tls, "urlopen": stay}),
    }


def _seconds(timeout: Any) -> float | None:
    if isinstance(timeout, Timeout):
        timeout = timeout.connect_timeout
    return float(timeout) if isinstance(timeout, int | float) else None
