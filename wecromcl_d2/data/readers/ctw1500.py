"""SCUT-CTW1500: training annotations in XML, test annotations in text; outlines of 14 vertices."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from ..datasets import LabelError
from .base import UNREADABLE, ImageGT, Tally, Word, checked_text, parse_lines, parse_numbers
from .sources import image_stem, read_ground_truth, text_parser

_NUMBERS = 28
_SEPARATOR = ",####"
_BARE_AMPERSAND = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});)")


def read_ctw1500_xml(path: Path, tally: Tally, encoding: str = "utf-8") -> Iterator[ImageGT]:
    """Read `0009.xml`.

    Raises:
        LabelError: with file and line, see `read_ground_truth`.
    """
    return read_ground_truth(path, ".xml", _image_names, text_parser(parse_xml, encoding))


def read_ctw1500_text(path: Path, tally: Tally, encoding: str = "utf-8") -> Iterator[ImageGT]:
    """Read `0001009.txt`.

    Raises:
        LabelError: with file and line, see `read_ground_truth`.
    """

    def parse(text: str) -> list[Word]:
        return parse_lines(text, parse_line)

    return read_ground_truth(path, ".txt", _image_names, text_parser(parse, encoding))


def parse_line(line: str) -> Word:
    """Parse `x1,y1,...,####since 1900`; the text may hold the separator again."""
    numbers, separator, text = line.partition(_SEPARATOR)
    if not separator:
        raise LabelError(f"{line!a:.80} is not: {_NUMBERS} coordinates, '{_SEPARATOR[1:]}', text")
    return _word(numbers, text.rstrip(" \t\r"))


def parse_xml(text: str) -> list[Word]:
    """Parse `<box><label>since 1900</label><segs>10,30,...</segs></box>`.

    Document types are refused, so no entity can be declared. A file that does not parse is tried
    again with its bare ampersands escaped, which some releases hold.
    """
    try:
        return _parse_xml(text)
    except expat.ExpatError:
        pass
    try:
        return _parse_xml(_BARE_AMPERSAND.sub("&amp;", text))
    except expat.ExpatError as error:
        raise LabelError(f"{error.lineno}: not valid XML: {error}") from None


@dataclass
class _Box:
    line: int
    label: str = ""
    segs: str | None = None


class _Handler:
    """Collects the boxes of a file, element by element."""

    def __init__(self, parser: expat.XMLParserType):
        self.boxes: list[_Box] = []
        self._parser = parser
        self._text: list[str] = []
        self._inside = False
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text.append

    def _refuse(self, *_: object) -> None:
        raise LabelError(f"{self._parser.CurrentLineNumber}: a document type; remove it")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._text.clear()
        if name == "box":
            self._inside = True
            self.boxes.append(_Box(self._parser.CurrentLineNumber))

    def _end(self, name: str) -> None:
        content = "".join(self._text)
        self._text.clear()
        if name == "box":
            self._inside = False
        elif self._inside and name == "label":
            self.boxes[-1].label = content.strip()
        elif self._inside and name == "segs":
            self.boxes[-1].segs = content


def _parse_xml(text: str) -> list[Word]:
    parser = expat.ParserCreate("utf-8")
    handler = _Handler(parser)
    parser.Parse(text.encode("utf-8"), True)
    words = []
    for box in handler.boxes:
        try:
            if box.segs is None:
                raise LabelError("a box without segs")
            words.append(_word(box.segs, box.label))
        except LabelError as error:
            raise LabelError(f"{box.line}: {error}") from None
    return words


def _word(numbers: str, text: str) -> Word:
    fields = numbers.split(",")
    if len(fields) != _NUMBERS:
        raise LabelError(f"{len(fields)} coordinates instead of {_NUMBERS}")
    return Word(checked_text(text), parse_numbers(fields), ignore=text == UNREADABLE)


def _image_names(stem: str) -> tuple[str, ...]:
    """`0009` belongs to `0009`, `0001009` to `1009`."""
    name = image_stem(stem)
    if not re.fullmatch(r"[0-9]{1,12}", name):
        return (name,)
    number = int(name)
    return tuple(dict.fromkeys((f"{number:04d}", name, f"{number:07d}")))
