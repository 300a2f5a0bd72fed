"""The tree and its canonical form: what it spells, and every construct that is not read at all."""

import pytest

from vault.attest.claims import Refusal
from vault.attest.signed_xml.tree import MAX_DEPTH, MAX_DOCUMENT, MAX_ELEMENTS, Element, canonical, parse_xml
from vault.errors import Refused


def spelled(text: str) -> str:
    return canonical(parse_xml(text.encode())).decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<a/>", "<a></a>"),
        ('<?xml version="1.0" encoding="utf-8"?>\n<a/>\n', "<a></a>"),
        ("<a b='1' a=\"2\"/>", '<a a="2" b="1"></a>'),
        ("<a  >x</a >", "<a>x</a>"),
        ("<a>&lt;&amp;&gt;\"'&#13;&#9;\r\n</a>", "<a>&lt;&amp;&gt;\"'&#xD;\t\n</a>"),
        ("<a b='&#9;&#10;&#13;&quot;&lt;>\t'/>", '<a b="&#x9;&#xA;&#xD;&quot;&lt;> "></a>'),
        # Namespaces by prefix, the default first; attributes by the namespace's name, not by the prefix.
        ('<b:a xmlns:z="u:1" xmlns:b="u:2" xmlns="u:3" z:n="1" b:n="2" n="0"/>',
         '<b:a xmlns="u:3" xmlns:b="u:2" xmlns:z="u:1" n="0" z:n="1" b:n="2"></b:a>'),
        # What is declared again as it was is not shown again; unused declarations are.
        ('<a xmlns="u:1" xmlns:b="u:2"><a xmlns="u:1"/><b:c xmlns:b="u:3"/></a>',
         '<a xmlns="u:1" xmlns:b="u:2"><a></a><b:c xmlns:b="u:3"></b:c></a>'),
        ('<a xmlns="u:1"><b xmlns=""/></a>', '<a xmlns="u:1"><b xmlns=""></b></a>'),
        ('<a><b xmlns=""/></a>', "<a><b></b></a>"),
        ("<a>\u00fc\U0001f512</a>", "<a>\u00fc\U0001f512</a>"),
    ],
)  # fmt: skip
def test_the_canonical_form(text: str, expected: str) -> None:
    assert spelled(text) == expected
    assert spelled(expected) == expected


def test_an_apex_shows_every_namespace_in_scope() -> None:
    root = parse_xml(b'<a xmlns="u:1" xmlns:b="u:2"><b:c><d/></b:c></a>')
    (inner,) = root.elements
    assert canonical(inner) == b'<b:c xmlns="u:1" xmlns:b="u:2"><d></d></b:c>'


@pytest.mark.parametrize(
    "text",
    [
        "", "no xml", "<a>", "<a/><b/>", "<a></b>",
        "<!DOCTYPE a><a/>",
        '<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><a>&x;</a>',
        '<!DOCTYPE a SYSTEM "http://127.0.0.1/a.dtd"><a/>',
        '<!DOCTYPE a [<!ATTLIST a b CDATA "default">]><a/>',
        "<a><!-- c --></a>", "<!-- c --><a/>", "<a>x<!---->y</a>",
        "<a><?p i?></a>", '<?xml-stylesheet href="a"?><a/>', "<a><![CDATA[x]]></a>",
        "<a>&undefined;</a>", "<a xml:base='http://x/'/>", "<a xml:space='preserve'/>", "<xml:a/>",
        "<a b='1' b='2'/>", "<a xmlns:p='u:1' xmlns:q='u:1' p:b='1' q:b='2'/>",
        "<p:a/>", "<a p:b='1'/>", "<a xmlns:p=''/>", "<a xmlns:xml='u:1'/>", "<a xmlns:xmlns='u:1'/>", "<:a/>", "<a:/>",
        "<a:b:c xmlns:a='u:1'/>",
        '<?xml version="1.1"?><a/>', '<?xml version="1.0" encoding="iso-8859-1"?><a/>',
        "<a>\ufffe</a>", "<a>\x00</a>",
        "<a>" * (MAX_DEPTH + 1) + "</a>" * (MAX_DEPTH + 1),
        "<a>" + "<b/>" * MAX_ELEMENTS + "</a>",
        "<a " + " ".join(f"b{number}='1'" for number in range(65)) + "/>",
        "<a>" + "x" * MAX_DOCUMENT + "</a>",
    ],
)  # fmt: skip
def test_what_is_not_read(text: str) -> None:
    with pytest.raises(Refused) as caught:
        parse_xml(text.encode("utf-8", "surrogatepass"))
    assert caught.value.reason == Refusal.MALFORMED


def test_utf16_and_bytes_that_are_no_utf8_are_refused() -> None:
    for raw in ("<a/>".encode("utf-16"), b"<a>\xff</a>", b"<a>\xc0\xbc</a>"):
        with pytest.raises(Refused):
            parse_xml(raw)


def test_limits_are_just_met() -> None:
    assert parse_xml(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH)
    assert len(list(parse_xml(b"<a>" + b"<b/>" * (MAX_ELEMENTS - 1) + b"</a>").walk())) == MAX_ELEMENTS


def test_names_and_values() -> None:
    root = parse_xml(b'<a xmlns:n="u:1" n:v="1" v="2"> t<b/>x </a>')
    assert isinstance(root, Element)
    assert (root.value("v"), root.value("v", "u:1"), root.value("w")) == ("2", "1", None)
    assert root.text == " tx "
