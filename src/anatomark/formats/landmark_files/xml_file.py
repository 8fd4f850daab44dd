"""XML files of people: read whole, with the line of each element, and without entities of their own.

A document type declaration is refused: no format of landmarks needs one, and it is where entities that name other
files, or that grow without end, are declared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from anatomark.errors import LandmarkFileError


@dataclass
class Element:
    """An element of an XML file: `line` is where it begins, `text` what stands in it before its first child."""

    tag: str
    line: int
    attributes: dict[str, str]
    children: list[Element] = field(default_factory=list["Element"])
    text: str = ""

    def all(self, tag: str) -> Iterator[Element]:
        """The children called `tag`."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Element | None:
        return next(self.all(tag), None)


def read_xml(path: Path, expected: str) -> Element:
    """The root of the file; `wanted` ends the line on one that cannot be read. Raises `LandmarkFileError`."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LandmarkFileError(f"{path} cannot be read: {error.strerror}; give {expected}") from error
    root = Element("", 0, {})
    opened = [root]

    def start(tag: str, attributes: dict[str, str]) -> None:
        element = Element(tag, parser.CurrentLineNumber, attributes)
        opened[-1].children.append(element)
        opened.append(element)

    def end(_: str) -> None:
        opened.pop()

    def characters(data: str) -> None:
        if not opened[-1].children:
            opened[-1].text += data

    def declared(*_: object) -> None:
        raise LandmarkFileError(f"{path} declares a document type, which is not read; give {expected}")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = characters
    parser.StartDoctypeDeclHandler = declared
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        reason = expat.ErrorString(error.code)
        raise LandmarkFileError(f"{path}, line {error.lineno}, is not valid XML ({reason}); give {expected}") from None
    except (ValueError, LookupError) as error:  # encodings that Python does not know, or not for XML
        raise LandmarkFileError(f"{path} is not readable XML ({error}); save it in UTF-8") from None
    return root.children[0]
