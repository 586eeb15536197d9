"""Adaptive head: a perceptron that the timestep scales and shifts."""

import math

import torch
from torch import Tensor, nn

from omniflow.errors import ConfigError
from omniflow.interfaces import Head, HeadOutput


class AdaptiveHead(Head):
    """Two-layer perceptron whose hidden layer is modulated by the noise level.

    The modulation starts at zero, so that the head begins as a plain perceptron.

    Args:
        feature_dim: Width of the features; filled in from the backbone.
        latent_dim: Width of one text latent; filled in from the backbone.
        hidden_dim: Width of the hidden layer.
        frequencies: Number of sine and cosine pairs that the timestep is told in.

    Raises:
        ConfigError: If a number is below 1.
    """

    def __init__(
        self, *, feature_dim: int, latent_dim: int, hidden_dim: int = 1024, frequencies: int = 16
    ) -> None:
        super().__init__()
        for name, value in (("hidden_dim", hidden_dim), ("frequencies", frequencies)):
            if value < 1:
                raise ConfigError(name, value, expected="a whole number >= 1")
        self.frequencies = frequencies
        self.enter = nn.Linear(feature_dim, hidden_dim)
        self.modulation = nn.Linear(2 * frequencies, 2 * hidden_dim)
        self.leave = nn.Linear(hidden_dim, latent_dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, features: Tensor, timesteps: Tensor) -> HeadOutput:
        """Map features [batch, tokens, feature_dim] at timesteps [batch] to latents."""
        scale, shift = self.modulation(self._embed(timesteps))[:, None].chunk(2, dim=-1)
        hidden = nn.functional.gelu(self.enter(features) * (1 + scale) + shift)
        return HeadOutput(latents=self.leave(hidden))

    def _embed(self, timesteps: Tensor) -> Tensor:
        """Sines and cosines of the noise level, octave by octave: [batch, 2 * frequencies]."""
        octaves = 2.0 ** torch.arange(self.frequencies, device=timesteps.device)
        angles = timesteps.float()[:, None] / 1000 * math.pi * octaves
        return torch.cat([angles.sin(), angles.cos()], dim=-1).to(self.modulation.weight.dtype)
