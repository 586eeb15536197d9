"""Data sets of the Hub, or folders in one of the layouts that it knows, by their columns."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from omniflow.datasets.hub_columns import HubColumns, choose_hub_columns
from omniflow.datasets.hub_media import picture_of, sound_of, texts_of
from omniflow.datasets.hub_rows import TextPattern, first_text, grouped_rows, undecoded
from omniflow.datasets.hub_source import HubSource
from omniflow.datasets.hub_stream import HubStream
from omniflow.datasets.shares import number_places
from omniflow.datasets.split_sources import SplitSources, require_seed
from omniflow.datasets.splits import require_split
from omniflow.errors import DataError, RecordError, UnknownLengthError
from omniflow.interfaces.dataset import Dataset, Sample

#: Modalities in the order of their columns.
_ALL = ("text", "image", "audio")

#: Rows of a stream whose places are computed together.
_BLOCK = 4096


class HubDataset(Dataset):
    """One sample a record of a data set that the package `datasets` reads.

    Read by position, the files of a split are fetched first, and records are memory-mapped;
    streamed, they are read as they come. Pictures and sounds stay bytes until they are asked for.
    No code from a repository is executed. A record that cannot be read raises `RecordError`.

    Args:
        path: Its id on the Hub, `owner/name`, or a local folder.
        split: One of `splits`.
        config: Its configuration; when null, the default one or the only one.
        revision: Branch, tag or commit on the Hub; its main branch when null.
        train_split: What the split for training is called there.
        validation_split: What the one for validation is called; null for a share of `train_split`.
        test_split: What the one for testing is called; null for a share of `train_split`.
        text_column: Column of texts, or of lists whose first text is learnt; when null, text or
            caption.
        references_column: Column of the texts that predictions are compared with; those of
            `text_column` when null.
        image_column: Column of pictures; when null, image or the only one.
        audio_column: Column of sounds; when null, audio or the only one.
        id_column: Column of ids; when null, the number of the record is the id.
        group_columns: Records that agree in these are one sample, that of the first; the texts of
            all are its references. Of no effect on a stream.
        leave_out: Regular expression (RE2); records with a text that it matches are left out.
        validation_share: Share of `train_split` held out for validation, in [0, 1], by a hash of
            the record's number.
        test_share: Share of `train_split` held out for testing.
        seed: Another seed, other shares.
        streaming: Read records as they come: training begins at once, shuffles within
            `training.shuffle_block` records, and needs `training.max_steps`.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If the files are missing or unreadable, or a split would be empty.
        UnknownNameError: If there is no such configuration, split or column; says which there are.
        UsageError: If the Hub cannot be reached or does not have the data set.
    """

    #: Splits -> those of the source that they come from, where they are not called so.
    source_splits: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self,
        *,
        path: str,
        split: str = "train",
        config: str | None = None,
        revision: str | None = None,
        train_split: str = "train",
        validation_split: str | None = "validation",
        test_split: str | None = "test",
        text_column: str | None = None,
        references_column: str | None = None,
        image_column: str | None = None,
        audio_column: str | None = None,
        id_column: str | None = None,
        group_columns: Sequence[str] = (),
        leave_out: str | None = None,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        seed: int = 0,
        streaming: bool = False,
    ) -> None:
        require_seed(seed)
        self._leave_out = None if leave_out is None else TextPattern("leave_out", leave_out)
        self._sources = SplitSources.said(
            train_split,
            validation_path=validation_split,
            test_path=test_split,
            validation_share=validation_share,
            test_share=test_share,
        )
        self.path = path
        self.split = require_split(split, self.splits, where=path)
        self.is_streaming = streaming
        self._seed = seed
        self._notices: list[str] = []
        self._source = HubSource(path, config, revision)
        self._source_split, self._is_own = self._sources.of(split, self.splits)
        rows = self._source.open(self._source_split, streaming=streaming)
        asked = {"text": text_column, "references": references_column, "image": image_column,
                 "audio": audio_column, "id": id_column}  # fmt: skip
        self._rows, features = undecoded(rows, where=path)
        self._features = tuple(features)
        self.columns: HubColumns = choose_hub_columns(asked, group_columns, features, where=path)
        self._wanted = self.columns.modalities
        if streaming:
            self._stretch = self._stretch_of(None)
            self._held: tuple[int, Any] = (-1, None)
            if group_columns:
                self._tell("a stream does not bring records together by group_columns")
        else:
            self._chosen, self._groups = self._choose()

    def __len__(self) -> int:
        if self.is_streaming:
            raise UnknownLengthError(self.path, expected="streaming: false")
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        if self.is_streaming:
            return self.decode(next(self.records(index)))
        if not 0 <= index < len(self._chosen):
            raise IndexError(f"index {index} is not in [0, {len(self._chosen)})")
        row = int(self._chosen[index])
        return self._sample(row, self._read[row])

    def records(self, start: int = 0) -> Iterator[Any]:
        """Numbers and contents of a stream's rows, undecoded; positions otherwise."""
        return self._stream.records(start) if self.is_streaming else super().records(start)

    def decode(self, record: Any) -> Sample:
        """The sample of a record."""
        return self._sample(*record) if self.is_streaming else self[record]

    def length_of(self, record: Any) -> int | None:
        """Characters of the text that is learnt; None where there is none."""
        column = self.columns.text
        if column is None or "text" not in self._wanted:
            return None
        content = record[1] if self.is_streaming else self._texts[int(self._chosen[record])]
        return len(first_text(content[column]) or "")

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Read no columns that nobody looks at.

        Raises:
            DataError: If the data set has a column for none of these.
        """
        wanted = self.columns.modalities & set(modalities)
        if not wanted:
            has = " and ".join(name for name in _ALL if name in self.columns.modalities)
            raise DataError(
                f"it brings {has} alone",
                where=self.path,
                expected=f"a column of {' or '.join(n for n in _ALL if n in set(modalities))}",
            )
        self._wanted = wanted
        for cached in ("_read", "_stream"):
            self.__dict__.pop(cached, None)

    def column_roles(self) -> dict[str, str | None]:
        """Columns of the data set, and what is read from them."""
        return {**dict.fromkeys(self._features), **self.columns.roles()}

    def notices(self) -> list[str]:
        """What was left out or moved."""
        return list(self._notices)

    def clean(self, text: str) -> str:
        """A text as it is learnt; here as it is."""
        return text

    def __getstate__(self) -> dict[str, Any]:
        # Other processes decode records alone.
        return {name: value for name, value in self.__dict__.items() if name != "_stream"}

    @cached_property
    def _read(self) -> Any:
        """The columns that samples are made of."""
        return self._rows.select_columns(self.columns.read(self._wanted))

    @cached_property
    def _texts(self) -> Any:
        return self._rows.select_columns([self.columns.text])

    @cached_property
    def _stream(self) -> HubStream:
        names = self.columns.read(self._wanted)
        if self._leave_out and self.columns.text is not None:
            names = list(dict.fromkeys([*names, self.columns.text]))
        return HubStream(self._rows.select_columns(names), self._belongs, self._source.reaching)

    def _belongs(self, row: int, content: dict[str, Any]) -> bool:
        """Whether a row of the stream is a record of this split."""
        block, within = divmod(row, _BLOCK)
        if not self._is_own and not self._ours(block)[within]:
            return False
        if self._leave_out is None or self.columns.text is None:
            return True
        return not self._leave_out.matches(first_text(content[self.columns.text]))

    def _ours(self, block: int) -> Any:
        """Which rows of a block lie in the split's share, bool [_BLOCK]."""
        if self._held[0] != block:
            low, high = self._stretch
            places = number_places(np.arange(block * _BLOCK, (block + 1) * _BLOCK), self._seed)
            self._held = block, (low <= places) & (places < high)
        return self._held[1]

    def _choose(self) -> tuple[Any, dict[int, list[int]]]:
        """Rows of this split in order, and for those that stand for several, which."""
        rows = np.arange(len(self._rows), dtype=np.int32)
        if self._leave_out is not None and self.columns.text is not None:
            is_out = self._leave_out.matching_rows(self._rows, self.columns.text)
            rows = rows[~is_out]
            if is_out.any():
                self._tell(f"{int(is_out.sum())} records left out, as they match leave_out")
        groups: dict[int, list[int]] = {}
        if self.columns.group:
            groups = grouped_rows(self._rows, self.columns.group, rows)
            rows = np.fromiter(groups, dtype=np.int32)
        places = number_places(rows, self._seed)
        low, high = self._stretch_of(np.unique(places))
        rows = rows[(low <= places) & (places < high)]
        return rows, {int(row): groups[row] for row in rows if len(groups.get(row, ())) > 1}

    def _stretch_of(self, places: Any) -> tuple[float, float]:
        """The part of [0, 1) that belongs to the split, see `SplitShares.stretch`."""
        if self._is_own:
            return 0.0, 1.0
        low, high, is_moved = self._sources.shares.stretch(self.split, places, where=self.path)
        if is_moved:
            self._tell(f"only {len(places)} records, so some were moved to give every split one")
        return low, high

    def _sample(self, row: int, content: dict[str, Any]) -> Sample:
        columns, wanted = self.columns, self._wanted
        record = self._id(row, content)
        texts: tuple[str, ...] = ()
        references: tuple[str, ...] = ()
        if "text" in wanted and columns.text is not None:
            texts = self._cleaned(record, content[columns.text])
            references = self._references(record, row, content) or texts
        image = content[columns.image] if columns.image and "image" in wanted else None
        audio = content[columns.audio] if columns.audio and "audio" in wanted else None
        picture = picture_of(record, image, self._source.read_file)
        sound = sound_of(record, audio, self._source.read_file)
        if not texts and picture is None and sound is None:
            brought = " and no ".join(name for name in _ALL if name in wanted)
            raise RecordError(record, f"it has no {brought}")
        return Sample(record, texts[0] if texts else None, picture, sound, references)

    def _references(self, record: str, row: int, content: dict[str, Any]) -> tuple[str, ...]:
        column = self.columns.references or self.columns.text
        assert column is not None
        others = self._groups.get(row, []) if not self.is_streaming else []
        found = [self._cleaned(record, content[column])]
        if others:
            # Taken by their column: the pictures and sounds beside them are not read.
            values = self._rows.select_columns([column])
            found += [self._cleaned(record, values[other][column]) for other in others]
        return tuple(dict.fromkeys(text for texts in found for text in texts))

    def _cleaned(self, record: str, value: object) -> tuple[str, ...]:
        return tuple(self.clean(text) for text in texts_of(record, value))

    def _id(self, row: int, content: dict[str, Any]) -> str:
        value = content.get(self.columns.id) if self.columns.id else None
        text = str(value).strip() if isinstance(value, str | int) else ""
        return text if text and text.isprintable() else f"{self._source_split}:{row}"

    def _tell(self, notice: str) -> None:
        self._notices.append(f"{self.path}: {notice}")
