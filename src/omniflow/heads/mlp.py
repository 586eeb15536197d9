"""MLP head: text features to text latents, one position at a time."""

from torch import Tensor, nn

from omniflow.errors import ConfigError
from omniflow.interfaces import Head, HeadOutput


class MLPHead(Head):
    """Two-layer perceptron over the backbone's text features.

    Args:
        feature_dim: Width of the features; filled in from the backbone.
        latent_dim: Width of one text latent; filled in from the backbone.
        hidden_dim: Width of the hidden layer, at least 1.
        dropout: Share of hidden units zeroed while training, in [0, 1).

    Raises:
        ConfigError: If an option is outside its range.
    """

    loss_names = ()

    def __init__(
        self, *, feature_dim: int, latent_dim: int, hidden_dim: int = 4096, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if hidden_dim < 1:
            raise ConfigError("hidden_dim", hidden_dim, expected="a whole number >= 1")
        if not 0.0 <= dropout < 1.0:
            raise ConfigError("dropout", dropout, expected="a number in [0, 1)")
        self.layers = nn.Sequential(
            nn.Linear(feature_dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, latent_dim),
        )

    def forward(self, features: Tensor) -> HeadOutput:
        """Map features [batch, tokens, feature_dim] to latents [batch, tokens, latent_dim]."""
        return HeadOutput(latents=self.layers(features))
