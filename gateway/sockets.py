"""Listening sockets, bound by the supervisor so that a port in use is a sentence before anything starts."""

import errno
import socket


class PortTaken(Exception):
    """Somebody else listens there; the message says what to do."""


def listen(host: str, port: int, option: str = "DEMESNE_S3_PORT or DEMESNE_API_PORT") -> socket.socket:
    """A listening TCP socket on host:port (0 takes a free one). Raises PortTaken with the way out."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            why = "is already in use" if error.errno == errno.EADDRINUSE else "may not be opened by this user"
            sentence = f"Port {port} on {host} {why}. Choose another with {option}, or 0 for a free one."
            raise PortTaken(sentence) from error
        raise
    sock.listen(1024)
    sock.set_inheritable(True)
    return sock
