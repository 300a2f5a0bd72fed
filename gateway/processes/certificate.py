"""The certificate both ports show. Replaced files count for new connections; those that stream go on with the old one.

The listening context never changes. For each handshake it hands over to the newest context, which is built aside from
whole files: a chain without its key, half written by whoever renews it, is never shown to anybody.
"""

import asyncio
import contextlib
import ssl
from pathlib import Path

import structlog

LOOK_SECONDS = 2.0
log = structlog.get_logger("front")


class Certificate:
    """Chain and key as PEM files. `context` is for the listening sockets, once and for all.

    Raises OSError or ssl.SSLError when they cannot be used, from the constructor and from `reload`.
    """

    def __init__(self, chain: Path, key: Path, client_authority: bytes | None = None) -> None:
        """`client_authority` (DER): clients may show a certificate of this authority, and of no other."""
        self._client_authority = client_authority
        self._chain = chain
        self._key = key
        self._seen = self._stamps()
        self._current = self._load()
        self.context = self._load()
        self.context.sni_callback = self._hand_over

    def changed(self) -> bool:
        """Whether a file is another than the one that was looked at last."""
        return self._stamps() != self._seen

    def reload(self) -> None:
        """Show what the files hold now. When it raises, the one before is still shown."""
        self._seen = self._stamps()
        self._current = self._load()

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self._chain, self._key)
        if self._client_authority is not None:
            # Optional: whoever shows none is served as before. One of anybody else's ends the handshake.
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(cadata=self._client_authority)
        return context

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        """By what a file was written, also where it is a link that is turned, as container engines do it."""
        found = []
        for path in (self._chain, self._key):
            try:
                seen = path.stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((seen.st_ino, seen.st_mtime_ns, seen.st_size))
        return tuple(found)


async def watch(certificate: Certificate | None, hangup: asyncio.Event) -> None:
    """Look at the files now and then, and at once when `hangup` is set; a change that cannot be used is told once."""
    while certificate is not None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(hangup.wait(), LOOK_SECONDS)
        if hangup.is_set() or certificate.changed():
            _reload(certificate)
        hangup.clear()


def _reload(certificate: Certificate) -> None:
    try:
        certificate.reload()
    except (OSError, ssl.SSLError) as error:
        log.warning("certificate cannot be used; the one before is shown", reason=str(error))
    else:
        log.info("certificate read again")
