"""The key pair of one session: evidence commits to its public half, and credentials come sealed to it.

It lives in the process that attested and is never written down. A forked child forgets it: a data-loader worker has
no use for it, and one copy less is one less to lose.
"""

import hashlib
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from demesne import _wire
from demesne.credentials import Credentials
from demesne.errors import Malformed, session_closed
from demesne.jwe import NotOpened, base64url, open_compact


class SessionKey:
    """A P-256 pair. `public` is the JWK that goes to the gateway, `thumbprint` its RFC 7638 name."""

    def __init__(self) -> None:
        self._key: ec.EllipticCurvePrivateKey | None = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        x, y = (base64url(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
        self.public: dict[str, Any] = {"kty": "EC", "crv": "P-256", "x": x, "y": y}
        canonical = json.dumps(self.public, sort_keys=True, separators=(",", ":")).encode("ascii")
        self.thumbprint: str = base64url(hashlib.sha256(canonical).digest())

    def unseal(self, sealed: str) -> Credentials:
        """Open a compact JWE. Raises Malformed without quoting it: it holds a secret."""
        if self._key is None:
            raise session_closed("this process was forked from the one that attested")
        try:
            return _wire.read_credentials(open_compact(sealed, self._key))
        except NotOpened as error:
            raise Malformed("credentials.sealed", f"the credentials do not open: {error}") from None

    def private_pem(self) -> bytes:
        """PKCS#8, for clients that show a certificate of this key; only ever written 0600."""
        if self._key is None:
            raise session_closed("this process was forked from the one that attested")
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def forget(self) -> None:
        self._key = None
