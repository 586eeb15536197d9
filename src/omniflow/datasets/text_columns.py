"""Which column of a table holds the texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omniflow.errors import DataError, UnknownNameError

#: Columns that are taken without being asked for, best first.
USUAL_COLUMNS = ("text", "caption")


def choose_column(
    path: Path, column: str | None, columns: Sequence[str], of_text: Sequence[str]
) -> str:
    """The column that was asked for, else a usual one, else the only one that holds text.

    Raises:
        UnknownNameError: If there is no such column.
        DataError: If several columns hold text, or none.
    """
    if column is not None:
        if column not in columns:
            raise UnknownNameError("column", column, columns, where=str(path))
        return column
    for usual in USUAL_COLUMNS:
        if usual in of_text:
            return usual
    if len(of_text) == 1:
        return of_text[0]
    raise DataError(
        "several columns hold text" if of_text else "no column holds text",
        where=str(path),
        expected="the option column to name one" if of_text else "a column of text",
        notes=[f"columns: {', '.join(of_text or columns)}"],
    )


def not_text(path: Path, column: str, kind: str, of_text: Sequence[str]) -> DataError:
    """What to say of a column that holds something else."""
    notes = [f"columns of text: {', '.join(of_text)}" if of_text else "there is no column of text"]
    return DataError(f"column {column!r} is {kind}", where=str(path), expected="text", notes=notes)


def is_number(text: str) -> bool:
    """Whether a field of a .csv file holds a number, or nothing."""
    try:
        float(text or 0)
    except ValueError:
        return False
    return True
