"""Reading texts out of .txt, .jsonl, .csv and .parquet files, each with the line it stands on."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omniflow.errors import DataError, UnknownNameError, closest

#: Columns that are taken without being asked for, best first.
USUAL_COLUMNS = ("text", "caption")

_JSON_TYPES = {bool: "true or false", int: "a number", float: "a number", list: "a list"}


@dataclass
class TextFile:
    """What a file holds.

    Args:
        records: Line number, from 1, and text; rows count as lines in a .parquet file. No text is
            blank.
        bad: Line number of each record that had to be left out, and what is wrong with it.
    """

    records: list[tuple[int, str]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: object) -> None:
        """Keep a text, skip a blank one, and note down anything that isn't text."""
        if not isinstance(text, str):
            self.bad.append((line, f"{_type_name(text)} where text was expected"))
        elif not _is_whole(text):
            self.bad.append((line, "half of a surrogate pair, not a whole character"))
        elif text and not text.isspace():
            self.records.append((line, text))


def read_text_file(path: Path, column: str | None) -> TextFile:
    """All texts of a file, in order.

    Args:
        path: A file whose suffix is one of `SUFFIXES`.
        column: The column that holds the texts; when None, the one called text or caption, or
            else the only one that holds text. A .txt file has none.

    Raises:
        DataError: If the file is missing, empty, of an unknown kind, not UTF-8 or not readable,
            or the column doesn't hold text.
        UnknownNameError: If there is no such column.
    """
    try:
        _require_file(path)
        return _READERS[path.suffix.lower()](path, column)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=str(path)) from error


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


def _read_lines(path: Path, column: str | None) -> TextFile:
    if column is not None:
        raise DataError(
            f"a .txt file has no column {column!r}", where=str(path), expected="no column option"
        )
    found = TextFile()
    for number, line in enumerate(_lines(path), start=1):
        found.add(number, line)
    return found


def _read_jsonl(path: Path, column: str | None) -> TextFile:
    found = TextFile()
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line or line.isspace():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            found.bad.append((number, f"not JSON ({error.msg} at column {error.colno})"))
            continue
        except (ValueError, RecursionError) as error:
            found.bad.append((number, f"JSON that cannot be read ({error})"))
            continue
        if isinstance(row, dict):
            rows.append((number, row))
        else:
            found.bad.append((number, f"{_type_name(row)} where an object was expected"))
    if not rows:
        return found
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    of_text = [name for name in columns if any(isinstance(row.get(name), str) for _, row in rows)]
    column = _choose_column(path, column, columns, of_text)
    for number, row in rows:
        if column in row:
            found.add(number, row[column])
        else:
            found.bad.append((number, f"no {column!r}"))
    return found


def _read_csv(path: Path, column: str | None) -> TextFile:
    found = TextFile()
    # Only \n ends a line: by default StringIO would end one at a lone \r too.
    reader = csv.reader(io.StringIO(_decode(path), newline="\n"), strict=True)
    rows: list[tuple[int, list[str]]] = []
    while True:
        number = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if "unexpected end" in str(error):
                # A quote that is never closed swallows every line up to the end of the file.
                raise DataError(
                    "a quote opens here and is never closed", where=f"{path}:{number}"
                ) from error
            found.bad.append((number, f"not CSV ({error})"))
            continue
        if row:
            rows.append((number, row))
    if not rows:
        return found
    columns = rows.pop(0)[1]
    of_text = [
        name
        for position, name in enumerate(columns)
        if any(not _is_number(row[position]) for _, row in rows if len(row) > position)
    ]
    position = columns.index(_choose_column(path, column, columns, of_text))
    for number, row in rows:
        if len(row) == len(columns):
            found.add(number, row[position])
        else:
            found.bad.append((number, f"{len(row)} fields, the header has {len(columns)}"))
    return found


def _read_parquet(path: Path, column: str | None) -> TextFile:
    # Imported here: loading pyarrow takes longer than reading most text files.
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    found = TextFile()
    number = 1
    try:
        with parquet.ParquetFile(path) as source:
            types = {item.name: item.type for item in source.schema_arrow}
            of_text = [name for name, kind in types.items() if _is_text_type(arrow, kind)]
            column = _choose_column(path, column, list(types), of_text)
            if column not in of_text:
                raise _not_text(path, column, str(types[column]), of_text)
            for batch in source.iter_batches(columns=[column]):
                for value in batch.column(0):
                    found.add(number, value.as_py())
                    number += 1
    except UnicodeDecodeError as error:
        raise _not_utf8(path, number, error.object[error.start], error.start) from error
    except arrow.ArrowException as error:
        raise DataError(f"not a readable .parquet file ({error})", where=str(path)) from error
    return found


_READERS: dict[str, Callable[[Path, str | None], TextFile]] = {
    ".txt": _read_lines,
    ".jsonl": _read_jsonl,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}

#: The kinds of files that can be read.
SUFFIXES = tuple(_READERS)


def _lines(path: Path) -> Iterable[str]:
    """Lines without their ends: \\n or \\r\\n, and no other of Unicode's line separators."""
    lines = _decode(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    return (line.removesuffix("\r") for line in lines)


def _decode(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Positions in the error don't count the mark at the beginning.
        start = error.start + len(data) - len(error.object)
        line = data.count(b"\n", 0, start) + 1
        raise _not_utf8(path, line, data[start], start) from error


def _choose_column(
    path: Path, column: str | None, columns: Sequence[str], of_text: Sequence[str]
) -> str:
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


def _not_text(path: Path, column: str, kind: str, of_text: Sequence[str]) -> DataError:
    notes = [f"columns of text: {', '.join(of_text)}" if of_text else "there is no column of text"]
    return DataError(f"column {column!r} is {kind}", where=str(path), expected="text", notes=notes)


def _not_utf8(path: Path, line: int, byte: int, position: int) -> DataError:
    return DataError(
        f"byte 0x{byte:02x} at position {position} is not UTF-8",
        where=f"{path}:{line}",
        expected="text in UTF-8",
        notes=["convert it, for example: iconv -f LATIN1 -t UTF-8 OLD > NEW"],
    )


def _is_text_type(arrow: Any, kind: Any) -> bool:
    if arrow.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(arrow.types.is_string(kind) or arrow.types.is_large_string(kind))


def _is_number(text: str) -> bool:
    try:
        float(text or 0)
    except ValueError:
        return False
    return True


def _is_whole(text: str) -> bool:
    """Whether `text` can be written down: JSON can spell a lone half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _type_name(value: object) -> str:
    if value is None:
        return "nothing"
    return _JSON_TYPES.get(type(value), "text" if isinstance(value, str) else "an object")
