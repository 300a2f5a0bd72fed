"""Opening one JWE: compact, ECDH-ES+A256KW over P-256 with A256GCM (RFC 7516, RFC 7518 sections 4.6 and 5.3).

That is the one form the gateway seals credentials in (docs/spec/attested-session.md section 4). A JOSE library would
read many more, and be one more thing to install beside a training job; here any other header is refused.
"""

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap

_ALG, _ENC = "ECDH-ES+A256KW", "A256GCM"
_KEY, _NONCE, _TAG, _COORDINATE, _WRAPPED = 32, 12, 16, 32, 40
_MOST = 64 * 1024


class NotOpened(Exception):
    """Why, without a byte of what was sealed."""


def open_compact(sealed: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The plaintext. Raises NotOpened for another form, algorithm, key, or a changed byte."""
    parts = sealed.split(".") if len(sealed) <= _MOST else []
    if len(parts) != 5:
        raise NotOpened("not a compact JWE")
    protected, wrapped, nonce, ciphertext, tag = (_decoded(part) for part in parts)
    ephemeral = _ephemeral(protected)
    if (len(wrapped), len(nonce), len(tag)) != (_WRAPPED, _NONCE, _TAG):
        raise NotOpened("lengths")
    agreed = ConcatKDFHash(SHA256(), _KEY, _other_info()).derive(key.exchange(ec.ECDH(), ephemeral))
    try:
        content_key = aes_key_unwrap(agreed, wrapped)
        return AESGCM(content_key).decrypt(nonce, ciphertext + tag, parts[0].encode("ascii"))
    except (InvalidUnwrap, InvalidTag) as error:
        raise NotOpened("sealed to another key, or changed") from error


def _ephemeral(protected: bytes) -> ec.EllipticCurvePublicKey:
    """The sender's key of a header that says exactly what is expected. `from_encoded_point` checks the curve: a point
    off it would give away the private key, a few bits at each try (RFC 8725 section 3.4)."""
    try:
        header = json.loads(protected)
    except ValueError as error:
        raise NotOpened("header") from error
    if not isinstance(header, dict) or set(header) != {"alg", "enc", "epk"}:
        raise NotOpened("header")
    sender: Any = header["epk"]
    if (header["alg"], header["enc"]) != (_ALG, _ENC) or not isinstance(sender, dict):
        raise NotOpened("algorithm")
    if set(sender) != {"kty", "crv", "x", "y"} or (sender["kty"], sender["crv"]) != ("EC", "P-256"):
        raise NotOpened("key")
    point = b"\x04" + _coordinate(sender["x"]) + _coordinate(sender["y"])
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
    except ValueError as error:
        raise NotOpened("key") from error


def _other_info() -> bytes:
    """NIST SP 800-56A OtherInfo as RFC 7518 section 4.6.2 has it: algorithm, no party names, length of the key."""
    name = _ALG.encode("ascii")
    return len(name).to_bytes(4, "big") + name + bytes(8) + (8 * _KEY).to_bytes(4, "big")


def _coordinate(text: object) -> bytes:
    raw = _decoded(text) if isinstance(text, str) else b""
    if len(raw) != _COORDINATE:
        raise NotOpened("key")
    return raw


def _decoded(text: str) -> bytes:
    try:
        raw = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise NotOpened("base64url") from error
    if base64url(raw) != text:
        raise NotOpened("base64url")
    return raw


def base64url(raw: bytes) -> str:
    """Without padding (RFC 7515 section 2)."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
