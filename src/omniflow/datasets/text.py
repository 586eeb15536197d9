"""Text: one sample a line or row of a person's own file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from omniflow.datasets.shares import SplitShares, require_share
from omniflow.datasets.splits import require_split
from omniflow.datasets.text_files import open_text_file
from omniflow.datasets.text_index import TextIndex, TextRules, index_texts
from omniflow.datasets.text_stream import TextStream, problems_told, too_many_bad
from omniflow.errors import ConfigError, UnknownLengthError
from omniflow.interfaces.dataset import Dataset, Sample

#: Records of a stream that are looked at to find its column.
_LOOKED_AT = 1000


class TextDataset(Dataset):
    """Lines of a .txt file, or one column of a .jsonl, .csv or .parquet file.

    Texts are used as they are, blank ones skipped. The split of a text depends on a hash of its
    words and `seed` alone: equal texts never stand in two splits, and adding lines to the file
    moves no other line. Only where that leaves a split of a small file empty does it get the one
    text whose hash lies nearest; `notices` says so.

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
        bad_share: Share of records that may be unreadable before the file is refused, in [0, 1].
        seed: Another seed, another split.
        streaming: Read the file as it comes: training begins at once, shuffles within
            `training.shuffle_block` texts, and needs `training.max_steps`.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If the file cannot be read, or has fewer different texts than splits.
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
        bad_share: float = 0.01,
        seed: int = 0,
        streaming: bool = False,
    ) -> None:
        _require_whole("min_chars", min_chars, least=1)
        _require_whole("max_chars", max_chars, least=min_chars)
        _require_whole("seed", seed, least=0)
        require_share("bad_share", bad_share)
        self._shares = SplitShares(validation_share, test_share)
        self.path = Path(path).expanduser()
        self.split = require_split(split, self.splits, where=str(path))
        self.is_streaming = streaming
        self._max_chars = max_chars
        self._notices: list[str] = []
        self._file = open_text_file(self.path, column, _LOOKED_AT if streaming else None)
        rules = TextRules(min_chars, max_chars, seed)
        if streaming:
            self._stream = TextStream(self._file, self.path, rules, self._stretch(None), bad_share)
        else:
            self._index = index_texts(self._file, column, rules)
            self._judge(self._index, bad_share, rules)
            low, high = self._stretch(np.unique(self._index.places))
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
        offset, size = int(self._index.offsets[place]), int(self._index.sizes[place])
        text = self._file.read(offset, size)[: self._max_chars]
        return self._sample(int(self._index.lines[place]), text)

    def records(self, start: int = 0) -> Iterator[Any]:
        """Lines and texts of a stream, positions otherwise."""
        return self._stream.records(start) if self.is_streaming else super().records(start)

    def decode(self, record: Any) -> Sample:
        """The sample of a record."""
        return self._sample(*record) if self.is_streaming else self[record]

    def length_of(self, record: Any) -> int:
        """Characters of a text that is streamed; else bytes of its record, which are at hand."""
        if self.is_streaming:
            return len(record[1])
        return min(int(self._index.sizes[self._chosen[record]]), self._max_chars)

    def column_roles(self) -> dict[str, str | None]:
        """Columns of the file as far as they are known, and which of them holds the texts."""
        return self._file.column_roles()

    def notices(self) -> list[str]:
        """What was skipped, cut or moved, and where."""
        return list(self._notices)

    def _sample(self, line: int, text: str) -> Sample:
        return Sample(id=f"{self.path.stem}:{line}", text=text, references=(text,))

    def _judge(self, index: TextIndex, bad_share: float, rules: TextRules) -> None:
        """Refuse a file with too many bad records; tell of a few, and of what was left out."""
        name, bad = self.path.name, index.bad
        total = bad + index.short + len(index.lines)
        if bad > bad_share * total:
            raise too_many_bad(self.path, bad, total, bad_share, index.problems)
        if bad:
            told = "; ".join(problems_told(bad, index.problems))
            self._notices.append(f"{name}: {bad} of {total} records skipped: {told}")
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
