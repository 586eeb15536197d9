"""Samples of similar length side by side, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from omniflow.seeds import mixed_seed
from omniflow.training.shuffling import Recent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from omniflow.training.shuffling import Shuffle

#: Steps among which samples are exchanged: enough to save most of the padding, and few enough that
#: a step's samples come from everywhere in a shuffled split.
WINDOW_STEPS = 16

#: Keeps the order of steps apart from other draws.
_STEPS_SEED = 0x1E46


class LengthGroups:
    """Exchanges the samples of neighbouring steps, so that each step has texts of similar length.

    Positions of an epoch are cut into windows of some steps. Within each, samples are sorted by
    length and dealt to the steps, whose order is then shuffled: every sample is read once an epoch
    as before, and where depends on seed, position and samples a step alone.

    Args:
        shuffle: The order that is rearranged.
        length_at: Length of the sample at a position of that order.
        step: Samples of a step, over all of its batches and processes.
        seed: Decides the order of the steps.
    """

    def __init__(
        self,
        shuffle: Shuffle,
        length_at: Callable[[int], int],
        step: int,
        seed: int,
    ) -> None:
        self.shuffle = shuffle
        self.length_at = length_at
        self.step = step
        self.seed = mixed_seed(seed, _STEPS_SEED)
        self._windows: Recent[dict[int, int]] = Recent(2)
        shuffle.hold(WINDOW_STEPS * step)

    def place(self, position: int) -> int:
        """Which position of the order stands at a position of the run."""
        shuffle, size = self.shuffle, WINDOW_STEPS * self.step
        if shuffle.length is None:
            # Asked for, a record that lies behind the end of a stream tells where that is.
            shuffle.record(position)
        epoch_start = position - position % shuffle.length if shuffle.length else 0
        start = position - (position - epoch_start) % size
        if shuffle.length is None:
            shuffle.record(start + size - 1)
        end = start + size
        if shuffle.length is not None:
            end = min(end, epoch_start + shuffle.length)
        return self._windows.get((start, end), lambda: self._arranged(start, end))[position]

    def _arranged(self, start: int, end: int) -> dict[int, int]:
        """Position of the run to position of the order, for a window."""
        by_length = iter(sorted(range(start, end), key=self.length_at))
        steps = list(self._steps(start, end))
        generator = torch.Generator().manual_seed(mixed_seed(self.seed, start))
        order = torch.randperm(len(steps), generator=generator).tolist()
        return {
            position: place
            for number in order
            for position, place in zip(steps[number], by_length, strict=False)
        }

    def _steps(self, start: int, end: int) -> Iterator[range]:
        """The parts of a window that lie in one step each."""
        while start < end:
            cut = min(end, start - start % self.step + self.step)
            yield range(start, cut)
            start = cut
