"""Detection of values that occur twice among millions, without keeping them."""

from __future__ import annotations

import zlib
from array import array

from .label_format import LabelError


class FirstUses:
    """Remembers the line of each value in a hash table of 16 bytes a slot.

    A value is known by 64 bits of hash and 32 of checksum: of ten million different ones, two are
    taken for equal with a probability below 1e-14.

    Args:
        key: of a record that the values belong to.
        remedy: said of a value that occurs twice.
    """

    def __init__(self, key: str, remedy: str):
        self._key, self._remedy = key, remedy
        self._count = 0
        self._allocate(2**10)

    def check(self, value: int | str, line: int) -> None:
        """Remember a new value.

        Args:
            value: to be remembered.
            line: where it stands, from 1 on.

        Raises:
            LabelError: if it was added before; the message says at which line.
        """
        first = self.add(value, line)
        if first:
            raise LabelError(f"{self._key} {value!r} was used before, at {first}; {self._remedy}")

    def add(self, value: int | str, line: int) -> int:
        """Remember a value, see `check`; returns the line of its first use, 0 if it is new."""
        code, check = hash(value), zlib.crc32(repr(value).encode())
        slot = self._find(code, check)
        if self._lines[slot]:
            return self._lines[slot]
        self._codes[slot], self._checks[slot], self._lines[slot] = code, check, line
        self._count += 1
        if 2 * self._count > len(self._lines):
            self._grow()
        return 0

    def _allocate(self, slots: int) -> None:
        self._codes = array("q", bytes(8 * slots))
        self._checks = array("I", bytes(4 * slots))
        self._lines = array("I", bytes(4 * slots))  # 0: the slot is free

    def _find(self, code: int, check: int) -> int:
        """The slot of a value, or the free one that it belongs into."""
        last = len(self._lines) - 1
        slot = code & last
        while self._lines[slot] and (self._codes[slot] != code or self._checks[slot] != check):
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        used = zip(self._codes, self._checks, self._lines, strict=True)
        self._allocate(2 * len(self._lines))
        for code, check, line in used:
            if line:
                slot = self._find(code, check)
                self._codes[slot], self._checks[slot], self._lines[slot] = code, check, line
