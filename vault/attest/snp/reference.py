"""Endorsed launch measurements: a vendor's signed statement that a measurement is a release of its firmware.

    tag 18 COSE_Sign1, protected {1: -38 (PS384), 3: "application/json", 33: x5chain, "iss": did:x509, "feed": text, …}
    payload {"x-ms-sevsnpvm-launchmeasurement": hex, "x-ms-sevsnpvm-guestsvn": "22"}

The issuer is did:x509:0:sha256:<root's hash>::eku:<purpose> (did:x509 method, IETF SCITT): the root is pinned by the
identifier that the operator trusts, and the leaf must be for that purpose. A statement is about releases and outlives
its certificate, and states no time that anybody else vouches for: an operator who looked at the releases of an
endorser can name the time as of which certificates count.
"""

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA384

from vault.attest.certificates import MAX_CHAIN, check_path, load_certificate
from vault.attest.claims import Refusal, refuse
from vault.attest.cose import Sign1, signature_structure, strict_cbor
from vault.attest.fields import at_time
from vault.errors import Refused

MAX_STATEMENT = 64 * 1024
_SIGN1, _TIMES = 18, (0, 1)
_ALGORITHM, _X5CHAIN, _PS384 = 1, 33, -38
ISSUER = r"did:x509:0:sha256:([A-Za-z0-9_-]{43})::eku:([0-9.]{3,64})"
_MEASUREMENT, _SVN = "x-ms-sevsnpvm-launchmeasurement", "x-ms-sevsnpvm-guestsvn"


@dataclass(frozen=True, slots=True)
class Endorser:
    """Whose releases an operator trusts: issuer (did:x509 …), feed, and the oldest security version admitted.

    `as_of_ms`: when certificates have to be in date; None is when the statement is looked at.
    """

    issuer: str
    feed: str
    min_svn: int
    as_of_ms: int | None = None


@dataclass(frozen=True, slots=True)
class EndorsedMeasurement:
    """A measurement that a trusted endorser released."""

    measurement: bytes
    svn: int
    issuer: str
    feed: str


def endorsed_measurement(raw: bytes, endorsers: Sequence[Endorser], at_ms: int) -> EndorsedMeasurement:
    """`Refused`: `endorsement`, `malformed`, `no-trust`."""
    if not endorsers:
        raise refuse(Refusal.NO_TRUST, "no endorser is trusted")
    signed, header = _parse(raw)
    issuer, feed = header.get("iss"), header.get("feed")
    endorser = next((one for one in endorsers if (one.issuer, one.feed) == (issuer, feed)), None)
    if endorser is None:
        raise refuse(Refusal.ENDORSEMENT, "issuer or feed is not trusted")
    as_of_ms = at_ms if endorser.as_of_ms is None else endorser.as_of_ms
    key = _issuer_key(endorser.issuer, header.get(_X5CHAIN), as_of_ms)
    try:
        key.verify(signed.signature, signature_structure(signed), PSS(MGF1(SHA384()), SHA384.digest_size), SHA384())
    except InvalidSignature as error:
        raise refuse(Refusal.ENDORSEMENT, "signature") from error
    measurement, svn = _statement(signed.payload)
    if svn < endorser.min_svn:
        raise refuse(Refusal.ENDORSEMENT, f"security version {svn}")
    return EndorsedMeasurement(measurement, svn, endorser.issuer, endorser.feed)


def stated(raw: bytes) -> tuple[bytes, int]:
    """Measurement and security version that a statement is about, nothing of it verified. `Refused`: `endorsement`,
    `malformed`."""
    return _statement(_parse(raw)[0].payload)


def _parse(raw: bytes) -> tuple[Sign1, dict[Any, Any]]:
    if len(raw) > MAX_STATEMENT:
        raise refuse(Refusal.MALFORMED, "endorsement length")
    value = strict_cbor(raw, "endorsement", {_SIGN1})
    parts = value.value if isinstance(value, cbor2.CBORTag) else None
    if not isinstance(parts, list) or len(parts) != 4 or not isinstance(parts[1], dict):
        raise refuse(Refusal.MALFORMED, "endorsement is no COSE_Sign1")
    protected, payload, signature = parts[0], parts[2], parts[3]
    if not all(isinstance(part, bytes) for part in (protected, payload, signature)):
        raise refuse(Refusal.MALFORMED, "endorsement is no COSE_Sign1")
    header = strict_cbor(protected, "endorsement header", _TIMES)
    if not isinstance(header, dict) or type(header.get(_ALGORITHM)) is not int or header[_ALGORITHM] != _PS384:
        raise refuse(Refusal.ENDORSEMENT, "PS384 expected")
    if 2 in header:
        raise refuse(Refusal.ENDORSEMENT, "critical headers that nobody here knows")
    return Sign1(protected, payload, signature), header


def _issuer_key(issuer: str, chain: Any, at_ms: int) -> RSAPublicKey:
    """The leaf's key, when its path ends in the root that the identifier names and it is for that purpose."""
    named = re.fullmatch(ISSUER, issuer)
    if named is None:
        raise refuse(Refusal.ENDORSEMENT, "issuer is no did:x509 with a purpose")
    if not isinstance(chain, list) or not 2 <= len(chain) <= MAX_CHAIN or not all(isinstance(c, bytes) for c in chain):
        raise refuse(Refusal.ENDORSEMENT, "x5chain")
    path = [load_certificate(der) for der in chain]
    root = base64.urlsafe_b64decode(named[1] + "=").hex()
    try:
        check_path(path, {root}, at_time(at_ms))
    except Refused as refused:
        raise refuse(Refusal.ENDORSEMENT, f"{refused}") from refused
    try:
        purposes = path[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound as error:
        raise refuse(Refusal.ENDORSEMENT, "purpose") from error
    if x509.ObjectIdentifier(named[2]) not in purposes:
        raise refuse(Refusal.ENDORSEMENT, "purpose")
    key = path[0].public_key()
    if not isinstance(key, RSAPublicKey):
        raise refuse(Refusal.ENDORSEMENT, "an RSA key expected")
    return key


def _statement(payload: bytes) -> tuple[bytes, int]:
    try:
        document = json.loads(payload)
        measurement = bytes.fromhex(document[_MEASUREMENT])
        text = document[_SVN]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise refuse(Refusal.ENDORSEMENT, "statement") from error
    if len(measurement) != 48 or not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,9}", text):
        raise refuse(Refusal.ENDORSEMENT, "statement")
    return measurement, int(text)
