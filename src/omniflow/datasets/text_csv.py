"""Texts in .csv files: a header, then rows that may reach over several lines."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator
from functools import cached_property

from omniflow.datasets.quoted_fields import End, QuotedFields
from omniflow.datasets.record_index import MOST_BYTES, MOST_READ_AGAIN
from omniflow.datasets.text_columns import choose_column, is_number
from omniflow.datasets.text_lines import Line, LinesFile
from omniflow.datasets.text_record import Found, usable_text
from omniflow.errors import DataError

_QUOTED = QuotedFields(",")

_STRAY = "a quote is never closed"


class CsvFile(LinesFile):
    """A header, then rows; a quote that is never closed costs its own line alone."""

    def column_roles(self) -> dict[str, str | None]:
        """The columns of the header."""
        columns, column = self._header
        return {name: "text" if i == column else None for i, name in enumerate(columns)}

    @cached_property
    def _header(self) -> tuple[list[str], int]:
        """Names of the columns, and which of them holds the texts."""
        columns: list[str] | None = None
        of_text: set[int] = set()
        for count, (record, row) in enumerate(self._rows(1, 0)):
            if columns is None:
                columns = self._names(record, row)
                continue
            if isinstance(row, str):
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

    def _names(self, record: Line, row: list[str] | str) -> list[str]:
        if isinstance(row, str):
            raise DataError(
                f"the header cannot be read ({row})",
                where=f"{self.path}:{record.number}",
                expected="names of columns in UTF-8",
            )
        return row

    def scan(self, line: int = 1, offset: int = 0) -> Iterator[Found]:
        """Every row but the header."""
        columns, column = self._header
        is_header = offset == 0
        for record, row in self._rows(line, offset):
            if is_header:
                is_header = False
            elif isinstance(row, str):
                yield record.bad(row)
            elif len(row) != len(columns):
                yield record.bad(f"{len(row)} fields, the header has {len(columns)}")
            else:
                yield Found(record.number, record.offset, record.size, usable_text(row[column]))

    def _text_of(self, record: str) -> str:
        return next(csv.reader([record], strict=True))[self._header[1]]

    def _rows(self, line: int, offset: int) -> Iterator[tuple[Line, list[str] | str]]:
        """Lines and fields of every row that is not blank, or what is wrong with it."""
        read_again = 0
        place: tuple[int, int] | None = (line, offset)
        while place is not None:
            place, size = yield from self._rows_up_to_a_stray_quote(*place)
            read_again += size
            if place is not None and read_again > MOST_READ_AGAIN:
                raise DataError(
                    "a quote opens here and is never closed, as several do before",
                    where=f"{self.path}:{place[0] - 1}",
                    expected="quotes as in RFC 4180",
                )

    def _rows_up_to_a_stray_quote(
        self, line: int, offset: int
    ) -> Generator[tuple[Line, list[str] | str], None, tuple[tuple[int, int] | None, int]]:
        """Rows up to a line that is one by itself, although a quote opens in it.

        Returns:
            Number and offset of the line after that, from which to read again, None at the end of
            the file; and how many bytes have been read in vain.
        """
        lines = self._lines(line, offset)
        for first in lines:
            if first.text.isspace():
                continue
            row = _fields(first)
            if row is not None:
                yield first, row
                continue
            parts, size, end = [first], first.size, End.OPEN
            while end is End.OPEN and size <= MOST_BYTES and (more := next(lines, None)):
                parts.append(more)
                size, end = size + more.size, _end_of(more)
            if end is End.CLOSED:
                record = _joined(parts)
                yield record, _fields(record) or _STRAY
                continue
            yield first, first.problem or _STRAY
            if len(parts) > 1:
                return (first.number + 1, first.offset + first.size), size - first.size
        return None, 0


def _fields(record: Line) -> list[str] | str | None:
    """The fields of a row, or what is wrong with it; None where a quote is still open."""
    if not record.is_whole:
        return record.problem
    try:
        row: list[str] | str = next(csv.reader([record.text], strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None
        row = f"not CSV ({error})"
    return record.problem or row


def _end_of(line: Line) -> End:
    """How a line leaves the row that is open before it; one that is too long is none."""
    if not line.is_whole:
        return End.BROKEN
    return _QUOTED.end_of(line.text.encode(), is_open=True)


def _joined(lines: list[Line]) -> Line:
    """Lines that are one record; what is wrong with one of them is with all."""
    problem = next((line.problem for line in lines if line.problem is not None), None)
    text, size = "".join(line.text for line in lines), sum(line.size for line in lines)
    return Line(lines[0].number, lines[0].offset, size, text, problem)
