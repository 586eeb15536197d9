"""JSON read piece by piece, so that a list of millions of records is never in memory as a whole."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

#: Bytes that are read at a time, and characters that one value may have.
CHUNK, LONGEST = 1 << 20, 1 << 26

_SPACES = " \t\n\r"


class MalformedJsonError(ValueError):
    """What is not JSON, and where.

    Args:
        message: As the json module words it.
        line: Line in the file, from 1.
        column: Column in it, from 1.
        is_cut: Whether the file seems to end in the middle.
    """

    def __init__(self, message: str, line: int, column: int, *, is_cut: bool) -> None:
        super().__init__(message)
        self.message, self.line, self.column, self.is_cut = message, line, column, is_cut


class JsonStream:
    """A file of UTF-8 JSON, with or without a byte order mark, read from its start.

    Args:
        path: The file.

    Raises:
        OSError: If it cannot be opened.
    """

    def __init__(self, path: str | Path) -> None:
        self._file: BinaryIO = Path(path).open("rb")  # noqa: SIM115 - closed by __exit__
        # Editors on Windows put a byte order mark in front.
        self._decode = getincrementaldecoder("utf-8-sig")().decode
        self._scan = json.JSONDecoder().raw_decode
        self._buffer, self._position = "", 0
        self._bytes = 0
        self._lines_before, self._columns_before = 0, 0
        self._is_at_end = False

    def __enter__(self) -> JsonStream:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def peek(self) -> str:
        """The next character that is no white space; empty at the end of the file.

        Raises:
            UnicodeDecodeError: If the bytes there are not UTF-8; `start` counts from the file's.
        """
        while True:
            buffer, position = self._buffer, self._position
            while position < len(buffer) and buffer[position] in _SPACES:
                position += 1
            self._position = position
            if position < len(buffer):
                return buffer[position]
            if not self._read_more():
                return ""

    def value(self) -> Any:
        """The next value, whole.

        Raises:
            MalformedJsonError: If there is none.
            ValueError, RecursionError: What the json module has against it beside that.
        """
        self.peek()
        wanted = CHUNK
        while True:
            try:
                found, end = self._scan(self._buffer, self._position)
            except json.JSONDecodeError as error:
                # Reading on forgets what stands before the value.
                distance = error.pos - self._position
                is_too_long = len(self._buffer) - self._position > LONGEST
                if is_too_long or not self._read_more(wanted):
                    raise self._problem(error.msg, self._position + distance) from None
                # Twice as much each time, so that a long value is not scanned over and over.
                wanted *= 2
                continue
            # A number at the end of what was read may go on.
            length = end - self._position
            if end < len(self._buffer) or not self._read_more():
                self._position += length
                return found

    def items(self) -> Iterator[Any]:
        """The values of the list that is next, one at a time."""
        self._expect("[", "Expecting value")
        if self.peek() == "]":
            self._position += 1
            return
        while True:
            yield self.value()
            if self.peek() == "]":
                self._position += 1
                return
            self._expect(",", "Expecting ',' delimiter")

    def object_keys(self) -> Iterator[str]:
        """The keys of the object that is next; the value of each has to be taken in between."""
        self._expect("{", "Expecting value")
        if self.peek() == "}":
            self._position += 1
            return
        while True:
            if self.peek() != '"':
                raise self._problem(
                    "Expecting property name enclosed in double quotes", self._position
                )
            key: str = self.value()
            self._expect(":", "Expecting ':' delimiter")
            yield key
            if self.peek() == "}":
                self._position += 1
                return
            self._expect(",", "Expecting ',' delimiter")

    def end(self) -> None:
        """Check that nothing follows."""
        if self.peek():
            raise self._problem("Extra data", self._position)

    def _expect(self, character: str, message: str) -> None:
        if self.peek() != character:
            raise self._problem(message, self._position)
        self._position += 1

    def _read_more(self, size: int = CHUNK) -> bool:
        """Append to what is left of the buffer; False at the end of the file."""
        if self._is_at_end:
            return False
        data = self._file.read(size)
        try:
            text = self._decode(data, final=not data)
        except UnicodeDecodeError as error:
            # The decoder counts from the bytes that it kept back.
            start = self._bytes + len(data) - len(error.object) + error.start
            raise UnicodeDecodeError(
                error.encoding, error.object, start, start + 1, error.reason
            ) from None
        self._bytes += len(data)
        self._is_at_end = not data
        self._forget_what_was_read()
        self._buffer += text
        return bool(data)

    def _forget_what_was_read(self) -> None:
        gone = self._buffer[: self._position]
        breaks = gone.count("\n")
        if breaks:
            self._columns_before = 0
        self._lines_before += breaks
        self._columns_before += len(gone) - (gone.rfind("\n") + 1)
        self._buffer, self._position = self._buffer[self._position :], 0

    def _problem(self, message: str, place: int) -> MalformedJsonError:
        before, after = self._buffer[:place], self._buffer[place:]
        lines = before.count("\n")
        column = place - (before.rfind("\n") + 1) + (0 if lines else self._columns_before)
        is_start = place == 0 and self._lines_before == self._columns_before == 0
        # Nothing follows the place of the error, or only the first half of a word or number.
        is_cut = message.startswith("Unterminated") or (
            not is_start and self._is_at_end and _is_half_a_word(after)
        )
        return MalformedJsonError(
            message, self._lines_before + lines + 1, column + 1, is_cut=is_cut
        )


def _is_half_a_word(text: str) -> bool:
    return len(text) < 100 and all(letter.isalnum() or letter in "_.+-" for letter in text.strip())
