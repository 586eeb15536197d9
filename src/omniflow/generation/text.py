"""Denoising of text latents with the model's own prediction of the clean ones."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniflow.errors import ConfigError
from omniflow.models.flow_scheduler import (
    SAMPLING_SHIFT,
    euler_step,
    sigmas_from,
    velocity_from_x0,
)

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


@torch.no_grad()
def denoise_text(
    model: OmniFlowModel,
    text_latents: Tensor,
    *,
    level: float,
    steps: int = 28,
    shift: float = SAMPLING_SHIFT,
    pooled: Tensor | None = None,
) -> Tensor:
    """Clean text latents from noisy ones: head and refiner predict, Euler steps follow.

    Args:
        model: The model; its head and refiner stand in for the backbone's last text projection.
        text_latents: Latents at noise level `level` [batch, tokens, latent_dim].
        level: 1 is pure noise; at 0 the latents are clean already, and one prediction is made.
        steps: Euler steps from `level` to 0.
        shift: Moves the steps towards noise, see `sigmas_from`.
        pooled: Pooled condition [batch, pooled_dim].

    Raises:
        ConfigError: If a number is out of its range.
    """
    if level == 0:
        return _predict(model, text_latents, 0.0, pooled)
    sigmas = sigmas_from(level, steps, shift).tolist()
    latents = text_latents
    for sigma, next_sigma in pairwise(sigmas):
        velocity = velocity_from_x0(latents, _predict(model, latents, sigma, pooled), sigma)
        latents = euler_step(latents, velocity, sigma, next_sigma)
    return latents


def noise_like(latents: Tensor, seeds: list[int]) -> Tensor:
    """Gaussian noise [batch, ...], each sample from a seed of its own.

    A sample's noise does not depend on the batch it is in, nor on the device.

    Raises:
        ConfigError: If there is not one seed a sample.
    """
    if len(seeds) != len(latents):
        raise ConfigError("seeds", seeds, expected=f"{len(latents)} of them, one a sample")
    draws = [
        torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    return torch.stack(draws).to(latents)


def _predict(model: OmniFlowModel, latents: Tensor, sigma: float, pooled: Tensor | None) -> Tensor:
    timesteps = torch.full((len(latents),), sigma * 1000, device=latents.device)
    predicted: Tensor = model(latents, timesteps, pooled).latents
    return predicted
