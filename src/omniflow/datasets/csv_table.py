"""CSV: a table with a header, its records on one line or several."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from omniflow.datasets.record_index import RecordIndex, index_records
from omniflow.datasets.table import TableDataset
from omniflow.errors import ConfigError, DataError


class CsvDataset(TableDataset):
    """Captions, pictures and sounds that a .csv file names: the original's layouts, or your own.

    The first record is the header. Quoted fields may hold line ends, as RFC 4180 has it.

    Args:
        delimiter: One character between two fields.
        options: Those of every table.
    """

    suffix = ".csv"
    _first = 1

    def __init__(self, *, delimiter: str = ",", **options: Any) -> None:
        if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
            raise ConfigError("delimiter", delimiter, expected="one ASCII character, such as ,")
        self._delimiter = delimiter
        super().__init__(**options)

    def _indexed(self) -> RecordIndex:
        return index_records(self.path, self._delimiter)

    @cached_property
    def _header(self) -> list[str]:
        if not len(self._index):
            raise DataError("is empty", where=str(self.path), expected="a header and records")
        try:
            header = self._fields(self._index.read(0))
        except ValueError as error:
            raise DataError(
                f"the header cannot be read ({error})",
                where=f"{self.path}:{self._index.lines[0]}",
                expected="names of columns in UTF-8",
            ) from error
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise DataError(
                f"several columns are called {twice[0]!r}",
                where=str(self.path),
                expected="a name of its own for every column",
            )
        if len(self._index) == 1:
            raise DataError("nothing follows the header", where=str(self.path), expected="records")
        return header

    def _columns(self) -> Sequence[str]:
        return self._header

    def _row(self, content: bytes) -> Mapping[str, Any]:
        fields = self._fields(content)
        if len(fields) != len(self._header):
            raise ValueError(f"{len(fields)} fields, the header has {len(self._header)}")
        return dict(zip(self._header, fields, strict=True))

    def _fields(self, content: bytes) -> list[str]:
        try:
            text = content.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"byte 0x{content[error.start]:02x} is not UTF-8") from error
        try:
            lines = io.StringIO(text, newline="\n")
            return next(csv.reader(lines, strict=True, delimiter=self._delimiter))
        except csv.Error as error:
            raise ValueError(f"not CSV ({error})") from error
        except StopIteration as error:
            raise ValueError("nothing is there any more") from error
