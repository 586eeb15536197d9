"""Texts in .txt, .jsonl and .csv files: files of lines, read one by one or from their place."""

from __future__ import annotations

import csv
import io
import json
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any, BinaryIO

from omniflow.datasets.record_index import MOST_BYTES
from omniflow.datasets.text_columns import choose_column, is_number
from omniflow.datasets.text_record import (
    Found,
    TextFile,
    found_value,
    not_utf8,
    state_of,
    type_name,
    unreadable,
    usable_text,
)
from omniflow.errors import DataError

_MARK = b"\xef\xbb\xbf"


class _LinesFile(TextFile):
    """A file of lines, which end in \\n or \\r\\n and in no other of Unicode's line separators."""

    def read(self, offset: int, size: int) -> str:
        """The text of the record in these bytes."""
        try:
            with self.path.open("rb") as file:
                if state_of(file.fileno()) != self.state:
                    raise DataError(
                        "has changed since it was opened",
                        where=str(self.path),
                        expected="a file that stays as it is during a run",
                    )
                file.seek(offset)
                return self._text_of(file.read(size).decode())
        except OSError as error:
            raise unreadable(self.path, error) from error

    @abstractmethod
    def _text_of(self, record: str) -> str:
        """The text of a record that was found to have one."""

    def _lines(self, line: int, offset: int) -> Iterator[tuple[int, int, int, str | None]]:
        """Number, place, size and text of every line, with its end; None where it is too long.

        Never more than a record may have is held: a file need not have any line ends.
        """
        try:
            with self.path.open("rb") as file:
                if offset == 0 and file.read(len(_MARK)) == _MARK:
                    offset = len(_MARK)
                file.seek(offset)
                for number, data in enumerate(iter(lambda: file.readline(MOST_BYTES), b""), line):
                    if len(data) == MOST_BYTES and not data.endswith(b"\n"):
                        size = len(data) + _rest_of_line(file)
                        yield number, offset, size, None
                        offset += size
                        continue
                    try:
                        text = data.decode()
                    except UnicodeDecodeError as error:
                        byte = data[error.start]
                        raise not_utf8(self.path, number, byte, offset + error.start) from error
                    yield number, offset, len(data), text
                    offset += len(data)
        except OSError as error:
            raise unreadable(self.path, error) from error


class PlainFile(_LinesFile):
    """Every line a text."""

    def scan(self, line: int = 1, offset: int = 0) -> Iterator[Found]:
        """Every line."""
        if self._column is not None:
            raise DataError(
                f"a .txt file has no column {self._column!r}",
                where=str(self.path),
                expected="no column option",
            )
        for number, place, size, text in self._lines(line, offset):
            if text is None:
                yield _too_long(number, place, size)
            else:
                yield Found(number, place, size, usable_text(_without_end(text)))

    def _text_of(self, record: str) -> str:
        return _without_end(record)


class JsonLinesFile(_LinesFile):
    """Every line an object, its texts under one key."""

    def column_roles(self) -> dict[str, str | None]:
        """The key alone: lines may have any others."""
        return {} if self._key is None else {self._key: "text"}

    @cached_property
    def _key(self) -> str | None:
        """The key; None where no line holds an object."""
        columns: dict[str, bool] = {}
        has_rows = False
        for count, (*_, text) in enumerate(self._lines(1, 0)):
            row, _ = _json_row(text or "")
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
        for number, place, size, text in self._lines(line, offset):
            if text is None:
                yield _too_long(number, place, size)
                continue
            if text.isspace():
                continue
            row, problem = _json_row(text)
            if row is None:
                yield Found(number, place, size, None, problem)
            elif key is None or key not in row:
                yield Found(number, place, size, None, f"no {key!r}")
            else:
                yield found_value(number, place, size, row[key])

    def _text_of(self, record: str) -> str:
        text: str = json.loads(record)[self._key]
        return text


class CsvFile(_LinesFile):
    """A header, then rows; a row may reach over several lines."""

    def column_roles(self) -> dict[str, str | None]:
        """The columns of the header."""
        columns, column = self._header
        return {name: "text" if i == column else None for i, name in enumerate(columns)}

    @cached_property
    def _header(self) -> tuple[list[str], int]:
        """Names of the columns, and which of them holds the texts."""
        columns: list[str] | None = None
        of_text: set[int] = set()
        for count, (*_, row) in enumerate(self._rows(1, 0)):
            if isinstance(row, str):
                continue
            if columns is None:
                columns = row
                continue
            of_text.update(i for i, value in enumerate(row[: len(columns)]) if not is_number(value))
            names = {columns[place] for place in of_text}
            if count == self._looked_at or (self._column or "text") in names:
                break
        names_of_text = [name for i, name in enumerate(columns or []) if i in of_text]
        if columns is None:
            return [], 0
        return columns, columns.index(
            choose_column(self.path, self._column, columns, names_of_text)
        )

    def scan(self, line: int = 1, offset: int = 0) -> Iterator[Found]:
        """Every row but the header."""
        columns, column = self._header
        is_header = offset == 0
        for number, place, size, row in self._rows(line, offset):
            if isinstance(row, str):
                yield Found(number, place, size, None, row)
            elif is_header:
                is_header = False
            elif len(row) != len(columns):
                problem = f"{len(row)} fields, the header has {len(columns)}"
                yield Found(number, place, size, None, problem)
            else:
                yield Found(number, place, size, usable_text(row[column]))

    def _text_of(self, record: str) -> str:
        return next(csv.reader(io.StringIO(record, newline="\n"), strict=True))[self._header[1]]

    def _rows(self, line: int, offset: int) -> Iterator[tuple[int, int, int, list[str] | str]]:
        """First line, place, size and fields of every row that is not blank, or what is wrong."""
        end = 0

        def lines() -> Iterator[str]:
            nonlocal end
            for _, place, size, text in self._lines(line, offset):
                end = place + size
                # What no field may hold ends the row, in quotes or not, and is told.
                yield "x" * (csv.field_size_limit() + 1) if text is None else text

        reader = csv.reader(lines(), strict=True)
        while True:
            number, place = line + reader.line_num, end or offset
            try:
                row: list[str] | str = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                if "unexpected end" in str(error):
                    # A quote that is never closed swallows every line up to the end of the file.
                    raise DataError(
                        "a quote opens here and is never closed", where=f"{self.path}:{number}"
                    ) from error
                row = f"not CSV ({error})"
            if row:
                yield number, place, end - place, row


def _rest_of_line(file: BinaryIO) -> int:
    """Bytes up to the end of a line, which are read past."""
    size = 0
    while piece := file.readline(MOST_BYTES):
        size += len(piece)
        if piece.endswith(b"\n"):
            break
    return size


def _too_long(number: int, place: int, size: int) -> Found:
    return Found(number, place, size, None, f"{size} bytes, expected at most {MOST_BYTES}")


def _json_row(text: str) -> tuple[dict[str, Any] | None, str | None]:
    """An object, or what is wrong with it."""
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        return None, f"not JSON ({error.msg} at column {error.colno})"
    except (ValueError, RecursionError) as error:
        return None, f"JSON that cannot be read ({error})"
    if not isinstance(row, dict):
        return None, f"{type_name(row)} where an object was expected"
    return row, None


def _without_end(line: str) -> str:
    return line.removesuffix("\n").removesuffix("\r")
