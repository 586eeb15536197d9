"""VQ head: text features to the nearest entry of a learned codebook of text latents."""

from typing import Literal

from torch import Tensor, nn

from omniflow.errors import ConfigError
from omniflow.interfaces import Head, HeadOutput
from omniflow.models.quantiser import VectorQuantiser


class VQHead(Head):
    """Two-layer perceptron whose output is replaced with the nearest code.

    The quantiser works in float32 whatever the precision of the perceptron. Its codebook follows
    the data by moving averages and is saved with the head, but it is no parameter: no optimiser
    sees it. Loss `vq` is the commitment loss. `docs/quantiser.md` says why this quantiser.

    Args:
        feature_dim: Width of the features; filled in from the backbone.
        latent_dim: Width of one text latent; filled in from the backbone.
        hidden_dim: Width of the perceptron's hidden layer, at least 1.
        codebook_size: Number of codes, at least 2.
        commitment_weight: Weight of the pull of the perceptron's output towards its codes, >= 0.
        decay: Share of the codebook's moving averages that each step keeps, in [0, 1).
        revive_after: A code that was not chosen while this many times `codebook_size` vectors went
            by is replaced with a vector of the batch, >= 0; 0 never replaces one, and the codebook
            may collapse.
        gradient: How gradients pass the quantiser.

    Raises:
        ConfigError: If an option is outside its range.
    """

    loss_names = ("vq",)

    def __init__(
        self,
        *,
        feature_dim: int,
        latent_dim: int,
        hidden_dim: int = 4096,
        codebook_size: int = 8192,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        revive_after: float = 8.0,
        gradient: Literal["straight-through", "rotation"] = "straight-through",
    ) -> None:
        super().__init__()
        if hidden_dim < 1:
            raise ConfigError("hidden_dim", hidden_dim, expected="a whole number >= 1")
        self.codebook_size = codebook_size
        self.layers = nn.Sequential(
            nn.Linear(feature_dim, hidden_dim), nn.GELU(), nn.Linear(hidden_dim, latent_dim)
        )
        self.quantiser = VectorQuantiser(
            latent_dim,
            codebook_size,
            commitment_weight=commitment_weight,
            decay=decay,
            revive_after=revive_after,
            gradient=gradient,
        )

    def forward(self, features: Tensor) -> HeadOutput:
        """Map features [batch, tokens, feature_dim] to latents [batch, tokens, latent_dim].

        The latents have the dtype of the head's weights, `codes` are [batch, tokens].
        """
        quantised = self.quantiser(self.layers(features))
        return HeadOutput(
            latents=quantised.latents.to(self.layers[0].weight.dtype),
            losses={"vq": quantised.loss},
            codes=quantised.codes,
        )

    def statistics(self) -> dict[str, float]:
        """`code_perplexity` and `dead_codes` of recent training steps; moves data to the host."""
        return self.quantiser.statistics()
