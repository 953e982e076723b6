"""Ground truth of the Robust Reading Competition: ICDAR 2013, ICDAR 2015, MLT 2017 and MLT 2019."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ..datasets import LabelError
from .base import UNREADABLE, ImageGT, Tally, Word, box_outline, parse_lines, parse_numbers
from .sources import image_stem, read_ground_truth, text_parser

SCRIPTS = (
    "Arabic", "Latin", "Chinese", "Japanese", "Korean", "Bangla", "Hindi", "Symbols", "Mixed",
    "None",
)  # fmt: skip

_CORNERS = 8
# The eighth number and, after a blank, the text, as one published converter writes them.
_NUMBER_THEN_TEXT = re.compile(r"[ \t]*([^ \t,]+)[ \t](.*\S.*)")


def read_icdar2013(path: Path, tally: Tally, encoding: str = "utf-8") -> Iterator[ImageGT]:
    """Read boxes: `12 30 88 61 "Corner"` (training) or `12, 30, 88, 61, "Corner"` (test).

    Raises:
        LabelError: with file and line, see `read_ground_truth`.
    """
    return _read(path, parse_box_line, encoding)


def read_icdar2015(path: Path, tally: Tally, encoding: str = "utf-8") -> Iterator[ImageGT]:
    """Read quadrilaterals: `210,64,305,61,306,85,211,88,Hill, Street`.

    Raises:
        LabelError: with file and line, see `read_ground_truth`.
    """
    return _read(path, parse_quadrilateral_line, encoding)


def read_mlt(
    path: Path, tally: Tally, encoding: str = "utf-8", scripts: tuple[str, ...] = SCRIPTS
) -> Iterator[ImageGT]:
    """Read quadrilaterals with a script: `12,30,88,31,88,61,12,60,Latin,Corner, shop`.

    Args:
        path: folder or archive.
        tally: not used.
        encoding: of the files.
        scripts: texts of other scripts are ignored.

    Raises:
        LabelError: with file and line, see `read_ground_truth`; or if a wanted script is unknown.
    """
    unknown = sorted(set(scripts) - set(SCRIPTS))
    if unknown:
        raise LabelError(f"scripts {', '.join(unknown)}: there are {', '.join(SCRIPTS)}")
    return _read(path, partial(parse_script_line, scripts=scripts), encoding)


def parse_box_line(line: str) -> Word:
    """Parse a line of ICDAR 2013; one quote at each end of the text is not part of it."""
    numbers, opened, text = line.rstrip(" \t\r").partition('"')
    fields = numbers.replace(",", " ").split()
    if len(fields) != 4 or not opened or not text.endswith('"'):
        raise LabelError(f'{line!a:.80} is not: left, top, right, bottom, "text"')
    left, top, right, bottom = parse_numbers(fields)
    return _word(text[:-1], box_outline(left, top, right, bottom))


def parse_quadrilateral_line(line: str) -> Word:
    """Parse a line of ICDAR 2015; the text is all that follows the eighth number."""
    fields = line.split(",", _CORNERS)
    if len(fields) > _CORNERS and not re.search(r"\s", fields[_CORNERS - 1].strip()):
        return _word(fields[_CORNERS], parse_numbers(fields[:_CORNERS]))
    tail = _NUMBER_THEN_TEXT.fullmatch(",".join(fields[_CORNERS - 1 :]))
    if tail is None:
        raise LabelError(f"{line!a:.80} is not: eight coordinates, text")
    return _word(tail[2], parse_numbers([*fields[: _CORNERS - 1], tail[1]]))


def parse_script_line(line: str, scripts: tuple[str, ...] = SCRIPTS) -> Word:
    """Parse a line of MLT; the text is all that follows the script and its comma."""
    fields = line.split(",", _CORNERS + 1)
    if len(fields) != _CORNERS + 2 or fields[_CORNERS] not in SCRIPTS:
        raise LabelError(f"{line!a:.80} is not: eight coordinates, script, text")
    word = _word(fields[-1], parse_numbers(fields[:_CORNERS]))
    return word if fields[_CORNERS] in scripts else word._replace(ignore=True)


def _word(text: str, polygon: list[float]) -> Word:
    text = text.rstrip(" \t\r")
    return Word(text, polygon, ignore=text == UNREADABLE)


def _read(path: Path, parse: Callable[[str], Word], encoding: str) -> Iterator[ImageGT]:
    return read_ground_truth(
        path, ".txt", _image_names, text_parser(partial(parse_lines, parse=parse), encoding)
    )


def _image_names(stem: str) -> tuple[str, ...]:
    """`gt_img_3`, `gt_101` and `gt_tr_img_00015` are named after their image."""
    return (image_stem(stem.removeprefix("gt_")),)
