"""Which samples a run reads: a function of seed and position, so that a run can resume."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import lru_cache

import torch

from omniflow.errors import DataError
from omniflow.interfaces import Dataset, Sample
from omniflow.seeds import mixed_seed


class JoinedDataset(Dataset):
    """Several datasets one after the other; ids keep apart by the dataset's position.

    Args:
        parts: The datasets, at least one, none of them empty.
    """

    def __init__(self, parts: Sequence[Dataset]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Sample:
        for position, part in enumerate(self.parts):
            if index < len(part):
                sample = part[index]
                return replace(sample, id=f"{position}/{sample.id}")
            index -= len(part)
        raise IndexError(index)

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
    processes does not matter, and a batch may reach into the next epoch.

    Args:
        dataset: Where the samples come from.
        seed: Decides the order of every epoch.

    Raises:
        DataError: If the dataset is empty.
    """

    def __init__(self, dataset: Dataset, seed: int) -> None:
        if len(dataset) == 0:
            raise DataError("the training split is empty", expected="at least one sample")
        self.dataset = dataset
        self._order = lru_cache(maxsize=2)(lambda epoch: _permutation(len(dataset), seed, epoch))

    def samples(self, positions: Sequence[int]) -> list[Sample]:
        """The samples at some positions of the run."""
        places = [divmod(position, len(self.dataset)) for position in positions]
        return [self.dataset[self._order(epoch)[within]] for epoch, within in places]


def _permutation(length: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(mixed_seed(seed, epoch))
    order: list[int] = torch.randperm(length, generator=generator).tolist()
    return order
