"""Texts in .txt and .jsonl files: files of lines, read one by one or from their place."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, BinaryIO, NamedTuple

from omniflow.datasets.record_index import MOST_BYTES
from omniflow.datasets.text_columns import choose_column
from omniflow.datasets.text_encoding import HEAD, MARK, EncodingTally, refuse_wide
from omniflow.datasets.text_record import (
    Found,
    TextFile,
    found_value,
    has_changed,
    not_utf8,
    state_of,
    type_name,
    unreadable,
    usable_text,
)
from omniflow.errors import DataError

#: So much of a line that is too long is kept, to draw its split by.
_KEPT_BYTES = 1 << 16


class Line(NamedTuple):
    """A line of a file, or several that are one record.

    Args:
        number: Of the first line, from 1.
        offset: Where it begins in the file.
        size: Its bytes.
        text: What it holds, with its end. Bytes that are not UTF-8 are spelled out, as `\\xf6`, and
            of a line that is too long this is the beginning.
        problem: Why it cannot be used so.
        is_whole: Whether `text` is all of it.
    """

    number: int
    offset: int
    size: int
    text: str
    problem: str | None = None
    is_whole: bool = True

    def bad(self, problem: str) -> Found:
        """A record that cannot be read, for a reason."""
        return Found(self.number, self.offset, self.size, None, problem, self.text)


class LinesFile(TextFile):
    """A file of lines, which end in \\n or \\r\\n and in no other of Unicode's line separators."""

    def read(self, offset: int, size: int) -> str:
        """The text of the record in these bytes."""
        try:
            with self.path.open("rb") as file:
                if state_of(file.fileno()) != self.state:
                    raise has_changed(self.path)
                file.seek(offset)
                return self._text_of(file.read(size).decode())
        except OSError as error:
            raise unreadable(self.path, error) from error

    def problem_at(self, line: int, offset: int) -> str:
        """What is wrong with the record that begins there."""
        try:
            is_same = state_of(self.path) == self.state
        except OSError as error:
            raise unreadable(self.path, error) from error
        found = next(self.scan(line, offset), None) if is_same else None
        if found is None or found.problem is None:
            raise has_changed(self.path)
        return found.problem

    @abstractmethod
    def _text_of(self, record: str) -> str:
        """The text of a record that was found to have one."""

    def _lines(self, line: int, offset: int) -> Iterator[Line]:
        """Every line from a place on.

        Never more than a record may have is held: a file need not have any line ends.

        Raises:
            DataError: If the file cannot be read, or read from its beginning turns out to be in
                another encoding.
        """
        tally = EncodingTally(self.path) if offset == 0 else None
        try:
            with self.path.open("rb") as file:
                if tally is not None:
                    head = file.read(HEAD)
                    refuse_wide(self.path, head)
                    offset = len(MARK) if head.startswith(MARK) else 0
                file.seek(offset)
                for number, data in enumerate(iter(lambda: file.readline(MOST_BYTES), b""), line):
                    found = _line_of(number, offset, data, file)
                    if tally is not None and found.is_whole:
                        tally.count(data, number, offset)
                    yield found
                    offset += found.size
        except OSError as error:
            raise unreadable(self.path, error) from error
        if tally is not None:
            tally.judge()


class PlainFile(LinesFile):
    """Every line a text."""

    def scan(self, line: int = 1, offset: int = 0) -> Iterator[Found]:
        """Every line."""
        if self._column is not None:
            raise DataError(
                f"a .txt file has no column {self._column!r}",
                where=str(self.path),
                expected="no column option",
            )
        for found in self._lines(line, offset):
            if found.problem is not None:
                yield found.bad(found.problem)
            else:
                number, place, size, text, *_ = found
                yield Found(number, place, size, usable_text(_without_end(text)))

    def _text_of(self, record: str) -> str:
        return _without_end(record)


class JsonLinesFile(LinesFile):
    """Every line an object, its texts under one key."""

    def column_roles(self) -> dict[str, str | None]:
        """The key alone: lines may have any others."""
        return {} if self._key is None else {self._key: "text"}

    @cached_property
    def _key(self) -> str | None:
        """The key; None where no line holds an object."""
        columns: dict[str, bool] = {}
        has_rows = False
        for count, line in enumerate(self._lines(1, 0)):
            row, _ = _json_row(line)
            has_rows = has_rows or row is not None
            for name, value in (row or {}).items():
                columns[name] = columns.get(name, False) or isinstance(value, str)
            # Nothing further on can change the choice.
            if count == self._looked_at or columns.get(self._column or "text"):
                break
        of_text = [name for name, is_text in columns.items() if is_text]
        return choose_column(self.path, self._column, list(columns), of_text) if has_rows else None

    def scan(self, line: int = 1, offset: int = 0) -> Iterator[Found]:
        """Every line that is not blank."""
        key = self._key
        for found in self._lines(line, offset):
            if found.text.isspace():
                continue
            row, problem = _json_row(found)
            if row is None:
                yield found.bad(problem or "not JSON")
            elif key is None or key not in row:
                yield found.bad(f"no {key!r}")
            else:
                number, place, size, text, *_ = found
                yield found_value(number, place, size, row[key], text)

    def _text_of(self, record: str) -> str:
        text: str = json.loads(record)[self._key]
        return text


def _line_of(number: int, offset: int, data: bytes, file: BinaryIO) -> Line:
    """A line by its first bytes; what is too long is read past."""
    size = len(data)
    if size == MOST_BYTES and not data.endswith(b"\n"):
        size += _rest_of_line(file)
        text = data[:_KEPT_BYTES].decode(errors="backslashreplace")
        problem = f"{size} bytes, expected at most {MOST_BYTES}"
        return Line(number, offset, size, text, problem, is_whole=False)
    try:
        return Line(number, offset, size, data.decode())
    except UnicodeDecodeError as error:
        text = data.decode(errors="backslashreplace")
        return Line(number, offset, size, text, not_utf8(error))


def _rest_of_line(file: BinaryIO) -> int:
    """Bytes up to the end of a line, which are read past."""
    size = 0
    while piece := file.readline(MOST_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def _json_row(line: Line) -> tuple[dict[str, Any] | None, str | None]:
    """An object, or what is wrong with it."""
    if line.problem is not None:
        return None, line.problem
    try:
        row = json.loads(line.text)
    except json.JSONDecodeError as error:
        return None, f"not JSON ({error.msg} at column {error.colno})"
    except (ValueError, RecursionError) as error:
        return None, f"JSON that cannot be read ({error})"
    if not isinstance(row, dict):
        return None, f"{type_name(row)} where an object was expected"
    return row, None


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
