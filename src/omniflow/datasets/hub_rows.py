"""Rows of a table in memory-mapped columns: which are left out, and which belong together."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from omniflow.datasets.hub_columns import is_media
from omniflow.errors import ConfigError, DataError


def undecoded(rows: Any, *, where: str) -> tuple[Any, dict[str, Any]]:
    """Rows whose pictures and sounds stay bytes, and the type of every column.

    Args:
        rows: A `datasets.Dataset` or `datasets.IterableDataset`.
        where: The data set, for messages.

    Raises:
        DataError: If the columns are not known before the rows are read.
    """
    features = rows.features
    if features is None:
        rows = rows._resolve_features()
        features = rows.features
    if not features:
        raise DataError("it has no columns", where=where)
    kinds = dict(features)
    media = {name: type(kind).__name__ for name, kind in kinds.items() if is_media(kind)}
    if media and hasattr(rows, "decode"):
        # A stream: columns that are cast alone may still be decoded on the way.
        return rows.decode(False), kinds
    library = importlib.import_module("datasets")
    for name, kind in media.items():
        rows = rows.cast_column(name, getattr(library, kind)(decode=False))
    return rows, kinds


class TextPattern:
    """A regular expression (RE2), looked for in texts one by one or in a whole column.

    Args:
        name: The option that says it, for the message.
        pattern: The expression.

    Raises:
        ConfigError: If it is none.
    """

    def __init__(self, name: str, pattern: str) -> None:
        compute = importlib.import_module("pyarrow.compute")
        self.name = name
        self.pattern = pattern
        self._scalar = importlib.import_module("pyarrow").scalar
        self._options = compute.MatchSubstringOptions(pattern)
        self._function = compute.get_function("match_substring_regex")
        try:
            self.matches("")
        except ValueError as error:
            raise ConfigError(name, pattern, expected="a regular expression (RE2)") from error

    def __reduce__(self) -> tuple[type[TextPattern], tuple[str, str]]:
        return TextPattern, (self.name, self.pattern)

    def matches(self, text: str | None) -> bool:
        """Whether it matches somewhere in a text; in none it does not."""
        if text is None:
            return False
        return bool(self._function.call([self._scalar(text)], self._options).as_py())

    def matching_rows(self, rows: Any, column: str) -> Any:
        """Whether it matches the text of each row that is learnt, bool [rows]."""
        arrow = importlib.import_module("pyarrow")
        found = [np.zeros(0, dtype=bool)]
        for chunk in _column(rows, column).chunks:
            texts = chunk
            if not str(chunk.type).endswith("string"):
                firsts = [first_text(value) for value in chunk.to_pylist()]
                texts = arrow.array(firsts, arrow.string())
            matches = self._function.call([texts], self._options).fill_null(False)
            found.append(matches.to_numpy(zero_copy_only=False))
        return np.concatenate(found)


def first_text(value: Any) -> str | None:
    """The text that is learnt, of a column of texts or of lists."""
    first = value[0] if isinstance(value, list) and value else value
    return first if isinstance(first, str) else None


def grouped_rows(rows: Any, columns: Sequence[str], among: Any) -> dict[int, list[int]]:
    """Rows that agree in some columns, by the first of them, in order.

    Args:
        rows: A `datasets.Dataset`.
        columns: What they have to agree in.
        among: Numbers of the rows that are looked at, in order.
    """
    keys = list(zip(*(_column(rows, name).to_pylist() for name in columns), strict=True))
    first: dict[Any, int] = {}
    groups: dict[int, list[int]] = {}
    for row in among.tolist():
        groups.setdefault(first.setdefault(keys[row], row), []).append(row)
    return groups


def _column(rows: Any, name: str) -> Any:
    """A column as Arrow holds it."""
    return rows.select_columns([name]).with_format("arrow")[:][name]
