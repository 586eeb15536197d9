"""Files that texts are read from, by the ending of their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from omniflow.datasets.text_csv import CsvFile
from omniflow.datasets.text_lines import JsonLinesFile, PlainFile
from omniflow.datasets.text_parquet import ParquetFile
from omniflow.datasets.text_record import TextFile, unreadable
from omniflow.errors import DataError, closest

_KINDS: dict[str, Callable[[Path, str | None, int | None], TextFile]] = {
    ".txt": PlainFile,
    ".jsonl": JsonLinesFile,
    ".csv": CsvFile,
    ".parquet": ParquetFile,
}

#: The kinds of files that can be read.
SUFFIXES = tuple(_KINDS)


def open_text_file(path: Path, column: str | None, looked_at: int | None = None) -> TextFile:
    """A file that is there and of a known kind; arguments as in `TextFile`.

    Raises:
        DataError: If it isn't.
    """
    try:
        _require_file(path)
    except OSError as error:
        raise unreadable(path, error) from error
    return _KINDS[path.suffix.lower()](path, column, looked_at)


def _require_file(path: Path) -> None:
    kinds = f"a file ending in {', '.join(SUFFIXES)}"
    if path.is_dir():
        inside = sorted(item.name for item in path.iterdir() if item.suffix.lower() in SUFFIXES)
        notes = [f"in it: {', '.join(inside[:8])}"] if inside else []
        raise DataError("is a folder", where=str(path), expected=kinds, notes=notes)
    if not path.exists():
        neighbours = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        nearest = [str(path.parent / name) for name in closest(path.name, neighbours)]
        raise DataError("there is no such file", where=str(path), expected=kinds, nearest=nearest)
    if path.stat().st_size == 0:
        raise DataError("is empty", where=str(path), expected="at least one line of text")
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"cannot read texts from a file ending in {path.suffix!r}",
            where=str(path),
            expected=f"one of {', '.join(SUFFIXES)}",
            nearest=closest(path.suffix, SUFFIXES),
        )
