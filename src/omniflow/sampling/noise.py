"""Where the Gaussian draws of a run come from: a seed a sample, whatever the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from omniflow.draws import normal_draws

#: What noise is drawn for: the state or stand-in of a stream, its stand-in in an unconditional row,
#: and the sample of a posterior. A purpose keeps its place, so that seeds keep their meaning.
PURPOSES = (
    "image", "text", "audio",
    "null_image", "null_text", "null_audio",
    "posterior_image", "posterior_audio",
)  # fmt: skip


class NoiseSource(Protocol):
    """Gaussian draws for a batch."""

    def draw(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Draws [batch, *shape] in float32; the same ones each time that they are asked for.

        Args:
            purpose: One of `PURPOSES`.
            shape: Shape of one sample's draws.
        """


class SeededNoise:
    """Draws that depend on a sample's own seed, the purpose and the shape, and on nothing else.

    They are drawn on the CPU, so that every device gets the same ones.

    Args:
        seeds: One a sample.
        device: Where the draws go.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self.seeds = tuple(seeds)
        self.device = device

    def draw(self, purpose: str, shape: Sequence[int]) -> Tensor:
        """Draws [batch, *shape] in float32 for one of `PURPOSES`."""
        return normal_draws(self.seeds, PURPOSES.index(purpose), shape).to(self.device)
