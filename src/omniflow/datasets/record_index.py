"""Where the records of a file begin: 12 bytes of memory each, whatever they hold."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

import numpy as np

from omniflow.datasets.quoted_fields import End, QuotedFields
from omniflow.datasets.record_blocks import IrregularError, find_records
from omniflow.errors import DataError

#: Longest record that is read: captions and paths are short.
MOST_BYTES = 1 << 20

#: What may be read twice, in all, after quotes that are never closed.
MOST_READ_AGAIN = 64 << 20

_MARK = b"\xef\xbb\xbf"


class RecordIndex:
    """Offsets of the records of a file, which is read once to its end; blank lines are none.

    A record that does not hold together ends with its first line, so that a stray quote costs one
    record and not the rest of the file.

    Args:
        path: The file.
        quoted: How fields of several lines are quoted; None where every line is a record.

    Attributes:
        offsets: First byte of each record, and the end of the file.
        lines: First line of each record, from 1.

    Raises:
        DataError: If the file cannot be read, or has too many quotes that are never closed.
    """

    def __init__(self, path: Path, quoted: QuotedFields | None = None) -> None:
        self.path = path
        self._read_again = 0
        try:
            with path.open("rb", buffering=1 << 18) as file:
                offset = len(_MARK) if file.read(len(_MARK)) == _MARK else 0
                try:
                    offsets, lines = _in_blocks(file, offset, quoted)
                except IrregularError:
                    offsets, lines = self._line_by_line(file, offset, quoted)
                offsets.append(file.seek(0, 2))
        except OSError as error:
            raise unreadable(path, error) from error
        self.offsets = np.frombuffer(offsets, dtype=np.int64)
        self.lines = np.frombuffer(lines, dtype=np.int32)

    def __len__(self) -> int:
        return len(self.lines)

    def read(self, number: int) -> bytes:
        """The bytes of a record, with blank lines that follow it.

        Raises:
            ValueError: If it is too long.
            OSError: If the file cannot be read.
        """
        start, end = int(self.offsets[number]), int(self.offsets[number + 1])
        if end - start > MOST_BYTES:
            raise ValueError(f"it has {end - start} bytes, expected at most {MOST_BYTES}")
        with self.path.open("rb", buffering=0) as file:
            file.seek(start)
            return file.read(end - start)

    def _line_by_line(
        self, file: BinaryIO, offset: int, quoted: QuotedFields | None
    ) -> tuple[array[int], array[int]]:
        """Every record, whatever the file looks like; much slower than blocks."""
        offsets, lines = array("q"), array("i")
        file.seek(offset)
        line, is_within = 0, False
        while piece := file.readline(MOST_BYTES):
            if is_within:
                # The rest of a line that is longer than any record may be.
                is_within = not piece.endswith(b"\n")
                offset += len(piece)
                continue
            line += 1
            size, count = len(piece), 1
            if not piece.isspace():
                offsets.append(offset)
                lines.append(line)
                if quoted is not None and b'"' in piece:
                    size, count = self._whole(file, piece, offset, line, quoted)
            is_within = count == 1 and not piece.endswith(b"\n")
            line += count - 1
            offset += size
        return offsets, lines

    def _whole(
        self, file: BinaryIO, piece: bytes, offset: int, line: int, quoted: QuotedFields
    ) -> tuple[int, int]:
        """Bytes and lines of the record that begins with `piece`; the file is left behind it."""
        end, size, count = quoted.end_of(piece, is_open=False), len(piece), 1
        while end is End.OPEN and size <= MOST_BYTES and (more := file.readline(MOST_BYTES)):
            end, size, count = quoted.end_of(more, is_open=True), size + len(more), count + 1
        if end is End.CLOSED or count == 1:
            return size, count
        self._read_again += size
        if self._read_again > MOST_READ_AGAIN:
            raise DataError(
                "a quote opens here and is never closed, as several do before",
                where=f"{self.path}:{line}",
                expected="quotes as in RFC 4180",
            )
        file.seek(offset + len(piece))
        return len(piece), 1


def _in_blocks(
    file: BinaryIO, offset: int, quoted: QuotedFields | None
) -> tuple[array[int], array[int]]:
    offsets, lines = array("q"), array("i")
    for found, numbers in find_records(file, offset, quoted):
        offsets.frombytes(found.astype(np.int64).tobytes())
        lines.frombytes(numbers.astype(np.int32).tobytes())
    return offsets, lines


#: Indices in use: the splits of a file share one.
_IN_USE: WeakValueDictionary[tuple[object, ...], RecordIndex] = WeakValueDictionary()


def index_records(path: Path, delimiter: str | None = None) -> RecordIndex:
    """The index of a file, made unless it is in use already and the file is as it was then.

    Args:
        path: The file.
        delimiter: What stands between the fields of a CSV file; None where lines are records.

    Raises:
        DataError: As `RecordIndex`.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    key = (path.resolve(), status.st_size, status.st_mtime_ns, delimiter)
    index = _IN_USE.get(key)
    if index is None:
        index = RecordIndex(path, None if delimiter is None else QuotedFields(delimiter))
        _IN_USE[key] = index
    return index


def unreadable(path: Path, error: OSError) -> DataError:
    """What to say of a file that the system does not hand out."""
    return DataError(f"cannot be read ({error.strerror or error})", where=str(path))
