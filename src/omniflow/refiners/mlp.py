"""MLP refiner: a gated residual perceptron over each latent."""

import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.errors import ConfigError
from omniflow.interfaces import Refiner


class MLPRefiner(Refiner):
    """Gated perceptron whose output is added to each latent; starts as the identity.

    `latents + down(... silu(gate(latents)) * up(latents))` (SwiGLU, arXiv 2002.05202): with the
    defaults and latents of width 64 it has 49 728 parameters, 3 x 64 x 256 weights and 576 biases.

    Args:
        latent_dim: Width of one text latent; filled in from the backbone.
        hidden_dim: Width of the hidden layers, at least 1.
        layers: Linear layers from latent to latent, at least 2: the gated first one and the last;
            more put perceptron layers of `hidden_dim` between them.

    Raises:
        ConfigError: If an option is outside its range.
    """

    def __init__(self, *, latent_dim: int, hidden_dim: int = 256, layers: int = 2) -> None:
        super().__init__()
        if hidden_dim < 1:
            raise ConfigError("hidden_dim", hidden_dim, expected="a whole number >= 1")
        if layers < 2:
            raise ConfigError("layers", layers, expected="a whole number >= 2")
        self.gate_and_up = nn.Linear(latent_dim, 2 * hidden_dim)
        self.between = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.SiLU())
                for _ in range(layers - 2)
            )
        )
        self.down = nn.Linear(hidden_dim, latent_dim)
        nn.init.zeros_(self.down.weight)
        nn.init.zeros_(self.down.bias)

    def forward(self, latents: Tensor) -> Tensor:
        """Correct latents [batch, tokens, latent_dim] to latents of the same shape."""
        gate, up = self.gate_and_up(latents).chunk(2, dim=-1)
        correction: Tensor = self.down(self.between(F.silu(gate) * up))
        return latents + correction
