"""Text: one sample a line or row of a person's own file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from omniflow.datasets.shares import SplitShares
from omniflow.datasets.splits import require_split
from omniflow.datasets.text_files import open_text_file
from omniflow.datasets.text_index import TextIndex, TextRules, index_texts, nothing_readable
from omniflow.datasets.text_stream import TextStream
from omniflow.errors import ConfigError, RecordError, UnknownLengthError
from omniflow.interfaces.dataset import Dataset, Sample

#: Records of a stream that are looked at to find its column.
_LOOKED_AT = 1000


class TextDataset(Dataset):
    """Lines of a .txt file, or one column of a .jsonl, .csv or .parquet file.

    Texts are used as they are, blank ones skipped. The split of a text depends on a hash of its
    words and `seed` alone: equal texts never stand in two splits, and adding lines to the file
    moves no other line. Only where that leaves a split of a small file empty does it get the one
    text whose hash lies nearest; `notices` says so. A record that holds no text (bytes that are not
    UTF-8, a line that is no JSON, a value of another type) raises `RecordError`; its split depends
    on a hash of its bytes, of its number in a .parquet file.

    No text is held in memory, but those of a .parquet file. Opening a file reads it once, to find
    where its texts are; streamed, it is read as training goes on, to its end again and again.

    Args:
        path: The file: UTF-8, ending in .txt, .jsonl, .csv or .parquet.
        split: One of `splits`.
        column: Column that holds the texts; when not given, the one called text or caption, or
            else the only one that holds text.
        min_chars: Shorter texts are left out, and counted in `notices`.
        max_chars: Longer texts are cut to this length, and counted in `notices`.
        validation_share: Share of the texts held out for validation, in [0, 1].
        test_share: Share of the texts held out for testing, in [0, 1].
        seed: Another seed, another split.
        streaming: Read the file as it comes: training begins at once, shuffles within
            `training.shuffle_block` texts, and needs `training.max_steps`.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If the file cannot be read, is in another encoding than UTF-8, or has fewer
            different texts than splits.
        UnknownNameError: If the file has no such column.
    """

    def __init__(
        self,
        *,
        path: str,
        split: str = "train",
        column: str | None = None,
        min_chars: int = 1,
        max_chars: int = 2000,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        seed: int = 0,
        streaming: bool = False,
    ) -> None:
        _require_whole("min_chars", min_chars, least=1)
        _require_whole("max_chars", max_chars, least=min_chars)
        _require_whole("seed", seed, least=0)
        self._shares = SplitShares(validation_share, test_share)
        self.path = Path(path).expanduser()
        self.split = require_split(split, self.splits, where=str(path))
        self.is_streaming = streaming
        self._max_chars = max_chars
        self._notices: list[str] = []
        self._file = open_text_file(self.path, column, _LOOKED_AT if streaming else None)
        rules = TextRules(min_chars, max_chars, seed)
        if streaming:
            self._stream = TextStream(self._file, self.path, rules, self._stretch(None))
        else:
            self._index = index_texts(self._file, column, rules)
            self._tell(self._index, rules)
            low, high = self._stretch(self._index.text_places)
            is_ours = (low <= self._index.places) & (self._index.places < high)
            self._chosen = np.flatnonzero(is_ours).astype(np.int32)

    def __len__(self) -> int:
        if self.is_streaming:
            raise UnknownLengthError(self.path.name, expected="streaming: false")
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        if self.is_streaming:
            return self.decode(next(self.records(index)))
        if not 0 <= index < len(self._chosen):
            raise IndexError(f"index {index} is not in [0, {len(self._chosen)})")
        place = self._chosen[index]
        line, offset = int(self._index.lines[place]), int(self._index.offsets[place])
        size = int(self._index.sizes[place])
        if not size:
            raise RecordError(self._id(line), self._file.problem_at(line, offset))
        return self._sample(line, self._file.read(offset, size)[: self._max_chars])

    def records(self, start: int = 0) -> Iterator[Any]:
        """Texts of a stream with their lines, positions otherwise."""
        return self._stream.records(start) if self.is_streaming else super().records(start)

    def decode(self, record: Any) -> Sample:
        """The sample of a record."""
        if not self.is_streaming:
            return self[record]
        line, text, problem = record
        if problem is not None:
            raise RecordError(self._id(line), problem)
        return self._sample(line, text)

    def length_of(self, record: Any) -> int:
        """Characters of a text that is streamed; else bytes of its record, which are at hand.

        0 for a bad record.
        """
        if self.is_streaming:
            return len(record.text)
        return min(int(self._index.sizes[self._chosen[record]]), self._max_chars)

    def column_roles(self) -> dict[str, str | None]:
        """Columns of the file as far as they are known, and which of them holds the texts."""
        return self._file.column_roles()

    def notices(self) -> list[str]:
        """What is bad, left out, cut or moved, and where."""
        return list(self._notices)

    def _sample(self, line: int, text: str) -> Sample:
        return Sample(id=self._id(line), text=text, references=(text,))

    def _id(self, line: int) -> str:
        return f"{self.path.stem}:{line}"

    def _tell(self, index: TextIndex, rules: TextRules) -> None:
        """Put down what is bad, left out and cut; refuse a file in which nothing can be read."""
        name, bad = self.path.name, index.bad
        total = index.short + len(index.lines)
        if bad and bad == total:
            raise nothing_readable(self.path, bad, index.problems)
        if bad:
            self._notices.append(
                f"{name}: {bad} of {total} records cannot be read, the first one in "
                f"{index.problems[0]}"
            )
        if index.short:
            self._notices.append(
                f"{name}: {index.short} texts of less than {rules.min_chars} characters left out"
            )
        if index.cut:
            self._notices.append(
                f"{name}: {index.cut} texts cut to {rules.max_chars} characters, "
                f"the first one in line {index.first_cut}"
            )

    def _stretch(self, places: Any) -> tuple[float, float]:
        """The part of [0, 1) that belongs to the split.

        Args:
            places: Those of all texts, sorted, each once; None where they are not known, and no
                split can be helped to its first text.
        """
        low, high, is_moved = self._shares.stretch(
            self.split, places, where=str(self.path), what="text"
        )
        if is_moved:
            self._notices.append(
                f"{self.path.name}: only {len(places)} different texts, so some were moved "
                "to give every split at least one"
            )
        return low, high


def _require_whole(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(name, value, expected=f"a whole number >= {least}")
