"""Quoted fields of a CSV file, whose records may reach over several lines."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np

_QUOTE, _NEWLINE, _RETURN = b'"\n\r'


class End(Enum):
    """How a line leaves the record that it is part of."""

    CLOSED = "the record ends with it"
    OPEN = "the next line belongs to it"
    BROKEN = "no record can look so"


class QuotedFields:
    """Tells where records end, as RFC 4180 and Python's csv have it.

    Args:
        delimiter: The character between two fields, ASCII.
    """

    def __init__(self, delimiter: str) -> None:
        self.delimiter = delimiter.encode()

    def end_of(self, line: bytes, *, is_open: bool) -> End:
        """How a line leaves its record.

        Args:
            line: The line, with its end.
            is_open: Whether it begins within a quoted field.
        """
        at = 0
        while True:
            if not is_open:
                if line[at : at + 1] != b'"':
                    at = line.find(self.delimiter, at) + 1
                    if at == 0:
                        return End.CLOSED
                    continue
                at += 1
            at = line.find(b'"', at) + 1
            if at == 0:
                return End.OPEN
            after = line[at : at + 1]
            if after != b'"' and after != self.delimiter:
                return End.BROKEN if line[at:].strip(b"\r\n") else End.CLOSED
            is_open = after == b'"'
            at += 1

    def are_regular(self, data: Any, quotes: Any, is_open: bool) -> bool:
        """Whether every quote opens or closes a field, or is one of two that stand for one.

        Then a line end lies within a field if, and only if, the number of quotes before it is odd.

        Args:
            data: Bytes of whole lines, uint8.
            quotes: Positions of the quotes in them.
            is_open: Whether they begin within a quoted field.
        """
        closing, opening = quotes[1 - is_open :: 2], quotes[int(is_open) :: 2]
        # The first byte is the beginning of a field, and the last one a line end.
        before = data[opening[opening > 0] - 1]
        after = data[closing + 1]
        delimiter = self.delimiter[0]
        return bool(
            np.isin(before, (delimiter, _NEWLINE, _QUOTE)).all()
            and np.isin(after, (delimiter, _NEWLINE, _RETURN, _QUOTE)).all()
        )
