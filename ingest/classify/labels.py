"""The label codes of a contract's columns. The doctrine's data gives each its default mask."""

NAME = "pii.name"
EMAIL = "pii.email"
PHONE = "pii.phone"
IBAN = "pii.iban"
BIRTH_DATE = "pii.birth_date"
ADDRESS = "pii.address"
POSTCODE = "pii.postcode"
NATIONAL_ID = "pii.national_id"
NOTE = "pii.note"  # free text that mentions persons
ID = "pii.id"  # a key that stands for a person: customer number, account, IP address
UNKNOWN = "unknown"  # personal until somebody says otherwise
NONE = "none"  # not personal

LABELS = frozenset({NAME, EMAIL, PHONE, IBAN, BIRTH_DATE, ADDRESS, POSTCODE, NATIONAL_ID, NOTE, ID, UNKNOWN, NONE})
