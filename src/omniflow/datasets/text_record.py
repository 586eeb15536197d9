"""The records of a file of texts: what each kind of file has to tell about them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from omniflow.errors import DataError

_JSON_TYPES = {bool: "true or false", int: "a number", float: "a number", list: "a list"}


class Found(NamedTuple):
    """A record of a file; no text and no problem for a blank one.

    Args:
        line: Its first line, from 1; rows count as lines in a .parquet file.
        offset: Where it begins: a byte of the file, or a row of a .parquet file.
        size: Its bytes, or 1 for a row.
        text: Its text.
        problem: What is wrong with it, in one line; it has no text then.
        content: What a split is drawn for it by, where it has a problem.
    """

    line: int
    offset: int
    size: int
    text: str | None
    problem: str | None = None
    content: str = ""


class TextFile(ABC):
    """The records of a file, in order, and each from its place.

    Args:
        path: The file.
        column: The column that holds the texts; when None, the one called text or caption, or
            else the only one that holds text. A .txt file has none.
        looked_at: Records that are looked at to find that column; all of them when None.

    Attributes:
        state: Size and time of the file when it was opened.
    """

    def __init__(self, path: Path, column: str | None, looked_at: int | None = None) -> None:
        self.path = path
        self.state = state_of(path)
        self._column = column
        self._looked_at = looked_at

    @abstractmethod
    def scan(self, line: int = 1, offset: int = 0) -> Iterator[Found]:
        """Every record from a place on where one begins.

        Raises:
            DataError: If the file cannot be read, is in another encoding, or its column holds no
                text.
            UnknownNameError: If there is no such column.
        """

    def column_roles(self) -> dict[str, str | None]:
        """Its columns, the one that holds the texts marked as text; none where lines are texts."""
        return {}

    @abstractmethod
    def read(self, offset: int, size: int) -> str:
        """The text of a record, which was found to have one.

        Raises:
            DataError: If the file has changed since it was opened.
        """

    @abstractmethod
    def problem_at(self, line: int, offset: int) -> str:
        """What is wrong with the record that begins there, which was found to have a problem.

        Raises:
            DataError: If the file has changed since it was opened.
        """


def state_of(path: Path | int) -> tuple[int, int]:
    """Size of a file and time of its last change; `path` may be the number of an open one."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def found_value(line: int, offset: int, size: int, value: object, content: str) -> Found:
    """A record whose column holds some value; `content` as in `Found`."""
    problem = _problem_of(value)
    if problem is not None:
        return Found(line, offset, size, None, problem, content)
    return Found(line, offset, size, usable_text(value))


def _problem_of(value: object) -> str | None:
    if not isinstance(value, str):
        return f"{type_name(value)} where text was expected"
    if not _is_whole(value):
        return "half of a surrogate pair, not a whole character"
    return None


def usable_text(value: object) -> str | None:
    """A text that is not blank."""
    return value if isinstance(value, str) and value and not value.isspace() else None


def unreadable(path: Path, error: OSError) -> DataError:
    """What to say of a file that the system does not let us read."""
    return DataError(f"cannot be read ({error.strerror or error})", where=str(path))


def has_changed(path: Path) -> DataError:
    """What to say of a file that is another one than was opened."""
    return DataError(
        "has changed since it was opened",
        where=str(path),
        expected="a file that stays as it is during a run",
    )


def not_utf8(error: UnicodeDecodeError) -> str:
    """What to say of a record with a byte that stands where text cannot have it."""
    return f"byte 0x{error.object[error.start]:02x} is not UTF-8"


def _is_whole(text: str) -> bool:
    """Whether `text` can be written down: JSON can spell a lone half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def type_name(value: object) -> str:
    """A value of JSON in words."""
    if value is None:
        return "nothing"
    return _JSON_TYPES.get(type(value), "text" if isinstance(value, str) else "an object")
