"""Secret values: a type that does not print them, and the few derivations and seals made from them.

Formats and labels: docs/spec/keys.md, section 5. Everything here is pure apart from the salt of a seal.
"""

import base64
import binascii
import hashlib
import hmac
import os
from typing import NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from vault.errors import Malformed, Refused

KEY_BYTES = 32
MAX_TOKEN_CHARS = 8192
_SALT = 24
_TAG = 16
_VERSION = b"\x01"
_ONE_USE_NONCE = bytes(12)  # each sub-key is derived from a fresh 192-bit salt and encrypts once


class SecretBytes(bytes):
    """Bytes that never show: not in repr, str, format, logs, tracebacks with locals, or a pickle.

    Still `bytes` for every primitive that takes a key. Slices and copies made on purpose are plain bytes.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} secret bytes>"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("secret bytes are not pickled: a queue or cache would hold a key")


def new_key() -> SecretBytes:
    """32 bytes of the operating system's randomness."""
    return SecretBytes(os.urandom(KEY_BYTES))


def derive_secret(root: bytes, label: str) -> SecretBytes:
    """One 32-byte secret for one use: HKDF-Expand-SHA-512(root, "demesne/keys/1 secret " || label)."""
    return _expand(root, b"demesne/keys/1 secret " + label.encode("ascii"))


def record_hash(key: bytes, kind: str, value: str) -> str:
    """How ledger entries name a principal or an object key: keyed, so that guesses cannot be tried offline.

    `kind` is "principal" or "object". HMAC-SHA-256 over "demesne/record/1" NUL kind NUL value; 64 hex characters.
    """
    message = b"demesne/record/1\x00" + kind.encode("ascii") + b"\x00" + value.encode("utf-8")
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def seal_blob(key: bytes, plaintext: bytes, context: bytes) -> bytes:
    """Version byte || 24-byte salt || AES-256-GCM under a key derived from `key` and the salt.

    The derived key makes the number of blobs under one key unlimited in practice (a random 96-bit nonce
    would end at 2^32). `context` is authenticated and not stored; opening must name the same one.
    """
    salt = os.urandom(_SALT)
    return _VERSION + salt + _blob_cipher(key, salt).encrypt(_ONE_USE_NONCE, plaintext, _blob_aad(context))


def open_blob(key: bytes, blob: bytes, context: bytes) -> bytes:
    """The plaintext, or `Malformed("blob")`: wrong key, wrong context, or any changed byte."""
    if len(blob) < 1 + _SALT + _TAG or blob[:1] != _VERSION:
        raise Malformed("blob", "length or version")
    salt, sealed = blob[1 : 1 + _SALT], blob[1 + _SALT :]
    try:
        return _blob_cipher(key, salt).decrypt(_ONE_USE_NONCE, sealed, _blob_aad(context))
    except InvalidTag as error:
        raise Malformed("blob", "does not authenticate") from error


def seal_token(key: bytes, claims: bytes) -> str:
    """A bearer token whose claims only a holder of `key` can read or make: base64url of a sealed blob."""
    token = base64.urlsafe_b64encode(seal_blob(key, claims, b"demesne/token/1")).rstrip(b"=").decode("ascii")
    if len(token) > MAX_TOKEN_CHARS:
        raise Refused("token.length", f"at most {MAX_TOKEN_CHARS} characters")
    return token


def open_token(key: bytes, token: str) -> bytes:
    """The claims, or `Refused("token")` whatever is wrong: a caller learns nothing from the difference."""
    if len(token) > MAX_TOKEN_CHARS:
        raise Refused("token")
    try:
        blob = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        claims = open_blob(key, blob, b"demesne/token/1")
    except (UnicodeEncodeError, binascii.Error, Malformed) as error:
        raise Refused("token") from error
    # Base64 leaves spare bits in its last character: two spellings of one token would defeat revocation by text.
    if base64.urlsafe_b64encode(blob).rstrip(b"=").decode("ascii") != token:
        raise Refused("token")
    return claims


def _expand(key: bytes, info: bytes) -> SecretBytes:
    if len(key) != KEY_BYTES:
        raise Malformed("key.length", f"{KEY_BYTES} bytes expected")
    return SecretBytes(HKDFExpand(algorithm=hashes.SHA512(), length=KEY_BYTES, info=info).derive(key))


def _blob_cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(_expand(key, b"demesne/keys/1 blob " + salt))


def _blob_aad(context: bytes) -> bytes:
    return b"demesne/blob/1\x00" + context
