"""One label a column: what its name suggests and what its values show, weighed.

Values win over names where they can be checked; a name alone is enough where the shape fits. No finding means
`unknown`, and unknown means personal. Every finding says which detector, how sure, and on how many values.
This module is imported by the gateway too: it knows no files and no network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from ingest.classify import labels, names, values

_BIRTH_SPREAD_YEARS = 25  # dates of birth lie far apart; dates of events rarely do
_TEXT_MENTIONS = 0.01  # one text in a hundred that mentions a person makes the column personal text
_NUMERIC = {"integer", "number", "boolean"}
_DATES = {"date", "timestamp"}


@dataclass(frozen=True, slots=True)
class Finding:
    """`confidence` in percent; `matched` of `sampled` values bore it out (0 of 0: by name alone)."""

    label: str
    detector: str
    confidence: int
    sampled: int
    matched: int

    def as_document(self) -> dict[str, str | int]:
        """As the contract holds it."""
        return {
            "detector": self.detector,
            "confidence": self.confidence,
            "sampled": self.sampled,
            "matched": self.matched,
        }


def classify(name: str, kind: str, sample: Sequence[str], *, today: date | None = None) -> Finding | None:
    """The finding for one column, None when nothing points anywhere.

    `kind` is the contract's type word; `sample` are non-null values as text, in any order.
    """
    hint = names.suggests(name)
    now = today or datetime.now(UTC).date()
    if kind in _NUMERIC:
        return _numeric(hint, sample)
    if kind in _DATES:
        return _dates(hint, sample, now)
    if kind in {"binary", "nested"}:
        return _by_name(hint, 50) if hint is not None else None
    return _text_column(hint, _distinct(sample), now)


def _text_column(hint: str | None, sample: Sequence[str], now: date) -> Finding | None:
    """Strings: prose first, since it may hold anything; then the checkable kinds; then names; then the hint."""
    if not sample:
        return _by_name(hint, 50) if hint is not None else None
    prose = _count(sample, values.is_text, 200)
    if prose.matched > prose.sampled * 0.5 and _share(sample, values.is_address, 200) < 0.6:
        return _prose(hint, sample)
    for detector in values.DETECTORS:
        counted = _count(sample, detector.matches, detector.limit)
        if counted.share >= detector.share:
            agrees = hint == detector.label
            return counted.finding(detector.label, detector.id + ("+name" if agrees else ""), agrees)
    return _dates(hint, sample, now) or _person(hint, sample) or _postcode(hint, sample) or _hinted(hint, sample)


def _numeric(hint: str | None, sample: Sequence[str]) -> Finding | None:
    """Numbers are measures unless their name says they stand for a person, or for where or when one is."""
    if hint in {labels.ID, labels.NATIONAL_ID, labels.PHONE, labels.POSTCODE, labels.BIRTH_DATE, labels.IBAN}:
        return Finding(hint, "name", 70, len(sample), 0)
    return None


def _dates(hint: str | None, sample: Sequence[str], now: date) -> Finding | None:
    """Dates of birth: by name, or because they spread over a human life and end today at the latest."""
    sampled = sample[:400]
    years = sorted(year for year in map(values.year_of, sampled) if year is not None)
    if not sampled or len(years) < 0.8 * len(sampled):
        return _by_name(hint, 50) if hint == labels.BIRTH_DATE and not sampled else None
    possible = sum(now.year - 120 <= year <= now.year for year in years)
    if hint == labels.BIRTH_DATE:
        return Finding(hint, "value.date+name", 95, len(sampled), possible)
    spread = years[int(len(years) * 0.95)] - years[int(len(years) * 0.05)] if len(years) >= 20 else 0
    if possible == len(years) and spread >= _BIRTH_SPREAD_YEARS:
        return Finding(labels.BIRTH_DATE, "value.date-spread", 60, len(sampled), possible)
    return None


def _prose(hint: str | None, sample: Sequence[str]) -> Finding | None:
    """Free text: personal when it mentions somebody; by its name when it does not."""
    found = _count(sample, lambda text: values.mentions(text) is not None, 400)
    if found.share >= _TEXT_MENTIONS:
        return Finding(labels.NOTE, "value.text-mentions", 95, found.sampled, found.matched)
    if hint == labels.NOTE:
        return Finding(labels.NOTE, "value.text+name", 70, found.sampled, found.matched)
    return None


def _person(hint: str | None, sample: Sequence[str]) -> Finding | None:
    """Names: the form of a full name, or known given names, the more so when the column is called that."""
    shaped = _count(sample, values.is_person, 400)
    known = _count(sample, values.has_given_name, 400)
    if hint == labels.NAME:
        words = _count(sample, lambda value: value.count(" ") <= 5 and not value.isdigit(), 400)
        return words.finding(labels.NAME, "value.words+name", agrees=True) if words.share >= 0.8 else None
    if hint is None and shaped.share >= 0.7 and known.share >= 0.2:
        return shaped.finding(labels.NAME, "value.full-name", agrees=False)
    if hint is None and known.share >= 0.35 and _share(sample, lambda value: value.count(" ") == 0, 400) >= 0.8:
        return known.finding(labels.NAME, "value.given-name", agrees=False)
    return None


def _postcode(hint: str | None, sample: Sequence[str]) -> Finding | None:
    """Five digits kept as text are a postcode when one starts with zero, or the name says so."""
    counted = _count(sample, values.is_postcode, 400)
    if hint == labels.POSTCODE:
        return counted.finding(hint, "value.postcode+name", agrees=True) if counted.share >= 0.5 else _by_name(hint, 60)
    leading_zero = any(len(value) == 5 and value.startswith("0") for value in sample)
    if hint is None and counted.share >= 0.95 and leading_zero:
        return Finding(labels.POSTCODE, "value.postcode", 60, counted.sampled, counted.matched)
    return None


def _hinted(hint: str | None, sample: Sequence[str]) -> Finding | None:
    """The name alone, where values cannot be checked, or are too odd for the check; a checkable kind that not one
    value bears out stays unknown (which is masked as hard)."""
    if hint is None:
        return None
    checks: dict[str, Callable[[str], bool]] = {labels.EMAIL: lambda value: "@" in value, labels.IBAN: values.is_iban}
    check = checks.get(hint)
    if check is not None and _share(sample, check, 200) == 0:
        return None
    if hint == labels.BIRTH_DATE and not any(character.isdigit() for value in sample[:50] for character in value):
        return None
    return Finding(hint, "name", 60, len(sample), 0)


def _by_name(hint: str | None, confidence: int) -> Finding | None:
    return Finding(hint, "name", confidence, 0, 0) if hint is not None else None


@dataclass(frozen=True, slots=True)
class _Count:
    sampled: int
    matched: int

    @property
    def share(self) -> float:
        return self.matched / self.sampled if self.sampled else 0.0

    def finding(self, label: str, detector: str, agrees: bool) -> Finding:
        """Confidence is the share, raised half-way to certainty when the name agrees."""
        percent = round(100 * self.share)
        return Finding(label, detector, (percent + 100) // 2 if agrees else percent, self.sampled, self.matched)


def _count(sample: Sequence[str], matches: Callable[[str], bool], limit: int) -> _Count:
    looked = sample[:limit] if len(sample) <= limit else [sample[i * len(sample) // limit] for i in range(limit)]
    return _Count(len(looked), sum(map(matches, looked)))


def _share(sample: Sequence[str], matches: Callable[[str], bool], limit: int) -> float:
    return _count(sample, matches, limit).share


def _distinct(sample: Sequence[str]) -> Sequence[str]:
    """Each value once, stripped: a default that fills half a column must not outvote the rest."""
    return tuple(dict.fromkeys(stripped for value in sample if (stripped := value.strip())))


def classify_all(columns: Mapping[str, tuple[str, Sequence[str]]]) -> dict[str, Finding | None]:
    """`classify` for {name: (type word, sample)}."""
    return {name: classify(name, kind, sample) for name, (kind, sample) in columns.items()}
