"""Items of a JSON file that is one long list, one by one, without reading all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from omniflow.datasets.byte_files import ByteFile
from omniflow.errors import DataError

#: Longest item that is read: conversations are short.
MOST_BYTES = 1 << 20

_SPACE = re.compile(r"[ \t\n\r]*")
_MARK = "\xef\xbb\xbf"

#: Numbers stay text: one with a million digits is a mistake of its item, not of the list.
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)


class Item(NamedTuple):
    """An item of a list.

    Args:
        offset: Its first byte in the file; reading can begin there.
        content: Its bytes.
        value: What it holds, with numbers as text; None where it has bytes beyond ASCII, which are
            to be decoded first.
    """

    offset: int
    content: bytes
    value: Any


def list_items(file: ByteFile, offset: int = 0) -> Iterator[Item]:
    """The items of the list in a file.

    Args:
        file: The file.
        offset: That of an item, or 0 for all of them.

    Raises:
        DataError: If the file cannot be read, holds no list, is not JSON from some byte on, or ends
            too soon.
        UsageError: If a server cannot be reached.
    """
    text = _Text(file, offset)
    if offset == 0:
        text.skip(_MARK)
        if text.next_sign() != "[":
            raise text.problem("is no list")
        text.skip("[")
        if text.next_sign() == "]":
            return
    while True:
        if not text.next_sign():
            raise text.problem("the file ends within its list")
        yield text.item()
        sign = text.next_sign()
        if sign == "]":
            return
        if sign != ",":
            raise text.problem("the file ends within its list" if not sign else "is not JSON")
        text.skip(",")


class _Text:
    """The file from an offset on. One byte is one character (Latin-1), so that places are offsets:
    what JSON is made of is ASCII, and strings of any bytes are skipped as a whole.
    """

    def __init__(self, file: ByteFile, offset: int) -> None:
        self.where = file.name
        self._blocks = file.blocks(offset)
        self._start = offset
        self._text = ""
        self._at = 0
        self._is_all = False

    def skip(self, sign: str) -> None:
        while len(self._text) - self._at < len(sign) and self._more():
            pass
        if self._text.startswith(sign, self._at):
            self._at += len(sign)

    def next_sign(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            match = _SPACE.match(self._text, self._at)
            assert match is not None
            self._at = match.end()
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def item(self) -> Item:
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError) as error:
                # It may go on in the next block.
                if len(self._text) - self._at <= MOST_BYTES and self._more():
                    continue
                raise self.problem("is not JSON" if not self._is_all else "ends too soon or is not "
                                   "JSON") from error  # fmt: skip
            # So may a number that ends with this one.
            if end < len(self._text) or not self._more():
                break
        content = self._text[self._at : end]
        offset, self._at = self._start + self._at, end
        raw = content.encode("latin-1")
        return Item(offset, raw, value if content.isascii() else None)

    def problem(self, what: str) -> DataError:
        return DataError(
            f"{what} (byte {self._start + self._at})", where=self.where,
            expected="a whole JSON file that is one list of objects",
        )  # fmt: skip

    def _more(self) -> bool:
        """Read a block on; forget what has been read."""
        try:
            block = next(self._blocks, b"")
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"cannot be read ({reason})", where=self.where) from error
        self._is_all = not block
        if block:
            self._start += self._at
            self._text = self._text[self._at :] + block.decode("latin-1")
            self._at = 0
        return bool(block)
