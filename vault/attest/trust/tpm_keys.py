"""`tpm-keys.json`: attestation keys enrolled by hand, with the PCR values that each must quote.

Enrolment by credential activation writes the catalog instead; a key may stand in either, and this file comes first. A
key without `pcrs` is enrolled and proves a boot that nobody approved: the doctrine sees that.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field

from vault.attest.certificates import load_certificate
from vault.attest.tpm.quote import PCRS
from vault.attest.trust.document import Dated, Section, open_document, wrong
from vault.errors import Refused

SCHEMA = "demesne.trust.tpm-keys/1"
_NAME = r"[0-9a-f]{64}"
_INDEX = {str(index) for index in range(PCRS)}


@dataclass(frozen=True, slots=True)
class EnrolledKey:
    """One key. `pcrs`: admitted values by PCR, which must be quoted. `last`: (resetCount, restartCount, clock) seen.

    `principal_id` "" is anybody's: only what was enrolled with a principal is bound to one.
    """

    name: str
    pcrs: Mapping[int, frozenset[bytes]] = field(default_factory=dict)
    principal_id: str = ""
    last: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class TpmTrust:
    """Enrolled keys by name (SHA-256 of their SPKI, hex), and whose endorsement certificates may enrol others: pins of
    roots (SHA-256 of the certificate, hex), none = nobody's; issuers in DER that a machine need not bring."""

    keys: Mapping[str, EnrolledKey] = field(default_factory=dict)
    endorsement_roots: frozenset[str] = frozenset()
    endorsement_certificates: tuple[bytes, ...] = ()


def parse_tpm_keys(raw: bytes) -> tuple[TpmTrust, Dated]:
    """Raises Malformed, which names the field and what to write there."""
    document, dated = open_document(raw, SCHEMA)
    roots = document.texts("endorsement_roots", _NAME, frozenset())
    issuers = sorted(document.texts("endorsement_certificates", r"[A-Za-z0-9+/]{1,12000}={0,2}", frozenset()))
    found: dict[str, EnrolledKey] = {}
    for section in document.sections("keys") if document.has("keys") else ():
        key = _key(section)
        if key.name in found:
            raise wrong(section.at("name"), "a key stands there twice; remove one")
        found[key.name] = key
    document.end()
    return TpmTrust(found, roots, tuple(_certificate(text) for text in issuers)), dated


def _certificate(text: str) -> bytes:
    try:
        der = base64.b64decode(text, validate=True)
        load_certificate(der)
    except (ValueError, Refused) as error:
        raise wrong("endorsement_certificates", "each is a certificate, DER in base64") from error
    return der


def _key(section: Section) -> EnrolledKey:
    section.take("note", None)
    key = EnrolledKey(
        section.text("name", _NAME), pcr_policy(section.section("pcrs")), section.text("principal", r".{1,64}", "")
    )
    section.end()
    return key


def pcr_policy(section: Section | None) -> Mapping[int, frozenset[bytes]]:
    """{"7": [64 hex digits, …], …}: an empty list admits nothing."""
    if section is None:
        return {}
    for name in section.names():
        if name not in _INDEX:
            raise wrong(section.at(name), f"a PCR is a number from 0 to {PCRS - 1}")
    return {int(name): section.hexes(name, (32,)) for name in section.names()}
