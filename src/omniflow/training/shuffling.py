"""Shuffled records, epoch after epoch: those of a whole split, or block by block of a stream."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import torch

from omniflow.errors import DataError
from omniflow.seeds import mixed_seed

if TYPE_CHECKING:
    from torch import Tensor

    from omniflow.interfaces import Dataset

T = TypeVar("T")


class Shuffle(Protocol):
    """Records in an order without end."""

    @property
    def length(self) -> int | None:
        """Records of an epoch; None as long as nobody knows."""

    def record(self, position: int) -> Any:
        """What stands at a position of the run."""

    def part(self, position: int) -> int:
        """Which of several datasets the record at a position is of."""

    def hold(self, records: int) -> None:
        """Hold what so many consecutive records may lie in."""


def shuffled(dataset: Dataset, seed: int, shuffle_block: int) -> WholeShuffle | BlockShuffle:
    """An endless order of a dataset's records, by seed.

    Args:
        dataset: Read by position or streamed.
        seed: Decides the order.
        shuffle_block: Records of a stream that are shuffled among themselves.
    """
    if dataset.is_streaming:
        return BlockShuffle(dataset, seed, shuffle_block)
    return WholeShuffle(len(dataset), seed)


class WholeShuffle:
    """Positions of a split that is read by position, all of them shuffled.

    Args:
        length: Size of the split.
        seed: Decides the order of every epoch.
    """

    def __init__(self, length: int, seed: int) -> None:
        self.length = length
        self.seed = seed
        self._orders: Recent[Tensor] = Recent(2)

    def hold(self, records: int) -> None:
        """Nothing: positions take no memory."""

    def part(self, position: int) -> int:
        """There is one dataset."""
        return 0

    def record(self, position: int) -> Any:
        """Which sample of the split stands at a position of the run."""
        epoch, within = divmod(position, self.length)
        order = self._orders.get(
            epoch, lambda: _permutation(self.length, mixed_seed(self.seed, epoch))
        )
        return int(order[within])


class BlockShuffle:
    """Records of a stream, shuffled within blocks of consecutive ones.

    Where a record stands depends on seed, epoch and block alone. A position is reached by reading
    its block; one that follows the last block read is read on without starting anew. The end of
    the stream is the end of the epoch.

    Args:
        dataset: The stream.
        seed: Decides the order within every block.
        block: Records of a block.

    Attributes:
        length: Records of the stream, None until its end has been seen.
        held: How many blocks are held at a time.
    """

    def __init__(self, dataset: Dataset, seed: int, block: int) -> None:
        self.dataset = dataset
        self.seed = seed
        self.block = block
        self.length: int | None = None
        self._blocks: Recent[list[Any]] = Recent(2)
        self._reading: Iterator[Any] = iter(())
        self._read_to = -1
        self._seen = 0

    def hold(self, records: int) -> None:
        """Hold as many blocks as so many consecutive records may lie in, across two epochs."""
        self._blocks.limit = max(self._blocks.limit, -(-records // self.block) + 2)

    def part(self, position: int) -> int:
        """There is one dataset."""
        return 0

    def record(self, position: int) -> Any:
        """What stands at a position of the run."""
        epoch, within = (0, position) if self.length is None else divmod(position, self.length)
        number, offset = divmod(within, self.block)
        records = self._blocks.get((epoch, number), lambda: self._read(epoch, number))
        if offset < len(records):
            return records[offset]
        # The stream has ended before, which tells the length.
        return self.record(position)

    def _read(self, epoch: int, number: int) -> list[Any]:
        start = number * self.block
        if start != self._read_to:
            self._reading = self.dataset.records(start)
        records = list(islice(self._reading, self.block))
        self._read_to = start + len(records)
        if records:
            self._seen = max(self._seen, self._read_to)
        if len(records) < self.block:
            self._find_end(start + len(records) if records else None)
        order = _permutation(len(records), mixed_seed(mixed_seed(self.seed, epoch), number))
        return [records[place] for place in order]

    def _find_end(self, end: int | None) -> None:
        self._read_to = -1
        if end is None:
            # A run that is resumed may ask for what lies far behind the end.
            end = self._seen + sum(1 for _ in self.dataset.records(self._seen))
        if end == 0:
            raise DataError("the training split is empty", expected="at least one sample")
        if self.length not in (None, end):
            raise DataError(
                f"the stream had {self.length} records before, and has {end} now",
                expected="a source that does not change during a run",
            )
        self.length = end


class Recent(Generic[T]):
    """Values that are expensive to make, the latest few of them kept.

    Args:
        limit: How many.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: dict[Hashable, T] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made if it is not there."""
        if key not in self._kept:
            while len(self._kept) >= self.limit:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = make()
        return self._kept[key]


def _permutation(length: int, seed: int) -> Tensor:
    order = torch.randperm(length, generator=torch.Generator().manual_seed(seed))
    # Half of the memory of a large split's order; as a list it would be ten times as much.
    return order.to(torch.int32) if length < 2**31 else order
