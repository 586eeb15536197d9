"""Texts of one split of a file, as they come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from omniflow.datasets.text_index import BAD_SHOWN, TextRules
from omniflow.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from omniflow.datasets.text_record import TextFile

#: So many texts apart lie the places that are remembered, to go back to.
REMEMBERED = 1000

#: Before so many records have been read, the share of bad ones says little.
JUDGED_FROM = 1000


class TextStream:
    """The texts whose hash lies in a stretch of [0, 1), read from any of them on.

    The first reading goes through the file; on its way it remembers a place now and then, to which
    later readings jump.

    Args:
        file: The file.
        path: Its path, for messages.
        rules: What is left out and cut, and how texts are hashed.
        stretch: Where hashes of this split begin and end.
        bad_share: Share of unreadable records above which reading stops.
    """

    def __init__(
        self,
        file: TextFile,
        path: Path,
        rules: TextRules,
        stretch: tuple[float, float],
        bad_share: float,
    ) -> None:
        self.file = file
        self.path = path
        self.rules = rules
        self.stretch = stretch
        self.bad_share = bad_share
        self._places = [(1, 0)]

    def records(self, start: int) -> Iterator[tuple[int, str]]:
        """Line and text of each record, from number `start` of this split on.

        Raises:
            DataError: If too many records are bad, or the file cannot be read.
        """
        low, high = self.stretch
        remembered = min(start // REMEMBERED, len(self._places) - 1)
        number, seen, problems, bad = remembered * REMEMBERED, 0, list[str](), 0
        for found in self.file.scan(*self._places[remembered]):
            seen += found.text is not None or found.problem is not None
            if found.problem is not None:
                bad += 1
                problems += [f"line {found.line}: {found.problem}"] * (bad <= BAD_SHOWN)
                if seen >= JUDGED_FROM:
                    self._judge(bad, seen, problems)
            text = self.rules.cut(found.text)
            if text is None or not low <= self.rules.place(text) < high:
                continue
            if number == len(self._places) * REMEMBERED:
                self._places.append((found.line, found.offset))
            if number >= start:
                yield found.line, text
            number += 1
        self._judge(bad, seen, problems)

    def _judge(self, bad: int, seen: int, problems: list[str]) -> None:
        if bad > self.bad_share * seen:
            raise too_many_bad(self.path, bad, seen, self.bad_share, problems)


def too_many_bad(
    path: Path, bad: int, total: int, bad_share: float, problems: list[str]
) -> DataError:
    """What to say of a file with too many bad records.

    Args:
        path: The file.
        bad: How many are bad.
        total: How many have been read.
        bad_share: Which share of them may be.
        problems: What is wrong with the first few.
    """
    return DataError(
        f"{bad} of {total} records cannot be read",
        where=str(path),
        expected=f"at most {bad_share:.4g} of them (bad_share)",
        notes=problems_told(bad, problems),
    )


def problems_told(bad: int, problems: list[str]) -> list[str]:
    """The first few problems, and how many more there are."""
    return problems + [f"and {bad - BAD_SHOWN} more"] * (bad > BAD_SHOWN)
