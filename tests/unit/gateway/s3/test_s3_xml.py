from xml.etree import ElementTree as ET

import pytest

from gateway.errors import BadRequest
from gateway.s3 import xml

GOOD = (
    b'<?xml version="1.0"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Object><Key> a&amp;b </Key></Object></Delete>"
)


def test_parses_with_and_without_the_namespace() -> None:
    for data in (GOOD, GOOD.replace(b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b"")):
        assert xml.parse(data, "Delete", 10_000).all("Object")[0].value("Key") == " a&b "


HOSTILE = {
    "doctype": b'<!DOCTYPE Delete [<!ENTITY a "b">]><Delete>&a;</Delete>',
    "external entity": b'<!DOCTYPE Delete SYSTEM "file:///etc/passwd"><Delete/>',
    "billion laughs": b'<!DOCTYPE z [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><Delete>&b;</Delete>',
    "undefined entity": b"<Delete>&nbsp;</Delete>",
    "processing instruction": b"<Delete><?php x ?></Delete>",
    "deep": b"<Delete>" * 20 + b"</Delete>" * 20,
    "many": b"<Delete>" + b"<a/>" * (xml.MAX_ELEMENTS + 1) + b"</Delete>",
    "long text": b"<Delete><Key>" + b"a" * (xml.MAX_TEXT + 1) + b"</Key></Delete>",
    "other root": b"<Erase/>",
    "two roots": b"<Delete/><Delete/>",
    "cut": GOOD[:-3],
    "empty": b"",
    "not xml": b'{"Delete": 1}',
    "NUL": b"<Delete>\x00</Delete>",
    "unknown encoding": b'<?xml version="1.0" encoding="klingon"?><Delete/>',
    "bad UTF-8": b"<Delete>\xff\xfe</Delete>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_document_is_malformed(name: str) -> None:
    with pytest.raises(BadRequest) as caught:
        xml.parse(HOSTILE[name], "Delete", 1 << 20)
    assert caught.value.code == "MalformedXML"


def test_every_prefix_is_malformed_and_none_crashes() -> None:
    for length in range(len(GOOD)):
        with pytest.raises(BadRequest):
            xml.parse(GOOD[:length], "Delete", 10_000)


def test_too_long_is_refused_before_parsing() -> None:
    with pytest.raises(BadRequest) as caught:
        xml.parse(b"<" * 100, "Delete", 99)
    assert caught.value.code == "MaxMessageLengthExceeded"


def test_a_name_that_stands_twice_is_malformed() -> None:
    root = xml.parse(b"<Delete><Quiet>true</Quiet><Quiet>false</Quiet></Delete>", "Delete", 1000)
    with pytest.raises(BadRequest):
        root.value("Quiet")


def test_what_is_written_reads_back() -> None:
    text = "a<b>&\"c' ü€\U0001f600"
    written = xml.document("Root", xml.element("Key", text))
    assert ET.fromstring(written)[0].text == text
    assert b"&#x1;" in xml.document("Root", xml.element("Key", "\x01"))
