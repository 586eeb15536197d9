"""Records of one split of a file of texts, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from omniflow.datasets.text_index import BAD_SHOWN, TextRules, nothing_readable

if TYPE_CHECKING:
    from pathlib import Path

    from omniflow.datasets.text_record import TextFile

#: So many records apart lie the places that are remembered, to go back to.
REMEMBERED = 1000


class StreamedText(NamedTuple):
    """A record of a stream.

    Args:
        line: Its first line, from 1.
        text: Its text, cut; empty for a bad one.
        problem: What is wrong with a bad one.
    """

    line: int
    text: str
    problem: str | None = None


class TextStream:
    """The records whose hash lies in a stretch of [0, 1), read from any of them on.

    The first reading goes through the file; on its way it remembers a place now and then, to which
    later readings jump.

    Args:
        file: The file.
        path: Its path, for messages.
        rules: What is left out and cut, and how texts are hashed.
        stretch: Where hashes of this split begin and end.
    """

    def __init__(
        self, file: TextFile, path: Path, rules: TextRules, stretch: tuple[float, float]
    ) -> None:
        self.file = file
        self.path = path
        self.rules = rules
        self.stretch = stretch
        self._places = [(1, 0)]

    def records(self, start: int) -> Iterator[StreamedText]:
        """Each record, bad ones among them, from number `start` of this split on.

        Raises:
            DataError: If the file cannot be read, or nothing in it can.
        """
        low, high = self.stretch
        remembered = min(start // REMEMBERED, len(self._places) - 1)
        number, has_texts, bad, problems = remembered * REMEMBERED, False, 0, list[str]()
        for found in self.file.scan(*self._places[remembered]):
            if found.problem is not None:
                bad += 1
                problems += [f"line {found.line}: {found.problem}"] * (bad <= BAD_SHOWN)
            has_texts = has_texts or found.text is not None
            text = self.rules.cut(found.text) if found.problem is None else found.content
            if text is None or not low <= self.rules.place(text) < high:
                continue
            if number == len(self._places) * REMEMBERED:
                self._places.append((found.line, found.offset))
            if number >= start:
                text = "" if found.problem is not None else text
                yield StreamedText(found.line, text, found.problem)
            number += 1
        if bad and not has_texts and remembered == 0:
            raise nothing_readable(self.path, bad, problems)
