"""Texts in .parquet files."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from omniflow.datasets.text_columns import choose_column, not_text
from omniflow.datasets.text_record import (
    Found,
    TextFile,
    found_value,
    has_changed,
    not_utf8,
    unreadable,
)
from omniflow.errors import DataError


class ParquetFile(TextFile):
    """Rows of a table; one column of it is held when they are read from their place."""

    def scan(self, line: int = 1, offset: int = 0) -> Iterator[Found]:
        """Every row."""
        # Imported here: loading pyarrow takes longer than reading most text files.
        arrow = importlib.import_module("pyarrow")
        parquet = importlib.import_module("pyarrow.parquet")
        row = 0
        try:
            with parquet.ParquetFile(self.path) as source:
                column = self._column_of(source)
                for group in range(source.num_row_groups):
                    count = source.metadata.row_group(group).num_rows
                    if row + count <= offset:
                        row += count
                        continue
                    for batch in source.iter_batches(row_groups=[group], columns=[column]):
                        for value in batch.column(0):
                            if row >= offset:
                                yield _found(row, value)
                            row += 1
        except OSError as error:
            raise unreadable(self.path, error) from error
        except arrow.ArrowException as error:
            raise DataError(
                f"not a readable .parquet file ({error})", where=str(self.path)
            ) from error

    def read(self, offset: int, size: int) -> str:
        """The text of a row."""
        text: str = self._held[offset].as_py()
        return text

    def problem_at(self, line: int, offset: int) -> str:
        """What is wrong with a row."""
        problem = _found(offset, self._held[offset]).problem
        if problem is None:
            raise has_changed(self.path)
        return problem

    def column_roles(self) -> dict[str, str | None]:
        """The columns of the table."""
        parquet = importlib.import_module("pyarrow.parquet")
        with parquet.ParquetFile(self.path) as source:
            column = self._column_of(source)
            return {name: "text" if name == column else None for name in source.schema_arrow.names}

    @cached_property
    def _held(self) -> Any:
        parquet = importlib.import_module("pyarrow.parquet")
        with parquet.ParquetFile(self.path) as source:
            return source.read(columns=[self._column_of(source)]).column(0)

    def _column_of(self, source: Any) -> str:
        types = {item.name: item.type for item in source.schema_arrow}
        of_text = [name for name, kind in types.items() if _is_text_type(kind)]
        column = choose_column(self.path, self._column, list(types), of_text)
        if column not in of_text:
            raise not_text(self.path, column, str(types[column]), of_text)
        return column


def _found(row: int, value: Any) -> Found:
    """A row, from 0, by the value of its column; its number is all that tells bad ones apart."""
    content = f"row {row + 1}"
    try:
        return found_value(row + 1, row, 1, value.as_py(), content)
    except UnicodeDecodeError as error:
        return Found(row + 1, row, 1, None, not_utf8(error), content)


def _is_text_type(kind: Any) -> bool:
    types = importlib.import_module("pyarrow").types
    if types.is_dictionary(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))
