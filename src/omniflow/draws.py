"""Random numbers that belong to a sample, whatever batch, process or device it is on."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from omniflow.seeds import mixed_seed

_SAMPLES, _STEPS = 0, 1


class Draws:
    """Random numbers for a batch: of each sample by its own seed, of the batch by a shared one.

    A number depends on seed, purpose and shape alone: asked for again it is the same, and it does
    not depend on what else is in the batch. All are drawn on the CPU.

    Args:
        seeds: One a sample.
        shared_seed: For decisions about the batch as a whole; batches of one step share it.
    """

    def __init__(self, seeds: Sequence[int], shared_seed: int = 0) -> None:
        self.seeds = tuple(seeds)
        self.shared_seed = shared_seed

    @classmethod
    def at(cls, seed: int, positions: Sequence[int], step: int = 0) -> Draws:
        """The draws of a run's step.

        Args:
            seed: Seed of the run.
            positions: Position of each sample among all that the run reads.
            step: Number of the step.
        """
        of_samples, of_steps = mixed_seed(seed, _SAMPLES), mixed_seed(seed, _STEPS)
        return cls(
            [mixed_seed(of_samples, position) for position in positions],
            mixed_seed(of_steps, step),
        )

    def __len__(self) -> int:
        return len(self.seeds)

    def rows(self, positions: Sequence[int]) -> Draws:
        """The draws of the samples at some positions of the batch."""
        return Draws([self.seeds[position] for position in positions], self.shared_seed)

    def normal(self, purpose: str, *shape: int) -> Tensor:
        """Standard normal draws [batch, *shape] in float32."""
        return normal_draws(self.seeds, _number(purpose), shape)

    def uniform(self, purpose: str, *shape: int) -> Tensor:
        """Draws from [0, 1), float32 [batch, *shape]."""
        number = _number(purpose)
        draws = [torch.rand(shape, generator=_generator(seed, number)) for seed in self.seeds]
        return torch.stack(draws)

    def fractions(self, purpose: str) -> Tensor:
        """One uniform draw from (0, 1) a sample, float64 [batch]."""
        number = _number(purpose)
        return torch.tensor([_fraction(seed, number) for seed in self.seeds], dtype=torch.float64)

    def each(self, purpose: str, probability: float) -> Tensor:
        """Whether it happens to each sample, bool [batch]."""
        return self.fractions(purpose) < probability

    def shared(self, purpose: str) -> float:
        """One uniform draw from (0, 1) for the batch."""
        return _fraction(self.shared_seed, _number(purpose))

    def happens(self, purpose: str, probability: float) -> bool:
        """Whether it happens to the batch."""
        return self.shared(purpose) < probability


def normal_draws(seeds: Sequence[int], number: int, shape: Sequence[int]) -> Tensor:
    """Standard normal draws [seeds, *shape] in float32, on the CPU.

    Args:
        seeds: One a sample.
        number: Keeps draws for different purposes apart.
        shape: Shape of one sample's draws.
    """
    draws = [torch.randn(tuple(shape), generator=_generator(seed, number)) for seed in seeds]
    return torch.stack(draws)


def _generator(seed: int, number: int) -> torch.Generator:
    return torch.Generator().manual_seed(mixed_seed(seed, number))


def _fraction(seed: int, number: int) -> float:
    # 52 bits and a half: never 0, and never rounded to 1.
    return ((mixed_seed(seed, number) >> 11) + 0.5) / 2**52


def _number(purpose: str) -> int:
    return zlib.crc32(purpose.encode())
