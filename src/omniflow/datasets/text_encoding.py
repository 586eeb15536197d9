"""Whether a file of lines is UTF-8 with some broken bytes, or text in another encoding."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from omniflow.errors import DataError

#: UTF-8's mark at the beginning of a file, which is no text.
MARK = b"\xef\xbb\xbf"

#: Bytes at the beginning of a file that tell whether it is UTF-16.
HEAD = 4096

#: After so many lines a stream is judged as well, whose end may be far.
JUDGED_AT = 1000

#: The longer one first: UTF-32 begins as UTF-16 does.
_WIDE_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}

#: What no text has, in whatever encoding of one byte or several, and broken bytes soon have.
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


def refuse_wide(path: Path, head: bytes) -> None:
    """Refuse a file in UTF-16 or UTF-32, by its mark or its zeros.

    Args:
        path: The file.
        head: Its first bytes, `HEAD` of them where there are so many.

    Raises:
        DataError: If it is one.
    """
    for mark, encoding in _WIDE_MARKS.items():
        if head.startswith(mark):
            _refuse(path, f"is in {encoding}, by its first bytes", encoding)
    even, odd = head[::2], head[1::2]
    for zeros, others, encoding in ((odd, even, "UTF-16LE"), (even, odd, "UTF-16BE")):
        if zeros and 2 * zeros.count(0) > len(zeros) and 10 * others.count(0) < len(others):
            _refuse(path, f"is in {encoding}, by its zero bytes", encoding)


class EncodingTally:
    """Counts the lines of a file that only another encoding explains.

    Those hold bytes that are not UTF-8, and no control characters. The file is in another encoding
    if they are half of its lines, and more than the lines that UTF-8 alone explains; otherwise each
    is a bad record.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = self._foreign = self._genuine = 0
        self._first: tuple[int, int, int] | None = None

    def count(self, data: bytes, number: int, offset: int) -> None:
        """Take note of a line.

        Args:
            data: The line.
            number: Of the line, from 1.
            offset: Where it begins in the file.

        Raises:
            DataError: As `judge`, once there are `JUDGED_AT` lines.
        """
        if data.isspace():
            return
        self._lines += 1
        if not data.isascii():
            self._explain(data, number, offset)
        if self._lines == JUDGED_AT:
            self.judge()

    def judge(self) -> None:
        """Judge the file by its lines so far.

        Raises:
            DataError: If it is in another encoding.
        """
        is_foreign = 2 * self._foreign >= self._lines and self._foreign > self._genuine
        if self._first is None or not is_foreign:
            return
        number, byte, position = self._first
        _refuse(
            f"{self.path}:{number}",
            f"byte 0x{byte:02x} at position {position} is not UTF-8",
            "LATIN1",
            f"so are {self._foreign} of {self._lines} lines: they are in another encoding",
        )

    def _explain(self, data: bytes, number: int, offset: int) -> None:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            if _CONTROL.search(data) is None:
                self._foreign += 1
                self._first = self._first or (number, data[error.start], offset + error.start)
        else:
            self._genuine += 1


def _refuse(where: Path | str, problem: str, encoding: str, *notes: str) -> NoReturn:
    raise DataError(
        problem,
        where=str(where),
        expected="text in UTF-8",
        notes=[*notes, f"convert it, for example: iconv -f {encoding} -t UTF-8 OLD > NEW"],
    )
