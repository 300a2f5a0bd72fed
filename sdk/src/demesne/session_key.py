"""The key pair of one session: evidence commits to its public half, and credentials come sealed to it.

It lives in the process that attested and is never written down. A forked child forgets it: a data-loader worker has
no use for it, and one copy less is one less to lose.
"""

from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from demesne import _wire
from demesne.credentials import Credentials
from demesne.errors import Malformed, session_closed

_JWE_ALGORITHMS = ["ECDH-ES+A256KW", "A256GCM"]  # docs/spec/attested-session.md §4; any other is refused
_PUBLIC = ("kty", "crv", "x", "y")


class SessionKey:
    """A P-256 pair. `public` is the JWK that goes to the gateway, `thumbprint` its RFC 7638 name."""

    def __init__(self) -> None:
        self._key: ECKey | None = ECKey.generate_key("P-256")
        public = self._key.as_dict(private=False)
        self.public: dict[str, Any] = {name: public[name] for name in _PUBLIC}
        self.thumbprint: str = self._key.thumbprint()

    def unseal(self, sealed: str) -> Credentials:
        """Open a compact JWE. Raises Malformed without quoting it: it holds a secret."""
        if self._key is None:
            raise session_closed("this process was forked from the one that attested")
        try:
            opened = jwe.decrypt_compact(sealed, self._key, algorithms=_JWE_ALGORITHMS)
        except (JoseError, ValueError) as error:
            raise Malformed("credentials.sealed", f"the credentials do not open: {type(error).__name__}") from None
        return _wire.read_credentials(opened.plaintext or b"")

    def private_pem(self) -> bytes:
        """PKCS#8, for clients that show a certificate of this key; only ever written 0600."""
        if self._key is None:
            raise session_closed("this process was forked from the one that attested")
        return self._key.as_pem(private=True)

    def forget(self) -> None:
        self._key = None
