"""MLP refiner with layer norms, as the research script trains it."""

from torch import Tensor

from omniflow.interfaces import Refiner
from omniflow.models.normed_perceptron import NormedPerceptron


class NormMLPRefiner(Refiner):
    """Perceptron with a layer norm after every linear layer, whose output is added to each latent.

    It does not start as the identity, as `mlp` does. Checkpoints of the research script hold
    refiners like this one.

    Args:
        latent_dim: Width of one text latent; filled in from the backbone.
        hidden_dim: Width of the hidden layers, at least 1.
        layers: Linear layers, at least 2.
        dropout: Share of hidden units zeroed while training, in [0, 1).

    Raises:
        ConfigError: If an option is outside its range.
    """

    def __init__(
        self, *, latent_dim: int, hidden_dim: int = 256, layers: int = 2, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.perceptron = NormedPerceptron(
            latent_dim, latent_dim, hidden_dim=hidden_dim, layers=layers, dropout=dropout
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Correct latents [batch, tokens, latent_dim] to latents of the same shape."""
        corrected: Tensor = self.perceptron(latents)
        return corrected
