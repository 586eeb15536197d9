"""Where the texts of a file are, so that each is read from its place and none is held."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import numpy as np

from omniflow.datasets.splits import text_place
from omniflow.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from omniflow.datasets.text_record import TextFile

#: Problems that are kept for messages.
BAD_SHOWN = 5


@dataclass(frozen=True)
class TextRules:
    """What becomes of texts that are too short or too long, and how they are split.

    Args:
        min_chars: Shorter texts are left out.
        max_chars: Longer texts are cut to this length.
        seed: Of the hash that places a text in [0, 1).
    """

    min_chars: int
    max_chars: int
    seed: int

    def cut(self, text: str | None) -> str | None:
        """A text as it is used; None for one that is not."""
        return None if text is None or len(text) < self.min_chars else text[: self.max_chars]

    def place(self, text: str) -> float:
        """Where in [0, 1) a cut text stands, which decides its split."""
        return text_place(text, self.seed)


class TextIndex:
    """The texts of a file, and its bad records: 24 bytes each, whatever their length.

    Args:
        file: The file, which is read to its end.
        rules: What is left out and cut.

    Attributes:
        lines: Line of each record.
        offsets: Where it begins in the file.
        sizes: Its bytes; 0 for a bad one.
        places: Where it stands in [0, 1), by a hash.
        short: How many were left out.
        cut: How many were cut; `first_cut` is the line of the first.
        bad: How many records are unreadable; `problems` says what is wrong with the first few.
    """

    def __init__(self, file: TextFile, rules: TextRules) -> None:
        lines, offsets, sizes, places = array("i"), array("q"), array("i"), array("d")
        self.short = self.cut = self.first_cut = self.bad = 0
        self.problems: list[str] = []
        for found in file.scan():
            if found.problem is not None:
                self.bad += 1
                if self.bad <= BAD_SHOWN:
                    self.problems.append(f"line {found.line}: {found.problem}")
                text, size = found.content, 0
            else:
                cut = rules.cut(found.text)
                if cut is None:
                    self.short += found.text is not None
                    continue
                if found.text is not None and len(found.text) > len(cut):
                    self.cut += 1
                    self.first_cut = self.first_cut or found.line
                text, size = cut, found.size
            lines.append(found.line)
            offsets.append(found.offset)
            sizes.append(size)
            places.append(rules.place(text))
        self.lines = np.frombuffer(lines, dtype=np.int32)
        self.offsets = np.frombuffer(offsets, dtype=np.int64)
        self.sizes = np.frombuffer(sizes, dtype=np.int32)
        self.places = np.frombuffer(places, dtype=np.float64)

    @property
    def text_places(self) -> Any:
        """Where texts stand, sorted, each place once; bad records move no bounds of splits."""
        return np.unique(self.places[self.sizes > 0])


#: Indices in use: the splits of a file share one.
_IN_USE: WeakValueDictionary[tuple[object, ...], TextIndex] = WeakValueDictionary()


def index_texts(file: TextFile, column: str | None, rules: TextRules) -> TextIndex:
    """The index of a file, made unless it is in use already and the file is as it was then."""
    key = (file.path.resolve(), file.state, column, rules)
    index = _IN_USE.get(key)
    if index is None:
        index = TextIndex(file, rules)
        _IN_USE[key] = index
    return index


def nothing_readable(path: Path, bad: int, problems: list[str]) -> DataError:
    """What to say of a file with bad records alone.

    Args:
        path: The file.
        bad: How many there are.
        problems: What is wrong with the first few.
    """
    more = [f"and {bad - len(problems)} more"] if bad > len(problems) else []
    return DataError(
        f"none of {bad} records can be read",
        where=str(path),
        expected="texts",
        notes=[*problems, *more],
    )
