"""VQ head over a perceptron with layer norms, as the research script trains it."""

from torch import Tensor

from omniflow.interfaces import Head, HeadOutput
from omniflow.models.normed_perceptron import NormedPerceptron
from omniflow.models.quantiser import VectorQuantiser


class NormVQHead(Head):
    """Head `norm-mlp` whose output is replaced with the nearest code.

    The quantiser is that of head `vq`: its codebook follows the data by moving averages, is saved
    with the head and is no parameter. Loss `vq` is the commitment loss.

    Args:
        feature_dim: Width of the features; filled in from the backbone.
        latent_dim: Width of one text latent; filled in from the backbone.
        hidden_dim: Width of the hidden layers, at least 1.
        layers: Linear layers, at least 2.
        dropout: Share of hidden units zeroed while training, in [0, 1).
        codebook_size: Number of codes, at least 2.
        commitment_weight: Weight of the pull of the perceptron's output towards its codes, >= 0.
        decay: Share of the codebook's moving averages that each step keeps, in [0, 1).
        revive_after: A code that was not chosen while this many times `codebook_size` vectors went
            by is replaced with a vector of the batch, >= 0; 0 never replaces one.

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
        layers: int = 2,
        dropout: float = 0.1,
        codebook_size: int = 8192,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        revive_after: float = 8.0,
    ) -> None:
        super().__init__()
        self.perceptron = NormedPerceptron(
            feature_dim, latent_dim, hidden_dim=hidden_dim, layers=layers, dropout=dropout
        )
        self.quantiser = VectorQuantiser(
            latent_dim,
            codebook_size,
            commitment_weight=commitment_weight,
            decay=decay,
            revive_after=revive_after,
        )

    def forward(self, features: Tensor) -> HeadOutput:
        """Map features [batch, tokens, feature_dim] to latents [batch, tokens, latent_dim].

        The latents have the dtype of the perceptron's, `codes` are [batch, tokens].
        """
        vectors = self.perceptron(features)
        quantised = self.quantiser(vectors)
        return HeadOutput(
            latents=quantised.latents.to(vectors.dtype),
            losses={"vq": quantised.loss},
            codes=quantised.codes,
        )

    def statistics(self) -> dict[str, float]:
        """`code_perplexity` and `dead_codes` of recent training steps; moves data to the host."""
        return self.quantiser.statistics()
