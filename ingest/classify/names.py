"""What a column's name suggests, in English, German and French. A hint, to be borne out by values where it can.

Names are split into words (`customerEmail`, `Kunden-E-Mail`, `date_naissance`) and compared word by word:
`idp` is no `id`, and `filename` names no person.
"""

import re
import unicodedata

from ingest.classify import labels

# In this order: an `email_address` is an e-mail, a `birth_name` a name, an `account_name` no account.
_HINTS: tuple[tuple[str, str], ...] = (
    (labels.EMAIL, "email e_mail mail courriel mailadresse emailadresse"),
    (labels.IBAN, "iban bank_account bankaccount kontonummer bankverbindung compte_bancaire rib"),
    (
        labels.BIRTH_DATE,
        """
        birth_date birthdate date_of_birth dob birthday birth_day birth_year year_of_birth yob geburtsdatum
        geburtstag geburtsjahr geb_datum date_naissance date_de_naissance naissance annee_naissance
        """,
    ),
    (
        labels.NATIONAL_ID,
        """
        ssn social_security social_security_number national_id nationalid national_insurance tax_id taxid
        passport passport_number passport_no steuer_id steuerid steuernummer sozialversicherungsnummer ausweis
        ausweisnummer personalausweis nir insee numero_securite_sociale nhs nhs_number dni nif pesel bsn
        codice_fiscale
        """,
    ),
    (labels.POSTCODE, "postcode post_code postal_code postalcode zip zip_code zipcode plz postleitzahl code_postal cp"),
    (
        labels.PHONE,
        """
        phone phone_number phonenumber telephone tel telefon telefonnummer mobile mobile_number mobil
        mobilnummer handy handynummer cell cellphone portable fax faxnummer rufnummer
        """,
    ),
    (
        labels.NOTE,
        """
        note notes comment comments remark remarks free_text freetext message bemerkung bemerkungen notiz
        notizen kommentar freitext anmerkung commentaire commentaires remarque remarques
        """,
    ),
    (
        labels.ADDRESS,
        """
        address street street_address addr adresse anschrift strasse wohnort rue voie domicile residence
        home_address billing_address shipping_address city town ort stadt ville
        """,
    ),
    (
        labels.NAME,
        """
        name names full_name fullname first_name firstname given_name last_name lastname surname family_name
        maiden_name middle_name vorname nachname familienname geburtsname nom nom_de_famille prenom patient
        patient_name customer_name contact contact_name insured insured_name
        """,
    ),
    (
        labels.ID,
        """
        id uuid guid user username user_name login account account_id customer_no customer_number kundennummer
        kunden_nr patientennummer versichertennummer numero_client identifiant ip ip_address ip_addr
        member_number policy_number policy_no policennummer
        """,
    ),
)
_NOT_PERSONS = """
file column table field host domain server product item plan drug brand model class function event metric feature
datei spalte tabelle produkt artikel fichier produit colonne label tag category status type
"""
_THINGS = frozenset(_NOT_PERSONS.split())  # `product_name` names no person
_WORD = re.compile(r"[a-z]+|\d+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def suggests(column: str) -> str | None:
    """The label the name suggests, or None."""
    words = words_of(column)
    joined = "_" + "_".join(words) + "_"
    for label, hints in _HINTS:
        for hint in hints.split():
            if f"_{hint}_" in joined:
                if label in {labels.NAME, labels.ADDRESS} and _THINGS & set(words):
                    continue
                return label
    return None


def words_of(column: str) -> list[str]:
    """`Straße2Nr` -> [strasse, 2, nr]: accents folded, camel case and separators split."""
    spaced = _CAMEL.sub("_", column).replace("ß", "ss").replace("ẞ", "ss")
    plain = unicodedata.normalize("NFKD", spaced).encode("ascii", "ignore").decode().lower()
    return _WORD.findall(plain)
