"""Refiner: a residual correction of predicted text latents."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Refiner(nn.Module, ABC):
    """Base of every refiner.

    The constructor takes `latent_dim` (filled in from the backbone) and the refiner's own options,
    all keyword-only. The refiner sits between the head and the text decoder.
    """

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """Correct latents [batch, tokens, latent_dim] to latents of the same shape."""
