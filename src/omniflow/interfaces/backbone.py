"""Backbone: a generative OmniFlow model, seen from the heads, objectives and samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn


@dataclass(frozen=True)
class TextFeatures:
    """What the transformer says about the text stream.

    Args:
        hidden: What the backbone's own last text projection reads
            [batch, tokens, joint_attention_dim].
        x0: What it writes: the predicted clean latents [batch, tokens, latent_dim].
    """

    hidden: Tensor
    x0: Tensor


@dataclass(frozen=True)
class TokenBatch:
    """Texts ready for the text VAE.

    Args:
        prompt_ids: Ids for the T5 encoder [batch, prompt_tokens].
        is_empty: Whether the prompt is the empty string [batch], bool.
        input_ids: Ids for the text decoder [batch, tokens]: BOS, the text, EOS, padding on the
            right.
        labels: `input_ids` with padding replaced by -100 [batch, tokens].
        cut: How many of the texts were longer than `max_length` and have been cut.
    """

    prompt_ids: Tensor
    is_empty: Tensor
    input_ids: Tensor
    labels: Tensor
    cut: int


class Backbone(nn.Module, ABC):
    """Base of every backbone: the frozen generative model that heads and refiners are trained on.

    Construction reads configuration only; `load_weights` fills the tensors in, so that everything
    that can be refused is refused before a weight is read.
    """

    #: Partial recipe for this backbone: options that suit its size, below anything a person says.
    recipe_defaults: ClassVar[Mapping[str, Any]] = {}

    #: Which streams can be made from raw inputs: those with an autoencoder.
    modalities: tuple[str, ...]
    latent_dim: int
    latent_tokens: int
    pooled_dim: int
    feature_dims: Mapping[str, int]

    #: The last text projection, features to latents: weight [latent_dim, joint_attention_dim].
    text_projection: nn.Linear

    @abstractmethod
    def load_weights(self) -> None:
        """Read the weights that the constructor only looked up."""

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What a saved model needs to find this backbone again: id, revision, content hash."""

    @abstractmethod
    def tokenise(self, texts: Sequence[str], *, max_length: int) -> TokenBatch:
        """Texts to ids, on the CPU; touches no weight, so that a data worker can do it."""

    @abstractmethod
    def encode_text(self, prompt_ids: Tensor, is_empty: Tensor) -> Tensor:
        """Clean text latents [batch, latent_tokens, latent_dim] (mean path, no sampling)."""

    @abstractmethod
    def text_features(
        self, text_latents: Tensor, timesteps: Tensor, pooled: Tensor | None = None
    ) -> TextFeatures:
        """Run the joint transformer on a text stream alone.

        Args:
            text_latents: Noisy text latents [batch, tokens, latent_dim].
            timesteps: Noise level of the text times 1000, [batch].
            pooled: Pooled condition [batch, pooled_dim]; zeros when None.
        """

    @abstractmethod
    def decode_logits(self, text_latents: Tensor, input_ids: Tensor) -> Tensor:
        """Teacher-forced logits [batch, tokens, vocabulary]; position j predicts token j + 1."""

    @abstractmethod
    def generate_text(self, text_latents: Tensor, *, max_new_tokens: int) -> list[str]:
        """Greedy decoding of latents to texts, special tokens removed."""
