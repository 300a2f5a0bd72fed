"""CBOR in its one spelling and COSE_Sign1 (RFC 8949, RFC 9052), as strict as signed evidence can be read.

The decoder by itself takes the last of repeated keys, ignores what follows the item and turns tags into dates,
regular expressions and numbers of any size. Here: no tags, no indefinite lengths, eight levels, and the value must
encode to the very bytes it came from, which leaves no room for a second spelling or a tail.
"""

import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NoReturn

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from vault.attest.claims import Refusal, refuse

ES384 = -35
_ALGORITHM = 1  # COSE header label
_DEPTH = 8
_BUILT_IN_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799)


@dataclass(frozen=True, slots=True)
class Sign1:
    """COSE_Sign1 whose signature nobody has checked yet."""

    protected: bytes
    payload: bytes
    signature: bytes


def strict_cbor(raw: bytes, what: str, tags: Collection[int] = ()) -> Any:
    """The one value that `raw` spells; `Refused("attest.malformed")` otherwise. `tags` stay `CBORTag`s, undecoded."""
    tagged: dict[int, Callable[[Any, bool], Any]] = dict.fromkeys(_BUILT_IN_TAGS, _refuse_tag)
    decoder = cbor2.CBORDecoder(
        io.BytesIO(raw),
        tag_hook=_refuse_tag,
        semantic_decoders=tagged | {tag: _kept(tag) for tag in tags},
        max_depth=_DEPTH,
        allow_indefinite=False,
        allow_duplicate_keys=False,
    )
    try:
        value = decoder.decode()
        again = cbor2.dumps(value)
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise refuse(Refusal.MALFORMED, f"{what}: {error}") from error
    if again != raw:
        raise refuse(Refusal.MALFORMED, f"{what} is not in the one spelling, or goes on after its end")
    return value


def _kept(tag: int) -> Callable[[Any, bool], Any]:
    return lambda value, _immutable: cbor2.CBORTag(tag, value)


def _refuse_tag(*_: object) -> NoReturn:
    raise cbor2.CBORDecodeError("tag")


def parse_sign1(raw: bytes, what: str) -> Sign1:
    """Untagged [protected, {}, payload, signature] with the algorithm ES384 and no other header."""
    value = strict_cbor(raw, what)
    if not isinstance(value, list) or len(value) != 4:
        raise refuse(Refusal.MALFORMED, f"{what} is no COSE_Sign1")
    protected, unprotected, payload, signature = value
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)) or unprotected != {}:
        raise refuse(Refusal.MALFORMED, f"{what} is no COSE_Sign1 with an empty unprotected header")
    header = strict_cbor(protected, "protected header")
    if not isinstance(header, dict) or set(header) != {_ALGORITHM}:
        raise refuse(Refusal.MALFORMED, "protected header")
    if type(header[_ALGORITHM]) is not int or header[_ALGORITHM] != ES384:
        raise refuse(Refusal.ALGORITHM, "ES384 expected")
    return Sign1(protected, payload, signature)


def check_sign1(signed: Sign1, key: EllipticCurvePublicKey) -> None:
    """`Refused("attest.signature")` unless `key` (P-384) signed it."""
    if len(signed.signature) != 96:
        raise refuse(Refusal.SIGNATURE, "96 bytes expected")
    r, s = (int.from_bytes(part, "big") for part in (signed.signature[:48], signed.signature[48:]))
    try:
        key.verify(encode_dss_signature(r, s), signature_structure(signed), ECDSA(SHA384()))
    except InvalidSignature as error:
        raise refuse(Refusal.SIGNATURE, "COSE_Sign1") from error


def signature_structure(signed: Sign1) -> bytes:
    """The Sig_structure that a COSE_Sign1's signature is over (RFC 9052 §4.4)."""
    return cbor2.dumps(["Signature1", signed.protected, b"", signed.payload])
