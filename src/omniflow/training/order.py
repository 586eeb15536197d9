"""Which samples a run reads: a function of seed and position, so that a run can resume."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any

from omniflow.errors import DataError, RecordError
from omniflow.interfaces import Dataset, Sample
from omniflow.training.decoding import decode_each
from omniflow.training.length_groups import LengthGroups
from omniflow.training.mixture import MixedDataset, MixedShuffle
from omniflow.training.shuffling import Shuffle, shuffled

#: After so many records in vain, looking for one that can be read ends.
MOST_IN_A_ROW = 1000


class SampleOrder:
    """Shuffled samples without end: epoch after epoch, each in an order of its own.

    Positions count samples from the start of the run. Where they fall in batches, steps and
    processes does not matter, and a batch may reach into the next epoch. A stream is shuffled
    within blocks of consecutive records, so that any position is reached by reading from its block.
    Of several datasets by weight each is shuffled by itself, and they take turns (`MixedShuffle`).

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
        self._shuffle: Shuffle = (
            dataset.shuffled(seed, shuffle_block)
            if isinstance(dataset, MixedDataset)
            else shuffled(dataset, seed, shuffle_block)
        )
        self._groups = None
        self._is_ungrouped = group is not None and dataset.length_of(first) is None
        if group is not None and not self._is_ungrouped:
            self._groups = LengthGroups(self._shuffle, self._length, group, seed)

    @property
    def length(self) -> int | None:
        """Samples of an epoch; None as long as the end of a stream has not been reached."""
        return self._shuffle.length

    def drawn(self, positions: int) -> dict[str, int]:
        """How many of the first positions are of each dataset; empty unless they have weights."""
        if not isinstance(self._shuffle, MixedShuffle):
            return {}
        return self._shuffle.drawn(positions)

    def samples(self, positions: Sequence[int]) -> list[Sample]:
        """The samples at some positions of the run."""
        return self.filled(positions, decode_each(self.dataset, self.records(positions)))

    def filled(
        self, positions: Sequence[int], found: Sequence[Sample | RecordError]
    ) -> list[Sample]:
        """The samples at some positions; for one that cannot be read, the next one that can.

        That is the next one of its dataset, so that proportions stay as they are. What stands
        there depends on seed and position, as everywhere else.

        Args:
            positions: Positions of the run.
            found: What was read at each (`decode_each`).

        Raises:
            DataError: If none of very many in a row can be read.
        """
        known = dict(zip(positions, found, strict=True))
        return [self._next_readable(position, known) for position in positions]

    def _next_readable(self, position: int, known: dict[int, Sample | RecordError]) -> Sample:
        for place in islice(self._candidates(position), MOST_IN_A_ROW):
            if place not in known:
                [known[place]] = decode_each(self.dataset, self.records([place]))
            sample = known[place]
            if not isinstance(sample, RecordError):
                return sample
        raise DataError(
            f"{MOST_IN_A_ROW} records in a row cannot be read, or serve no task",
            where=str(known[position]),
            expected="a dataset of which most can and do",
        )

    def _candidates(self, position: int) -> Iterator[int]:
        """The position, and those after it whose samples are of the same dataset."""
        part = self._part(position)
        yield position
        yield from (place for place in count(position + 1) if self._part(place) == part)

    def _part(self, position: int) -> int:
        return self._shuffle.part(self._place(position))

    def _place(self, position: int) -> int:
        return position if self._groups is None else self._groups.place(position)

    def records(self, positions: Sequence[int]) -> list[Any]:
        """What those samples are made of, for `Dataset.decode`."""
        return [self._shuffle.record(self._place(position)) for position in positions]

    def notices(self) -> list[str]:
        """What a person should know about the data, and about their order."""
        told = ["training.group_by_length has no effect: the dataset does not tell lengths"]
        return [*self.dataset.notices(), *(told if self._is_ungrouped else [])]

    def _length(self, position: int) -> int:
        return self.dataset.length_of(self._shuffle.record(position)) or 0
