"""MLP head with layer norms, as the research script trains it."""

from torch import Tensor

from omniflow.interfaces import Head, HeadOutput
from omniflow.models.normed_perceptron import NormedPerceptron


class NormMLPHead(Head):
    """Perceptron with a layer norm after every linear layer.

    Features as wide as latents are added to what it makes of them. Checkpoints of the research
    script hold heads like this one, over features `x0`.

    Args:
        feature_dim: Width of the features; filled in from the backbone.
        latent_dim: Width of one text latent; filled in from the backbone.
        hidden_dim: Width of the hidden layers, at least 1.
        layers: Linear layers, at least 2.
        dropout: Share of hidden units zeroed while training, in [0, 1).

    Raises:
        ConfigError: If an option is outside its range.
    """

    loss_names = ()

    def __init__(
        self,
        *,
        feature_dim: int,
        latent_dim: int,
        hidden_dim: int = 4096,
        layers: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.perceptron = NormedPerceptron(
            feature_dim, latent_dim, hidden_dim=hidden_dim, layers=layers, dropout=dropout
        )

    def forward(self, features: Tensor) -> HeadOutput:
        """Map features [batch, tokens, feature_dim] to latents [batch, tokens, latent_dim]."""
        return HeadOutput(latents=self.perceptron(features))
