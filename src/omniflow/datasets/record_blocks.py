"""Beginnings of the records of a file, found a block of bytes at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from omniflow.datasets.quoted_fields import QuotedFields

#: Bytes of a block: enough to be fast, little beside the rest of a process.
BLOCK = 4 << 20

_SPACES = tuple(b" \t\n\r\v\f")
_QUOTE, _NEWLINE = b'"\n'


class IrregularError(Exception):
    """The file cannot be read so: quotes stand where none may, or a line is endless."""


def find_records(
    file: BinaryIO, offset: int, quoted: QuotedFields | None
) -> Iterator[tuple[Any, Any]]:
    """Offsets of records, and the line of each from 1, block by block; blank lines are none.

    Args:
        file: The file.
        offset: Where the first line begins.
        quoted: How fields of several lines are quoted; None where every line is a record.

    Raises:
        IrregularError: If the file has to be read line by line.
    """
    line, is_open = 1, False
    for block in _whole_lines(file, offset):
        data = np.frombuffer(block, dtype=np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        begins = np.concatenate(([0], ends[:-1] + 1))
        is_within = np.zeros(len(ends), dtype=bool)
        if quoted is not None:
            quotes = np.flatnonzero(data == _QUOTE)
            if not quoted.are_regular(data, quotes, is_open):
                raise IrregularError
            is_within = (np.searchsorted(quotes, begins) + is_open) % 2 == 1
            is_open = (len(quotes) + is_open) % 2 == 1
        is_record = ~is_within
        for number in np.flatnonzero(is_record & np.isin(data[begins], _SPACES)):
            is_record[number] = not block[begins[number] : ends[number] + 1].isspace()
        yield begins[is_record] + offset, np.flatnonzero(is_record) + line
        line += len(ends)
        offset += len(block)
    if is_open:
        raise IrregularError


def _whole_lines(file: BinaryIO, offset: int) -> Iterator[bytes]:
    """The file from an offset on, in blocks that end with a line; the last line gets an end."""
    file.seek(offset)
    rest = b""
    while block := file.read(BLOCK):
        cut = block.rfind(b"\n") + 1
        if cut:
            yield rest + block[:cut]
            rest = block[cut:]
        elif len(rest) > BLOCK:
            raise IrregularError
        else:
            rest += block
    if rest:
        yield rest + b"\n"
