"""What single values are, checked and not guessed: each detector is a function of one string.

Patterns first, because they are cheap; check digits and numbering plans (python-stdnum, phonenumbers) decide.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import phonenumbers
from stdnum import iban as stdnum_iban
from stdnum.be import nn as be_nn
from stdnum.de import idnr as de_idnr
from stdnum.es import dni as es_dni
from stdnum.exceptions import ValidationError
from stdnum.fr import nir as fr_nir
from stdnum.it import codicefiscale as it_codicefiscale
from stdnum.pl import pesel as pl_pesel

from ingest.classify import labels
from ingest.classify.given_names import GIVEN_NAMES

_REGIONS = ("DE", "FR", "GB", "US")  # tried for numbers without a country code
_EMAIL = re.compile(r"[A-Za-z0-9._%+'-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}")
_IBAN = re.compile(r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}")
_PHONE = re.compile(r"(?:\+|00|\(|0)?[\d(][\d\s().\-/]{5,22}\d(?:\s?(?:x|ext\.?)\s?\d{1,6})?", re.IGNORECASE)
_PHONE_IN_TEXT = re.compile(r"(?<![\w.])(?:\+\d|\(0|0\d|\(\d{3}\)|\d{3}[-.])[\d\s().\-/]{5,20}\d(?![\w])")
_WORD = r"[A-ZÀ-ÖØ-Þ][a-zß-öø-ÿ'’]*(?:[-'’][A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]+)*\.?"
_TITLE = r"(?:Dr|Prof|Mr|Mrs|Ms|Miss|Mx|Herr|Frau|Hr|Fr|M|Mme|Mlle|Univ|Dipl|Ing|Sir)\.?(?:-Ing\.)?"
_PERSON = re.compile(
    rf"(?:{_TITLE} ){{0,3}}(?:{_WORD} )(?:(?:de|du|la|le|van|von|zu|der|den|di|da|O') ?){{0,2}}{_WORD}"
    rf"(?: {_WORD}){{0,2}}(?:,? (?:MD|PhD|DDS|DVM|Jr\.?|Sr\.?|II|III|B\.?A\.?|M\.?A\.?|B\.?Sc\.?|MBA\.?|B\.?Eng\.?))*"
)
_TITLED_IN_TEXT = re.compile(rf"\b(?:Dr|Prof|Mr|Mrs|Ms|Miss|Herr|Frau|Mme|Mlle|M)\.? {_WORD}")
_WORDS_IN_TEXT = re.compile(rf"{_WORD}(?: {_WORD})+")
_STREET = re.compile(
    r"(?:stra(?:ß|ss)e|str\.|weg\b|allee|platz|gasse|ring\b|damm\b|ufer\b|\brue\b|\bavenue\b|\bboulevard\b|\bchemin\b|"
    r"\bimpasse\b|\bplace\b|\bquai\b|\ballée|\bstreet\b|\broad\b|\blane\b|\bdrive\b|\bcourt\b|\bapt\.|\bsuite\b|"
    r"\bflat \d|\bst\.|\bave\b|\bblvd\b|\bbox \d)",
    re.IGNORECASE,
)
_HOUSE_NUMBER = re.compile(r"\d")
_TOWN = re.compile(r"\b(?:\d{5}(?:-\d{4})?|[A-Z]{2} \d{5})\b|\b\d{4,5} [A-ZÀ-Þ]|\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b")
_POSTCODE = re.compile(r"\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2}|\d{4} ?[A-Z]{2}|\d{2}-\d{3}")
_BRITISH_POSTCODE = re.compile(r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ][0-9:.]+(?:Z|[+-]\d\d:?\d\d)?)?|(\d{1,2})[./](\d{1,2})[./](\d{4})")
_SSN = re.compile(r"(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of value. A column is of this kind when at least `share` of its sampled values are."""

    id: str
    label: str
    matches: Callable[[str], bool]
    share: float
    limit: int = 400  # values looked at; less where a check is slow


def is_email(value: str) -> bool:
    return "@" in value and _EMAIL.fullmatch(value) is not None


def is_iban(value: str) -> bool:
    """By its check digits (ISO 7064) and its country's length; national digits inside are not asked for."""
    if not _IBAN.fullmatch(value):
        return False
    try:
        stdnum_iban.validate(value, check_country=False)
    except ValidationError:
        return False
    return True


def is_phone(value: str) -> bool:
    """A number that some numbering plan allows, written like one: prefix, separators, or a leading zero."""
    if not _PHONE.fullmatch(value) or _DATE.fullmatch(value) or _is_ip(value):
        return False
    digits = sum(character.isdigit() for character in value)
    if not 7 <= digits <= 18 or (value.isdigit() and not value.startswith("0")):
        return False
    if _POSTCODE.fullmatch(value) or _SSN.fullmatch(value) or re.fullmatch(r"\d+\.\d+", value):
        return False
    return any(_possible(value, region) for region in _REGIONS)


def _possible(value: str, region: str) -> bool:
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse(value, region))
    except phonenumbers.NumberParseException:
        return False


def is_person(value: str) -> bool:
    """Written like a person's full name: two to five capitalised words, perhaps titles."""
    return len(value) <= 60 and not any(c.isdigit() for c in value) and _PERSON.fullmatch(value) is not None


def has_given_name(value: str) -> bool:
    """One of its words is a common given name."""
    return any(part in GIVEN_NAMES for part in re.split(r"[^a-z]+", fold(value)) if part)


def is_address(value: str) -> bool:
    """A street with a number, or a number and a postcode with a town, over one or more lines."""
    if not 6 <= len(value) <= 160 or not _HOUSE_NUMBER.search(value):
        return False
    if "\n" in value:
        return _STREET.search(value) is not None or _TOWN.search(value) is not None
    return _STREET.search(value) is not None or (_TOWN.search(value) is not None and len(value.split()) >= 4)


def is_postcode(value: str) -> bool:
    return _POSTCODE.fullmatch(value) is not None


def is_british_postcode(value: str) -> bool:
    """The one form that says what it is."""
    return _BRITISH_POSTCODE.fullmatch(value) is not None


def year_of(value: str) -> int | None:
    """The year of an ISO, German or English date, None when it is none."""
    found = _DATE.fullmatch(value.strip())
    if not found:
        return None
    year, month, day = (int(found[i]) for i in (1, 2, 3)) if found[1] else (int(found[6]), int(found[5]), int(found[4]))
    if month > 12:
        month, day = day, month
    try:
        return date(year, month, day).year
    except ValueError:
        return None


def is_national_id(value: str) -> bool:
    """By the check digits of several countries; the US number by its form."""
    if _SSN.fullmatch(value):
        return True
    if not 8 <= len(value) <= 21:
        return False
    return any(module.is_valid(value) for module in (de_idnr, fr_nir, es_dni, it_codicefiscale, be_nn, pl_pesel))


def _is_ip(value: str) -> bool:
    if value.count(".") != 3 and value.count(":") < 2:
        return False
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def is_text(value: str) -> bool:
    """Prose rather than a name or a code: six words or forty characters with spaces."""
    long = (len(value) >= 40 and " " in value) or value.count(" ") >= 5
    return long and 2 * sum(map(str.isalpha, value)) > len(value)  # `+33 2 78 43 23 10` is no prose


def mentions(text: str) -> str | None:
    """What personal datum free text mentions first: the detector's id, or None."""
    if "@" in text and _EMAIL.search(text):
        return "email"
    if any(is_iban(found.group().rstrip()) for found in _IBAN.finditer(text)):
        return "iban"
    if any(is_phone(found.group().strip()) for found in _PHONE_IN_TEXT.finditer(text)):
        return "phone"
    if _TITLED_IN_TEXT.search(text):
        return "name"
    if any(has_given_name(found.group()) for found in _WORDS_IN_TEXT.finditer(text)):
        return "name"
    return "address" if _TOWN.search(text) and _STREET.search(text) else None  # the cheap pattern first


def fold(text: str) -> str:
    """Lower case without accents; `ß` is `ss`, umlauts lose their dots or become two letters as written."""
    decomposed = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(c for c in decomposed if not unicodedata.combining(c)).lower()


# From the most telling to the least: the first that holds gives the label.
DETECTORS: tuple[Detector, ...] = (
    Detector("value.email", labels.EMAIL, is_email, 0.7),
    Detector("value.iban", labels.IBAN, is_iban, 0.7, limit=200),
    Detector("value.national-id", labels.NATIONAL_ID, is_national_id, 0.8, limit=100),
    Detector("value.ip", labels.ID, _is_ip, 0.8),
    Detector("value.postcode-gb", labels.POSTCODE, is_british_postcode, 0.8),
    Detector("value.phone", labels.PHONE, is_phone, 0.7, limit=200),
    Detector("value.address", labels.ADDRESS, is_address, 0.6),
)
