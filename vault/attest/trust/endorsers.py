"""`endorsers.json`: whose signed word makes a launch measurement a release, and from which security version on.

    {"issuer": "did:x509:0:sha256:<root>::eku:<purpose>", "feed": "ContainerPlat-AMD-UVM", "min_svn": 100,
     "as_of": "2026-06-01T00:00:00Z"}

The issuer names the root by its hash, and the purpose that the signer's certificate must be for: no other pin is
needed. Statements come with evidence, or lie in `collateral/endorsements/*.cose`, where being trusts nothing.
"""

from dataclasses import dataclass

from vault.attest.snp.reference import ISSUER, Endorser, stated
from vault.attest.trust.document import Dated, Section, milliseconds, moment, open_document, wrong

SCHEMA = "demesne.trust.endorsers/1"
_FEED = r"[!-~](?:[ -~]{0,254}[!-~])?"
_MAX_SVN = 999_999_999


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that lies in the zone, and the measurement (hex) that it says it is about, unverified."""

    raw: bytes
    measurement: str


def parse_endorsers(raw: bytes) -> tuple[tuple[Endorser, ...], Dated]:
    """Raises Malformed, which names the field and what to write there."""
    document, dated = open_document(raw, SCHEMA)
    found = tuple(_endorser(section, dated) for section in document.sections("endorsers"))
    document.end()
    if len({(one.issuer, one.feed) for one in found}) != len(found):
        raise wrong("endorsers", "an issuer stands there twice with one feed; remove one")
    return found, dated


def parse_statement(name: str, raw: bytes) -> tuple[Statement, None]:
    """`name`: the file's. Raises Malformed or Refused. A statement has no dates of its own."""
    if not name.endswith(".cose"):
        raise wrong("", "name it .cose, or remove it")
    return Statement(raw, stated(raw)[0].hex()), None


def _endorser(section: Section, dated: Dated) -> Endorser:
    issuer, feed = section.text("issuer", ISSUER), section.text("feed", _FEED)
    min_svn = section.whole("min_svn", 0, _MAX_SVN)
    text = section.text("as_of", default=None)
    as_of = None if text is None else milliseconds(moment(text, section.at("as_of")))
    section.take("note", None)
    section.end()
    if as_of is not None and as_of > dated.issued_ms:
        raise wrong(section.at("as_of"), "it is after issued: whoever wrote the file cannot have looked at that time")
    return Endorser(issuer, feed, min_svn, as_of)
