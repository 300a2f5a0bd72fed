"""XML as a tree of elements, attributes and text, and its one canonical form.

Made from what the standard library's expat reads. Document types, entities, processing instructions, comments, CDATA
and `xml:` attributes refuse; what is left has the same form in C14N 1.0 and 1.1 (W3C xml-c14n11), and nothing in it can
point anywhere. A whole XML library would be the largest parser in the process that holds the zone's keys.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NoReturn
from xml.parsers import expat

from vault.attest.claims import Refusal, refuse

MAX_DOCUMENT = 1 << 20
MAX_DEPTH, MAX_ELEMENTS, MAX_ATTRIBUTES = 16, 4096, 64
_TEXT = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#xD;"})
_VALUE = str.maketrans({"&": "&amp;", "<": "&lt;", '"': "&quot;", "\t": "&#x9;", "\n": "&#xA;", "\r": "&#xD;"})


@dataclass(frozen=True, slots=True)
class Attribute:
    """`uri` "" is no namespace."""

    uri: str
    local: str
    spelled: str
    value: str


@dataclass(slots=True)
class Element:
    """An element with its text and elements in order. `scope`: every namespace that is in scope, by prefix."""

    uri: str
    local: str
    spelled: str
    attributes: tuple[Attribute, ...]
    scope: Mapping[str, str]
    content: "list[Element | str]" = field(default_factory=list)

    def is_(self, uri: str, local: str) -> bool:
        return (self.uri, self.local) == (uri, local)

    @property
    def elements(self) -> "list[Element]":
        return [part for part in self.content if isinstance(part, Element)]

    @property
    def text(self) -> str:
        return "".join(part for part in self.content if isinstance(part, str))

    def value(self, local: str, uri: str = "") -> str | None:
        """An attribute's value, None where it is missing."""
        return next((one.value for one in self.attributes if (one.uri, one.local) == (uri, local)), None)

    def walk(self) -> "Iterator[Element]":
        yield self
        for element in self.elements:
            yield from element.walk()


def canonical(apex: Element) -> bytes:
    """Inclusive canonical form (C14N) of an element, with every namespace in scope where it begins."""
    parts: list[str] = []
    _render(apex, {"": ""}, parts)
    return "".join(parts).encode("utf-8")


def _render(element: Element, shown: Mapping[str, str], parts: list[str]) -> None:
    news = {prefix: uri for prefix, uri in element.scope.items() if shown.get(prefix) != uri}
    parts.append(f"<{element.spelled}")
    for prefix in sorted(news):
        name = f"xmlns:{prefix}" if prefix else "xmlns"
        parts.append(f' {name}="{news[prefix].translate(_VALUE)}"')
    ordered = sorted(element.attributes, key=lambda one: (one.uri, one.local))
    parts.extend(f' {one.spelled}="{one.value.translate(_VALUE)}"' for one in ordered)
    parts.append(">")
    for part in element.content:
        if isinstance(part, Element):
            _render(part, {**shown, **news}, parts)
        else:
            parts.append(part.translate(_TEXT))
    parts.append(f"</{element.spelled}>")


def parse_xml(raw: bytes) -> Element:
    """The root element. `Refused("attest.malformed")` for anything but elements, attributes and text, in UTF-8."""
    if len(raw) > MAX_DOCUMENT:
        raise refuse(Refusal.MALFORMED, f"document longer than {MAX_DOCUMENT} bytes")
    builder = _Builder()
    parser = expat.ParserCreate("UTF-8")
    parser.buffer_text = True
    parser.ordered_attributes = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    parser.XmlDeclHandler = _declaration
    parser.StartDoctypeDeclHandler = _refused
    parser.EntityDeclHandler = _refused
    parser.ProcessingInstructionHandler = _refused
    parser.CommentHandler = _refused
    parser.StartCdataSectionHandler = _refused
    parser.SkippedEntityHandler = _refused
    try:
        parser.Parse(raw.decode("utf-8"), True)  # as text, so that no byte order mark changes the encoding
    except (expat.ExpatError, UnicodeDecodeError) as error:
        raise refuse(Refusal.MALFORMED, f"no XML: {error}") from error
    assert builder.root is not None  # expat refuses a document without one
    return builder.root


def _refused(*_: object) -> NoReturn:
    raise refuse(Refusal.MALFORMED, "only elements, attributes and text are read")


def _declaration(version: str, encoding: str | None, _standalone: int) -> None:
    if version != "1.0" or (encoding or "UTF-8").upper() != "UTF-8":
        raise refuse(Refusal.MALFORMED, "XML 1.0 in UTF-8 expected")


class _Builder:
    """Makes the tree out of what expat reports."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self._open: list[Element] = []
        self._count = 0

    def start(self, spelled: str, listed: list[str]) -> None:
        self._count += 1
        pairs = list(zip(listed[::2], listed[1::2], strict=True))
        if self._count > MAX_ELEMENTS or len(self._open) >= MAX_DEPTH or len(pairs) > MAX_ATTRIBUTES:
            raise refuse(Refusal.MALFORMED, "a document larger than any manifest")
        scope = self._scope(pairs)
        plain = [(name, value) for name, value in pairs if not _is_declaration(name)]
        attributes = tuple(Attribute(*_resolved(name, scope, ""), name, value) for name, value in plain)
        if len({(one.uri, one.local) for one in attributes}) != len(attributes):
            raise refuse(Refusal.MALFORMED, "an attribute twice")
        element = Element(*_resolved(spelled, scope, scope[""]), spelled, attributes, scope)
        if self._open:
            self._open[-1].content.append(element)
        else:
            self.root = element
        self._open.append(element)

    def end(self, _spelled: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        self._open[-1].content.append(text)

    def _scope(self, pairs: list[tuple[str, str]]) -> Mapping[str, str]:
        outer = self._open[-1].scope if self._open else {"": ""}
        news = {name.partition(":")[2]: uri for name, uri in pairs if _is_declaration(name)}
        if {"xml", "xmlns"} & set(news) or any(prefix and not uri for prefix, uri in news.items()):
            raise refuse(Refusal.MALFORMED, "namespace declaration")
        return {**outer, **news} if news else outer


def _is_declaration(name: str) -> bool:
    return name == "xmlns" or name.startswith("xmlns:")


def _resolved(spelled: str, scope: Mapping[str, str], default: str) -> tuple[str, str]:
    """Namespace and local name. `xml:` is in no scope, so its attributes, which C14N inherits, are refused."""
    prefix, colon, local = spelled.rpartition(":")
    if ":" in prefix or not local or (colon and prefix not in scope) or (colon and not prefix):
        raise refuse(Refusal.MALFORMED, f"name {spelled[:64]}")
    return (scope[prefix] if colon else default), local
