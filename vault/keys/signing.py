"""The zone's signing key: Ed25519, one key a zone, made where it is used and kept in one 0600 file.

It signs checkpoints and promises; what is signed is separated by domain in the message itself
(docs/spec/ledger.md), so that one signature can never stand for another.
"""

from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from vault.errors import Broken, Refused
from vault.keys.durable import create_durable

_SEED_BYTES = 32


class ZoneSigner:
    """Signs with one Ed25519 key; shows only its public half."""

    def __init__(self, private_key: Ed25519PrivateKey) -> None:
        self._private_key = private_key
        self._public_key = private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @classmethod
    def generate(cls) -> "ZoneSigner":
        """A key that lives in this process only."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: Path) -> "ZoneSigner":
        """The key in `path`; on first use a new one, durable on return and never overwritten afterwards.

        `Broken("signer.file")` when the file is not a 32-byte seed or others may read it: signing with a key
        that somebody else may hold would make every receipt worthless.
        """
        if not path.exists():
            seed = Ed25519PrivateKey.generate().private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
            create_durable(path, seed)  # the loser of a race reads the winner's key below
        if path.stat().st_mode & 0o077:
            raise Broken("signer.file", f"{path} may be read by others; chmod 600 it")
        seed = path.read_bytes()
        if len(seed) != _SEED_BYTES:
            raise Broken("signer.file", f"{path} holds {len(seed)} bytes, not {_SEED_BYTES}")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private_key.sign(message)

    @property
    def public_key(self) -> bytes:
        """32 raw bytes."""
        return self._public_key

    def __repr__(self) -> str:
        return f"<ZoneSigner {self._public_key.hex()[:16]}>"


def verify_signature(public_key: bytes, signature: bytes, message: bytes) -> None:
    """Raises `Refused("signature")` unless `signature` over `message` was made by the holder of `public_key`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError) as error:
        raise Refused("signature") from error
