"""XML in, from strangers, and XML out.

In: expat itself, with everything that makes XML dangerous refused before it happens: a DOCTYPE (and with it every
entity), processing instructions, depth, element count, text length. The linked expat may be 2.5, whose large-token
cost is quadratic, so the input is bounded before parsing and handed over in one piece.
"""

from dataclasses import dataclass, field
from typing import Never
from xml.parsers import expat

from gateway.errors import BadRequest

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
MAX_DEPTH = 8
MAX_ELEMENTS = 80_000
MAX_TEXT = 8192


@dataclass(slots=True)
class Element:
    """One element: local name, its own text (stripped only of nothing), its children in order."""

    name: str
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, name: str) -> list["Element"]:
        return [child for child in self.children if child.name == name]

    def value(self, name: str) -> str | None:
        """The text of the one child of that name, or None. Raises BadRequest "MalformedXML" when it stands twice."""
        found = self.all(name)
        if len(found) > 1:
            raise malformed(f"{name} stands twice")
        return found[0].text if found else None


def malformed(why: str) -> BadRequest:
    return BadRequest(
        "MalformedXML",
        f"the XML you provided was not well-formed or did not validate against our published schema ({why})",
    )


class _TreeBuilder:
    def __init__(self) -> None:
        self.root = Element("")
        self._open = [self.root]
        self._count = 0

    def start(self, name: str, _attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) > MAX_DEPTH:
            raise malformed("too many elements")
        element = Element(name.rpartition(" ")[2])
        self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, _name: str) -> None:
        self._open.pop()

    def text(self, data: str) -> None:
        element = self._open[-1]
        if len(element.text) + len(data) > MAX_TEXT:
            raise malformed("an element is too long")
        element.text += data

    def forbid(self, *_arguments: object) -> Never:
        raise malformed("declarations and processing instructions are not allowed")


def parse(data: bytes, root: str, max_bytes: int) -> Element:
    """The root element, whose name must be `root`. Raises BadRequest "MalformedXML" for everything else."""
    if len(data) > max_bytes:
        raise BadRequest("MaxMessageLengthExceeded", f"the request body is longer than {max_bytes} bytes")
    builder = _TreeBuilder()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = builder.forbid
    parser.EntityDeclHandler = builder.forbid
    parser.ExternalEntityRefHandler = builder.forbid
    parser.ProcessingInstructionHandler = builder.forbid
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise malformed("it does not parse") from None
    if len(builder.root.children) != 1 or builder.root.children[0].name != root:
        raise malformed(f"the root element must be {root}")
    return builder.root.children[0]


def escape(text: str) -> str:
    """Text content. Control characters become references, as S3 writes them: clients that care ask for URL encoding."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    if text.isprintable():
        return text
    return "".join(f"&#x{ord(char):x};" if ord(char) < 0x20 else char for char in text)


def element(name: str, value: str | float | None) -> str:
    """<name>value</name>; an absent value is an empty element."""
    if value is None or value == "":
        return f"<{name}/>"
    if isinstance(value, bool):
        value = "true" if value else "false"
    return f"<{name}>{escape(str(value))}</{name}>"


def document(root: str, inner: str, *, namespace: bool = True) -> bytes:
    head = f'<{root} xmlns="{NAMESPACE}">' if namespace else f"<{root}>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head}{inner}</{root}>'.encode("utf-8", "surrogatepass")
