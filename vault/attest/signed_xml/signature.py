"""One enveloped signature (XML-DSig) over a whole document, by the few rules that manifests need.

Signature wrapping lives on what verifiers can do: look up by id, transform, resolve. Nothing of it is here. The
signature stands directly under the root, is over all else (URI ""), and what was hashed and what is read afterwards
are one tree, so there is nothing to wrap.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from vault.attest.certificates import MAX_CERTIFICATE, MAX_CHAIN, load_certificate
from vault.attest.claims import Refusal, refuse
from vault.attest.signed_xml.tree import Element, canonical, parse_xml

_DS = "http://www.w3.org/2000/09/xmldsig#"
_CANONICAL = {"http://www.w3.org/2006/12/xml-c14n11", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"}
_ENVELOPED = f"{_DS}enveloped-signature"
_ECDSA_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384"
_SHA384 = "http://www.w3.org/2001/04/xmldsig-more#sha384"
_HALF = 48


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A document whose signature holds by `path[0]`. Nobody was asked yet whether its last certificate is trusted.

    `root` is without the signature: all of it was signed. `path` is leaf first.
    """

    root: Element
    path: tuple[x509.Certificate, ...]


def signed_document(raw: bytes) -> SignedDocument:
    """`Refused`: `malformed`, `algorithm`, `signature`."""
    root = parse_xml(raw)
    signatures = [element for element in root.walk() if element.is_(_DS, "Signature")]
    if len(signatures) != 1 or not any(part is signatures[0] for part in root.content):
        raise refuse(Refusal.MALFORMED, "one signature expected, directly under the root")
    root.content = [part for part in root.content if part is not signatures[0]]
    info, value, key = _children(signatures[0], "SignedInfo", "SignatureValue", "KeyInfo")
    if not hmac.compare_digest(_reference(info), hashlib.sha384(canonical(root)).digest()):
        raise refuse(Refusal.SIGNATURE, "the document is not the one that was signed")
    path = _certificates(key)
    public = path[0].public_key()
    if not isinstance(public, EllipticCurvePublicKey) or not isinstance(public.curve, SECP384R1):
        raise refuse(Refusal.ALGORITHM, "a key on P-384 expected")
    raw_value = _base64(value, 2 * _HALF)
    if len(raw_value) != 2 * _HALF:
        raise refuse(Refusal.MALFORMED, "signature length")
    r, s = (int.from_bytes(raw_value[at : at + _HALF], "big") for at in (0, _HALF))
    try:
        public.verify(encode_dss_signature(r, s), canonical(info), ECDSA(SHA384()))
    except InvalidSignature as error:
        raise refuse(Refusal.SIGNATURE, "document") from error
    return SignedDocument(root, path)


def _reference(info: Element) -> bytes:
    """The digest that was signed, when it is of the whole document but the signature, and of nothing else."""
    form, method, reference = _children(info, "CanonicalizationMethod", "SignatureMethod", "Reference")
    if _algorithm(form) not in _CANONICAL or _algorithm(method) != _ECDSA_SHA384:
        raise refuse(Refusal.ALGORITHM, "signature of the document")
    if [(one.spelled, one.value) for one in reference.attributes] != [("URI", "")]:
        raise refuse(Refusal.MALFORMED, "the signature is not over the whole document")
    transforms, digest, value = _children(reference, "Transforms", "DigestMethod", "DigestValue", attributes=1)
    first, second = _children(transforms, "Transform", "Transform")
    if _algorithm(first) != _ENVELOPED or _algorithm(second) not in _CANONICAL or _algorithm(digest) != _SHA384:
        raise refuse(Refusal.ALGORITHM, "transforms or digest of the document")
    return _base64(value, _HALF)


def _children(parent: Element, *names: str, attributes: int = 0) -> list[Element]:
    """Exactly these elements of the signature's namespace, in this order, and nothing between them but white space."""
    found = parent.elements
    if [(one.uri, one.local) for one in found] != [(_DS, name) for name in names] or parent.text.strip():
        raise refuse(Refusal.MALFORMED, f"{parent.local} has {', '.join(names)} and nothing else")
    if len(parent.attributes) != attributes:
        raise refuse(Refusal.MALFORMED, f"attributes of {parent.local}")
    return found


def _algorithm(element: Element) -> str:
    if element.content or [one.spelled for one in element.attributes] != ["Algorithm"]:
        raise refuse(Refusal.MALFORMED, f"{element.local} has an Algorithm and nothing else")
    return element.attributes[0].value


def _certificates(key: Element) -> tuple[x509.Certificate, ...]:
    (data,) = _children(key, "X509Data")
    found = data.elements
    if (
        data.attributes
        or data.text.strip()
        or not 2 <= len(found) <= MAX_CHAIN
        or not all(one.is_(_DS, "X509Certificate") for one in found)
    ):
        raise refuse(Refusal.MALFORMED, "a leaf and its issuers expected")
    return tuple(load_certificate(_base64(one, MAX_CERTIFICATE)) for one in found)


def _base64(element: Element, most: int) -> bytes:
    text = "".join(element.text.split())
    if element.elements or element.attributes or len(text) > 4 * (most // 3 + 1):
        raise refuse(Refusal.MALFORMED, element.local)
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except ValueError as error:
        raise refuse(Refusal.MALFORMED, f"{element.local} is not base64") from error
