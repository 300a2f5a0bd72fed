"""NVIDIA's reference manifests (RIM): golden values of a driver or firmware, as a signed SWID tag (ISO 19770-2).

    SoftwareIdentity ▸ Meta colloquialVersion, edition, product
                     ▸ Payload ▸ Resource type="Measurement" index active alternatives size="48" ns2:Hash0 … Hash<n-1>

Golden are the active measurements; index i of a manifest is block i + 1 of a report, and any alternative will do.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from vault.attest.certificates import check_path, fingerprint
from vault.attest.claims import Refusal, refuse
from vault.attest.signed_xml.signature import signed_document
from vault.attest.signed_xml.tree import Element

_SWID = "http://standards.iso.org/iso/19770/-2/2015/schema.xsd"
_HASHES = "http://www.w3.org/2001/04/xmlenc#sha384"
_DIGEST = re.compile(r"[0-9a-fA-F]{96}")
_INDEX = re.compile(r"0|[1-9][0-9]{0,2}")
_LAST_INDEX = 254  # blocks are counted from 1 in a byte
_MAX_ALTERNATIVES = 64
EDITIONS = frozenset({"GPU", "SWITCH"})


@dataclass(frozen=True, slots=True)
class ReferenceManifest:
    """What a manifest says, signed under `root` (SHA-256, hex) from `start` to `end`; `golden` by block of a report."""

    edition: str
    product: str
    version: str
    golden: Mapping[int, frozenset[bytes]]
    path: tuple[x509.Certificate, ...]
    root: str
    start: datetime
    end: datetime


def parse_reference_manifest(raw: bytes) -> ReferenceManifest:
    """`Refused`: `malformed`, `algorithm`, `signature`, `chain`, `expired` (certificates that never held together).

    The path is checked to its own end, at a time when all of it is valid. Whether that root is trusted, and that time
    has come, is for who uses the manifest.
    """
    document = signed_document(raw)
    start = max(one.not_valid_before_utc for one in document.path)
    end = min(one.not_valid_after_utc for one in document.path)
    root = fingerprint(document.path[-1])
    check_path(document.path, {root}, start)
    tag = document.root
    if not tag.is_(_SWID, "SoftwareIdentity"):
        raise refuse(Refusal.MALFORMED, "no software identity tag")
    meta, payload = _only(tag, "Meta"), _only(tag, "Payload")
    edition = meta.value("edition") or ""
    product, version = meta.value("product") or "", meta.value("colloquialVersion") or ""
    if edition not in EDITIONS or not product or not version:
        raise refuse(Refusal.MALFORMED, "edition, product and version expected")
    return ReferenceManifest(edition, product, version, _golden(payload), document.path, root, start, end)


def _only(parent: Element, local: str) -> Element:
    found = [one for one in parent.walk() if one.is_(_SWID, local)]
    if len(found) != 1 or not any(part is found[0] for part in parent.content):
        raise refuse(Refusal.MALFORMED, f"one {local} expected, under the root")
    return found[0]


def _golden(payload: Element) -> dict[int, frozenset[bytes]]:
    golden: dict[int, frozenset[bytes]] = {}
    seen = set[int]()
    for resource in payload.elements:
        if not resource.is_(_SWID, "Resource") or resource.value("type") != "Measurement" or resource.elements:
            raise refuse(Refusal.MALFORMED, "a resource that is no measurement")
        text = resource.value("index") or ""
        index = int(text) if _INDEX.fullmatch(text) else _LAST_INDEX + 1
        active = {"True": True, "False": False}.get(resource.value("active") or "")
        if index > _LAST_INDEX or index in seen or active is None or resource.value("size") != "48":
            raise refuse(Refusal.MALFORMED, f"measurement {text[:8]}")
        seen.add(index)
        values = _alternatives(resource)
        if active:
            golden[index + 1] = values
    if not golden:
        raise refuse(Refusal.MALFORMED, "no active measurement")
    return golden


def _alternatives(resource: Element) -> frozenset[bytes]:
    """As many as the resource says, named Hash0, Hash1 and on: a hash that is not counted is one that is overlooked."""
    hashes = {one.local: one.value for one in resource.attributes if one.uri == _HASHES}
    count = resource.value("alternatives") or ""
    names = [f"Hash{number}" for number in range(len(hashes))]
    if count != str(len(hashes)) or set(hashes) != set(names) or not 1 <= len(hashes) <= _MAX_ALTERNATIVES:
        raise refuse(Refusal.MALFORMED, "alternatives of a measurement")
    if not all(_DIGEST.fullmatch(value) for value in hashes.values()):
        raise refuse(Refusal.ALGORITHM, "digest of a measurement")
    return frozenset(bytes.fromhex(value) for value in hashes.values())
