"""The signing port. This package never imports a crypto library: the gateway injects both directions.

`Sign(message) -> signature` (64 bytes, Ed25519). `Verify(public_key, signature, message)` returns None or raises.
"""

from collections.abc import Callable

from lineage.errors import NotVerified

Sign = Callable[[bytes], bytes]
Verify = Callable[[bytes, bytes, bytes], None]

SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32


def check_signature(verify: Verify, public_key: bytes, signature: bytes, message: bytes, what: str) -> None:
    """Raise NotVerified("signature") unless the injected verifier accepts."""
    if len(signature) != SIGNATURE_BYTES or len(public_key) != PUBLIC_KEY_BYTES:
        raise NotVerified("signature", f"{what}: not an Ed25519 signature and key")
    try:
        verify(public_key, signature, message)
    except Exception as error:
        # The verifier's error tree is not ours to know; whatever it raises means "not accepted".
        raise NotVerified("signature", what) from error
