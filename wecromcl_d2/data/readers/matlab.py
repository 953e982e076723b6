"""A reader of MATLAB's version 5 files that goes through cell arrays of any length cell by cell.

Only what truths need is understood: numeric, character and cell arrays, compressed or not. The
format is published by MathWorks as "MAT-File Format".
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..datasets import LabelError

# Bounds on one array in memory, on nesting and on cells gone through, far above any truth's.
MAX_ARRAY_BYTES = 16 << 20
MAX_DEPTH = 8
MAX_CELLS = 10_000_000

_HEADER_BYTES = 128
_MATRIX, _COMPRESSED = 14, 15
_CELL, _CHAR, _NUMERIC = 1, 4, range(6, 16)
_COMPLEX_FLAG = 0x0800
_NUMBER_CODES = {
    1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q",
}  # fmt: skip
_ENCODINGS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_INFLATE_STEP = 1 << 16


class MatArray(NamedTuple):
    """An array in column-major order.

    Attributes:
        shape: its size along each dimension.
        numbers: elements of a numeric array.
        text: characters of a character array, None for others.
        cells: elements of a cell array.
    """

    shape: tuple[int, ...] = (0, 0)
    numbers: tuple[float, ...] = ()
    text: str | None = None
    cells: tuple[MatArray, ...] = ()

    def rows(self) -> list[str]:
        """The rows of a character array; none for an array of another kind."""
        count = self.shape[0]
        return [self.text[row::count] for row in range(count)] if self.text else []


def load_variable(data: bytes, name: str) -> MatArray:
    """One variable of a file's content.

    Raises:
        LabelError: if the content is damaged, of another version, or has no such variable.
    """
    reader, size = _find(io.BytesIO(data), name)
    return reader.matrix_body(size, depth=0)


def iterate_cells(path: Path, name: str) -> Iterator[MatArray]:
    """The elements of a cell array; only one of them is in memory at a time.

    Raises:
        LabelError: without the file's name, as `load_variable`; or if the variable is no cell
            array.
    """
    try:
        with open(path, "rb") as stream:
            reader, _ = _find(stream, name)
            kind, shape = reader.matrix_head()
            if kind != _CELL or math.prod(shape) > MAX_CELLS:
                raise LabelError(f"{name} is no array of at most {MAX_CELLS} cells")
            for _ in range(math.prod(shape)):
                yield reader.matrix(depth=1)
    except OSError as error:
        raise LabelError(f"cannot be read: {error.strerror}") from None


class _Reader:
    """Reads elements from a stream of bytes.

    Args:
        read: returns up to that many bytes, fewer only at the end.
        order: `<` or `>`, the byte order.
    """

    def __init__(self, read: Callable[[int], bytes], order: str):
        self._read = read
        self._order = order
        self._position = 0

    def tag(self) -> tuple[int, int, bytes | None]:
        """Type and size of the next element, and its bytes if they are in the tag."""
        head = self._take(8)
        kind, size = struct.unpack(self._order + "II", head)
        if kind >> 16:
            size = kind >> 16
            if size > 4:
                raise LabelError(f"a short element of {size} bytes")
            return kind & 0xFFFF, size, head[4 : 4 + size]
        return kind, size, None

    def matrix(self, depth: int) -> MatArray:
        """Read one array with its tag."""
        kind, size, _ = self.tag()
        if kind != _MATRIX:
            raise LabelError(f"an element of type {kind} instead of an array")
        return self.matrix_body(size, depth)

    def matrix_body(self, size: int, depth: int) -> MatArray:
        """Read the content of an array of `size` bytes."""
        if size == 0:
            return MatArray()
        if depth > MAX_DEPTH:
            raise LabelError(f"arrays nested more than {MAX_DEPTH} deep")
        if size > MAX_ARRAY_BYTES:
            raise LabelError(f"an array of {size} bytes; no truth is so large")
        end = self._position + size
        kind, shape = self.matrix_head()
        if math.prod(shape) > size:
            raise LabelError(f"an array of shape {shape} in {size} bytes")
        if kind == _CELL:
            cells = tuple(self.matrix(depth + 1) for _ in range(math.prod(shape)))
            array = MatArray(shape, cells=cells)
        elif kind == _CHAR:
            array = MatArray(shape, text=self._text(shape))
        else:
            array = MatArray(shape, numbers=self._numbers())
            if len(array.numbers) != math.prod(shape):
                raise LabelError(f"{len(array.numbers)} numbers in an array of shape {shape}")
        if self._position != end:
            raise LabelError(f"an array of {size} bytes does not end where it says")
        return array

    def matrix_head(self) -> tuple[int, tuple[int, ...]]:
        """Read kind and shape of an array; its name is skipped."""
        flags, shape = self._numbers(), tuple(int(n) for n in self._numbers())
        self._data()
        if not flags or len(shape) < 2 or min(shape) < 0:
            raise LabelError("an array without kind or shape")
        kind = int(flags[0]) & 0xFF
        if kind not in (_CELL, _CHAR, *_NUMERIC) or int(flags[0]) & _COMPLEX_FLAG:
            raise LabelError(f"an array of kind {kind}, not of numbers, characters or cells")
        return kind, shape

    def name(self) -> str:
        """Read an array up to its name."""
        self._numbers(), self._numbers()
        return self._data()[1].decode("latin-1")

    def _data(self) -> tuple[int, bytes]:
        kind, size, data = self.tag()
        if data is None:
            if size > MAX_ARRAY_BYTES:
                raise LabelError(f"an element of {size} bytes; no truth has one so large")
            data = self._take(size)
            self._take(-size % 8)
        return kind, data

    def _numbers(self) -> tuple[float, ...]:
        kind, data = self._data()
        code = _NUMBER_CODES.get(kind)
        if code is None or len(data) % struct.calcsize(code):
            raise LabelError(f"{len(data)} bytes of type {kind} are no numbers")
        return struct.unpack(f"{self._order}{len(data) // struct.calcsize(code)}{code}", data)

    def _text(self, shape: tuple[int, ...]) -> str:
        kind, data = self._data()
        encoding = _ENCODINGS.get(kind)
        if encoding is None:
            raise LabelError(f"characters of type {kind}")
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self._order == "<" else "-be"
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError as error:
            raise LabelError(f"characters that are not {encoding}: {error.reason}") from None
        # MATLAB counts code units; characters of several ones leave rows that cannot be told apart.
        if len(text) != math.prod(shape) and shape[0] > 1:
            raise LabelError(f"{len(text)} characters in an array of shape {shape}")
        return text

    def _take(self, size: int) -> bytes:
        data = self._read(size)
        if len(data) != size:
            raise LabelError("the file ends in the middle of an array")
        self._position += size
        return data


def _find(stream: BinaryIO, name: str) -> tuple[_Reader, int]:
    """A reader at the head of a variable, and the variable's size in bytes."""
    header = stream.read(_HEADER_BYTES)
    order = {b"IM": "<", b"MI": ">"}.get(header[126:])
    if not header.startswith(b"MATLAB 5.0") or order is None:
        raise LabelError("not a MATLAB file of version 5 to 7; save it with -v7")
    end = stream.seek(0, io.SEEK_END)
    names = []
    start = _HEADER_BYTES
    while start < end:
        reader, size, following = _open(stream, order, start)
        names.append(reader.name())
        if names[-1] == name:
            reader, size, _ = _open(stream, order, start)
            return reader, size
        start = following
    raise LabelError(f"no variable {name}, only {', '.join(names) or 'none'}")


def _open(stream: BinaryIO, order: str, start: int) -> tuple[_Reader, int, int]:
    """A reader behind the tag of the variable at `start`, its size, the next's start."""
    stream.seek(start)
    reader = _Reader(stream.read, order)
    kind, size, _ = reader.tag()
    following = start + 8 + size
    if kind == _COMPRESSED:
        reader = _Reader(_inflate(stream, size), order)
        kind, size, _ = reader.tag()
    if kind != _MATRIX:
        raise LabelError(f"an element of type {kind} instead of an array")
    return reader, size, following


def _inflate(stream: BinaryIO, size: int) -> Callable[[int], bytes]:
    """A function that reads from the `size` compressed bytes that follow."""
    machine = zlib.decompressobj()
    inflated = bytearray()
    left = size

    def read(count: int) -> bytes:
        nonlocal left
        while len(inflated) < count and not machine.eof:
            packed = machine.unconsumed_tail
            if not packed:
                packed = stream.read(min(left, _INFLATE_STEP))
                left -= len(packed)
                if not packed:
                    break
            try:
                # Bounded, whatever the compressed bytes expand to.
                inflated.extend(machine.decompress(packed, 4 * _INFLATE_STEP))
            except zlib.error as error:
                raise LabelError(f"compressed data are damaged: {error}") from None
        data = bytes(inflated[:count])
        del inflated[:count]
        return data

    return read
