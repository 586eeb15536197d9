"""Several datasets read as one: in the proportion of their weights, or of their sizes."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from omniflow.errors import ConfigError, RecordError, UnknownLengthError
from omniflow.interfaces import Dataset, Sample
from omniflow.seeds import mixed_seed
from omniflow.training.shuffling import BlockShuffle, Shuffle, WholeShuffle, shuffled
from omniflow.training.turns import WeightedTurns, interleaved


@dataclass(frozen=True)
class Part:
    """A dataset among others.

    Args:
        label: What it is called, unlike the others.
        dataset: One split of it.
        weight: How often it is drawn beside the others, above 0; None where none has a weight.
    """

    label: str
    dataset: Dataset
    weight: float | None = None


class MixedDataset(Dataset):
    """Several datasets as one. A record is the number of its part, and the part's own record.

    With weights, each is drawn as often as its weight says, small ones again and again: `order`
    shuffles each by itself. Without, every sample of all of them is read once an epoch. Read from
    one end to the other, each of them comes once as well, mixed in the same proportion.

    Args:
        parts: The datasets, none of them empty; either all of them have a weight or none.

    Raises:
        ConfigError: If one is streamed and there are no weights: nobody knows their sizes.
    """

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts
        self.is_streaming = any(part.dataset.is_streaming for part in parts)
        self.is_weighted = all(part.weight is not None for part in parts)
        if self.is_streaming and not self.is_weighted:
            streamed = next(part.label for part in parts if part.dataset.is_streaming)
            raise ConfigError(
                f"dataset.{streamed}.weight",
                None,
                expected="a weight, such as --dataset NAME:2: it is streamed, so nobody knows in "
                "which proportion to the others it is to be read",
            )
        self.weights = [
            float(len(part.dataset)) if part.weight is None else part.weight for part in parts
        ]

    def __len__(self) -> int:
        if self.is_streaming:
            raise UnknownLengthError("one of the datasets", expected="streaming: false for all")
        return sum(len(part.dataset) for part in self.parts)

    def __getitem__(self, index: int) -> Sample:
        return self.decode(self.place(index))

    def place(self, index: int) -> tuple[int, int]:
        """Part and position there, counted through the parts one after the other."""
        for number, part in enumerate(self.parts):
            if index < len(part.dataset):
                return number, index
            index -= len(part.dataset)
        raise IndexError(index)

    def records(self, start: int = 0) -> Iterator[Any]:
        """Everything once, the parts mixed by weight for as long as they last."""
        sources = {number: part.dataset.records() for number, part in enumerate(self.parts)}
        return islice(interleaved(sources, self.weights), start, None)

    def decode(self, record: tuple[int, Any]) -> Sample:
        """The sample; its id begins with the label of its dataset."""
        number, own = record
        part = self.parts[number]
        try:
            sample = part.dataset.decode(own)
        except RecordError as error:
            raise error.within(error.dataset or part.label) from error
        return replace(sample, id=f"{part.label}/{sample.id}")

    def length_of(self, record: tuple[int, Any]) -> int | None:
        """The length that the part knows."""
        number, own = record
        return self.parts[number].dataset.length_of(own)

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Restrict every part."""
        for part in self.parts:
            part.dataset.restrict_to(modalities)

    def notices(self) -> list[str]:
        """In which proportion they are mixed, and the notices of every part."""
        told = [notice for part in self.parts for notice in part.dataset.notices()]
        return [f"mixing {self._mix()}", *told]

    def shares(self) -> dict[str, float]:
        """Label -> share of the samples that are drawn."""
        return {
            part.label: weight / sum(self.weights)
            for part, weight in zip(self.parts, self.weights, strict=True)
        }

    def shuffled(self, seed: int, shuffle_block: int) -> Shuffle:
        """An endless order of the records of this dataset, by seed.

        Args:
            seed: Decides the order of each part and that of their turns.
            shuffle_block: Records of a stream that are shuffled among themselves.
        """
        if self.is_weighted:
            return MixedShuffle(self, seed, shuffle_block)
        return JoinedShuffle(self, seed)

    def _mix(self) -> str:
        told = []
        for part, share in zip(self.parts, self.shares().values(), strict=True):
            is_stream = part.dataset.is_streaming
            size = "streamed" if is_stream else f"{len(part.dataset):,} samples"
            told.append(f"{part.label} {100 * share:.4g} % ({size})")
        return ", ".join(told)


class JoinedShuffle(WholeShuffle):
    """Samples of several datasets, all of them shuffled together."""

    def __init__(self, dataset: MixedDataset, seed: int) -> None:
        super().__init__(len(dataset), seed)
        self.dataset = dataset

    def record(self, position: int) -> Any:
        """Part and record at a position of the run."""
        return self.dataset.place(super().record(position))

    def part(self, position: int) -> int:
        """Which dataset the record at a position is of."""
        number, _ = self.dataset.place(super().record(position))
        return number


class MixedShuffle:
    """Records of several datasets by weight, each in an endless order of its own.

    Args:
        dataset: The datasets.
        seed: Decides whose turn it is, and every order.
        shuffle_block: Records of a stream that are shuffled among themselves.

    Attributes:
        length: Samples of an epoch: as many as all of them have together; None with a stream.
    """

    def __init__(self, dataset: MixedDataset, seed: int, shuffle_block: int) -> None:
        self.length = None if dataset.is_streaming else len(dataset)
        self.labels = [part.label for part in dataset.parts]
        self.turns = WeightedTurns(dataset.weights, seed)
        self._shuffles: list[WholeShuffle | BlockShuffle] = [
            shuffled(part.dataset, mixed_seed(seed, number), shuffle_block)
            for number, part in enumerate(dataset.parts)
        ]

    def record(self, position: int) -> Any:
        """Part and record at a position of the run."""
        number, turn = self.turns.turn(position)
        return number, self._shuffles[number].record(turn)

    def part(self, position: int) -> int:
        """Which dataset the record at a position is of."""
        return self.turns.turn(position)[0]

    def drawn(self, positions: int) -> dict[str, int]:
        """Label -> how many of the first positions are of that dataset."""
        return dict(zip(self.labels, self.turns.counts(positions), strict=True))

    def hold(self, records: int) -> None:
        """Hold what so many consecutive records may lie in."""
        for each in self._shuffles:
            each.hold(records)
