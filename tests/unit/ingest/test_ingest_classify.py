"""Classification on Faker's data in three languages, and on what must not be mistaken for persons."""

from collections.abc import Callable
from typing import Any

import pytest
from faker import Faker

from ingest.classify import columns, labels, names, values

RAND_MEASURES = ["mdvis", "lncoins", "idp", "lpi", "fmde", "physlm", "disea", "hlthg", "hlthf", "hlthp"]
LOCALES = ["de_DE", "fr_FR", "en_US", "en_GB"]
PERSONAL: dict[str, tuple[str, Callable[[Any], str]]] = {
    "name": (labels.NAME, lambda fake: fake.name()),
    "email": (labels.EMAIL, lambda fake: fake.email()),
    "phone": (labels.PHONE, lambda fake: fake.phone_number()),
    "iban": (labels.IBAN, lambda fake: fake.iban()),
    "birth_date": (labels.BIRTH_DATE, lambda fake: fake.date_of_birth(maximum_age=90).isoformat()),
    "address": (labels.ADDRESS, lambda fake: fake.address()),
    "postcode": (labels.POSTCODE, lambda fake: fake.postcode()),
    "note": (labels.NOTE, lambda fake: f"{fake.sentence()} {fake.name()}, {fake.email()}, {fake.sentence()}"),
}
IMPERSONAL: dict[str, Callable[[Any], str]] = {
    "amount": lambda fake: f"{fake.pyfloat(2, 2, positive=True)}",
    "word": lambda fake: fake.word(),
    "sentence": lambda fake: fake.sentence().lower(),
    "event": lambda fake: fake.date_between("-3y").isoformat(),
    "code": lambda fake: fake.bothify("??-####"),
    "ean": lambda fake: fake.ean13(),
    "release": lambda fake: fake.numerify("#.#.#"),
    "color": lambda fake: fake.color_name(),
    "uri": lambda fake: fake.url(),
    "digest": lambda fake: fake.sha256(),
}


def _sample(locale: str, make: Callable[[Any], str], count: int = 300) -> list[str]:
    fake = Faker(locale)
    fake.seed_instance(20261121)
    return [make(fake) for _ in range(count)]


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", PERSONAL)
def test_found_by_name_and_by_values_alone(locale: str, kind: str) -> None:
    label, make = PERSONAL[kind]
    sample = _sample(locale, make)
    named = columns.classify(kind, "string", sample)
    assert named is not None
    assert named.label == label
    alone = columns.classify("c17", "string", sample)
    assert alone is not None
    assert alone.label == label
    assert 0 < alone.confidence <= 100
    assert 0 < alone.matched <= alone.sampled


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("kind", IMPERSONAL)
def test_what_is_no_person_has_no_finding(locale: str, kind: str) -> None:
    assert columns.classify(kind, "string", _sample(locale, IMPERSONAL[kind])) is None


@pytest.mark.parametrize("name", [*RAND_MEASURES, "score", "age_band"])
@pytest.mark.parametrize("kind", ["integer", "number", "boolean"])
def test_measures_have_no_finding(name: str, kind: str) -> None:
    assert columns.classify(name, kind, ["1", "2", "0"]) is None


@pytest.mark.parametrize(
    ("column", "label"),
    [
        ("customerEmail", labels.EMAIL), ("E-Mail-Adresse", labels.EMAIL), ("email_address", labels.EMAIL),
        ("Geburtsdatum", labels.BIRTH_DATE), ("date_de_naissance", labels.BIRTH_DATE), ("DOB", labels.BIRTH_DATE),
        ("Straße", labels.ADDRESS), ("PLZ", labels.POSTCODE), ("code_postal", labels.POSTCODE),
        ("Vorname", labels.NAME), ("prénom", labels.NAME), ("last_name", labels.NAME), ("product_name", None),
        ("filename", None), ("idp", None), ("person_id", labels.ID), ("Telefon", labels.PHONE),
        ("Bemerkung", labels.NOTE), ("free_text", labels.NOTE), ("ssn", labels.NATIONAL_ID), ("amount", None),
    ],
)  # fmt: skip
def test_names_in_three_languages(column: str, label: str | None) -> None:
    assert names.suggests(column) == label


def test_a_name_that_its_values_contradict_is_no_finding() -> None:
    assert columns.classify("email", "string", ["A", "B", "C"]) is None
    assert columns.classify("iban", "string", ["x1", "x2"]) is None


def test_one_note_in_a_hundred_that_mentions_a_person_makes_the_column_personal() -> None:
    plain = [f"the roof was damaged by a storm in week {n} and has been repaired" for n in range(99)]
    finding = columns.classify("c17", "string", [*plain, "please write to ada@example.org about the roof repair today"])
    assert finding is not None
    assert finding.label == labels.NOTE
    assert columns.classify("c17", "string", plain) is None


def test_a_default_that_fills_a_column_does_not_outvote_the_rest() -> None:
    sample = ["n/a"] * 5000 + _sample("de_DE", lambda fake: fake.email())
    finding = columns.classify("c17", "string", sample)
    assert finding is not None
    assert finding.label == labels.EMAIL


def test_a_changed_check_digit_is_no_iban() -> None:
    assert values.is_iban("DE89370400440532013000")
    assert not values.is_iban("DE88370400440532013000")


def test_typed_dates_of_birth_by_spread_and_by_name() -> None:
    births = [f"{1930 + n % 80}-03-01" for n in range(200)]
    claims = [f"202{n % 4}-03-01" for n in range(200)]
    spread = columns.classify("c17", "date", births)
    assert spread is not None
    assert spread.label == labels.BIRTH_DATE
    assert columns.classify("c17", "date", claims) is None
    named = columns.classify("birth_date", "date", births)
    assert named is not None
    assert named.confidence > spread.confidence


@pytest.mark.parametrize("text", ["", "\x00", "é" * 9999, "0" * 9999, "+" * 999, "(" * 500, "a@" * 3000, "1 " * 3000])
def test_no_value_takes_long_or_raises(text: str) -> None:
    for detector in values.DETECTORS:
        detector.matches(text)
    values.mentions(text)
    values.is_person(text)
