"""Which samples a run reads: a function of seed and position, so that a run can resume."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from omniflow.errors import DataError, RecordError
from omniflow.interfaces import Dataset, Sample
from omniflow.training.decoding import decode_each
from omniflow.training.length_groups import LengthGroups
from omniflow.training.shuffling import BlockShuffle, WholeShuffle

#: After so many records in vain, looking for one that can be read ends.
MOST_IN_A_ROW = 1000


class JoinedDataset(Dataset):
    """Several datasets one after the other; ids keep apart by the dataset's position.

    Args:
        parts: The datasets, at least one, none of them empty.
        names: What they are called, for records that cannot be read.

    Raises:
        DataError: If one of them is streamed: nobody knows where the next one begins.
    """

    def __init__(self, parts: Sequence[Dataset], names: Sequence[str] = ()) -> None:
        if any(part.is_streaming for part in parts):
            raise DataError(
                f"{len(parts)} datasets, of which one is streamed",
                expected="a streamed dataset alone, or streaming: false for all of them",
            )
        self.parts = parts
        self.names = names

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Sample:
        for position, part in enumerate(self.parts):
            if index < len(part):
                return self._told_apart(position, part, index)
            index -= len(part)
        raise IndexError(index)

    def _told_apart(self, position: int, part: Dataset, index: int) -> Sample:
        try:
            sample = part[index]
        except RecordError as error:
            name = self.names[position] if self.names else None
            record = f"{position}/{error.record}"
            raise RecordError(record, error.reason, dataset=name) from error
        return replace(sample, id=f"{position}/{sample.id}")

    def length_of(self, record: Any) -> int | None:
        """The length that the part knows."""
        for part in self.parts:
            if record < len(part):
                return part.length_of(record)
            record -= len(part)
        raise IndexError(record)

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Restrict every part."""
        for part in self.parts:
            part.restrict_to(modalities)

    def notices(self) -> list[str]:
        """The notices of every part."""
        return [notice for part in self.parts for notice in part.notices()]


class SampleOrder:
    """Shuffled samples without end: epoch after epoch, each in an order of its own.

    Positions count samples from the start of the run. Where they fall in batches, steps and
    processes does not matter, and a batch may reach into the next epoch. A stream is shuffled
    within blocks of consecutive records, so that any position is reached by reading from its block.

    Args:
        dataset: Where the samples come from.
        seed: Decides the order of every epoch.
        shuffle_block: Records of a stream that are shuffled among themselves.
        group: How many samples, those of a step, are to have texts of similar length; None for no
            such order. See `LengthGroups`.

    Raises:
        DataError: If the dataset is empty.
    """

    def __init__(
        self, dataset: Dataset, seed: int, *, shuffle_block: int = 1000, group: int | None = None
    ) -> None:
        self.dataset = dataset
        first = next(dataset.records(), None)
        if first is None:
            raise DataError("the training split is empty", expected="at least one sample")
        self._shuffle: BlockShuffle | WholeShuffle = (
            BlockShuffle(dataset, seed, shuffle_block)
            if dataset.is_streaming
            else WholeShuffle(len(dataset), seed)
        )
        self._groups = None
        self._is_ungrouped = group is not None and dataset.length_of(first) is None
        if group is not None and not self._is_ungrouped:
            self._groups = LengthGroups(self._shuffle, self._length, group, seed)

    @property
    def length(self) -> int | None:
        """Samples of an epoch; None as long as the end of a stream has not been reached."""
        return self._shuffle.length

    def samples(self, positions: Sequence[int]) -> list[Sample]:
        """The samples at some positions of the run."""
        return self.filled(positions, decode_each(self.dataset, self.records(positions)))

    def filled(
        self, positions: Sequence[int], found: Sequence[Sample | RecordError]
    ) -> list[Sample]:
        """The samples at some positions; for one that cannot be read, the next one that can.

        So what stands there depends on seed and position, as everywhere else.

        Args:
            positions: Positions of the run.
            found: What was read at each (`decode_each`).

        Raises:
            DataError: If none of very many in a row can be read.
        """
        known = dict(zip(positions, found, strict=True))
        return [self._next_readable(position, known) for position in positions]

    def _next_readable(self, position: int, known: dict[int, Sample | RecordError]) -> Sample:
        for place in range(position, position + MOST_IN_A_ROW):
            if place not in known:
                [known[place]] = decode_each(self.dataset, self.records([place]))
            sample = known[place]
            if not isinstance(sample, RecordError):
                return sample
        raise DataError(
            f"{MOST_IN_A_ROW} records in a row cannot be read",
            where=str(known[position]),
            expected="a dataset of which most can",
        )

    def records(self, positions: Sequence[int]) -> list[Any]:
        """What those samples are made of, for `Dataset.decode`."""
        if self._groups is not None:
            positions = [self._groups.place(position) for position in positions]
        return [self._shuffle.record(position) for position in positions]

    def notices(self) -> list[str]:
        """What a person should know about the data, and about their order."""
        told = ["training.group_by_length has no effect: the dataset does not tell lengths"]
        return [*self.dataset.notices(), *(told if self._is_ungrouped else [])]

    def _length(self, position: int) -> int:
        return self.dataset.length_of(self._shuffle.record(position)) or 0
