"""A backbone of which the sizes are known and nothing else: it computes shapes, not values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
from torch import Tensor

from omniflow.backbones.fresh import fresh_config
from omniflow.backbones.joint_call import call_transformer
from omniflow.errors import UsageError
from omniflow.interfaces.backbone import (
    Backbone,
    JointPrediction,
    Streams,
    TextCondition,
    TextFeatures,
    TokenBatch,
)
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.published_sizes import (
    CLIP_TOKENS,
    CLIP_WIDTH,
    IMAGE_FACTOR,
    IMAGE_SIZE,
    T5,
    TEXT_VAE,
    TRANSFORMER,
)
from omniflow.models.text_vae import TextVAE, TextVAEConfig

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.interfaces import Audio


class PublishedSizes(Backbone):
    """The published models' transformer and text VAE on torch's meta device, without weights.

    What can be asked of it are shapes, and what a training step would take. Pictures, sounds and
    CLIP states have the published shapes; a text is as long as it may be. The autoencoders of
    pictures and sounds and the encoders of conditions are not there: nothing counts them.

    Args:
        dtype: Precision of the frozen weights.
        transformer_config: Contents of a transformer's config.json, in place of the published one;
            its transformer would start from random weights.
    """

    transformer: JointTransformer
    modalities = ("image", "text", "audio")

    def __init__(
        self,
        *,
        dtype: Literal["fp32", "bf16"] = "bf16",
        transformer_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        config = JointTransformerConfig.from_dict(TRANSFORMER)
        if transformer_config is not None:
            config = fresh_config(transformer_config, config)
        vae_config = TextVAEConfig.from_dict(TEXT_VAE)
        with torch.device("meta"):
            self.transformer = JointTransformer(config, text_output_dim=vae_config.vae_dim)
            self.text_vae = TextVAE(vae_config, T5)
        self.text_projection = self.transformer.text_output
        self.latent_dim = vae_config.vae_dim
        self.latent_tokens = vae_config.n_tokens
        self.pooled_dim = config.pooled_projection_dim
        self.feature_dims = {"hidden": config.joint_attention_dim, "x0": vae_config.vae_dim}
        self.requires_grad_(False)
        self.to("meta", torch.float32 if dtype == "fp32" else torch.bfloat16)
        self.train(False)

    def load_weights(self, *, device: torch.device | None = None) -> None:
        """Refuse to run: there are no weights.

        Raises:
            UsageError: Always, but for the meta device.
        """
        if device is None or device.type != "meta":
            raise UsageError(
                "backbone published-sizes has sizes and no weights",
                where="backbone",
                expected="--dry-run --device meta beside it, or a backbone with weights",
            )

    def identity(self) -> dict[str, str]:
        """Nothing that a saved model could find again."""
        return {"id": "published-sizes", "revision": "", "hash": ""}

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, as every frozen backbone does."""
        return super().train(False)

    def tokenise(self, texts: Sequence[str], *, max_length: int) -> TokenBatch:
        """Ids of texts that are all `max_length` long."""
        ids = torch.ones(len(texts), max_length, dtype=torch.long)
        prompts = torch.ones(len(texts), self.text_vae.config.max_prompt_tokens, dtype=torch.long)
        return TokenBatch(
            prompt_ids=prompts,
            is_empty=torch.zeros(len(texts), dtype=torch.bool),
            input_ids=ids,
            labels=ids,
            cut=0,
        )

    def encode_text(self, prompt_ids: Tensor, is_empty: Tensor) -> Tensor:
        """Clean text latents [batch, latent_tokens, latent_dim]."""
        return self.text_vae.encode(prompt_ids, is_empty).float()

    def text_features(
        self, text_latents: Tensor, timesteps: Tensor, pooled: Tensor | None = None
    ) -> TextFeatures:
        """Run the joint transformer on a text stream alone; arguments as in `Backbone`."""
        if pooled is None:
            pooled = text_latents.new_zeros(len(text_latents), self.pooled_dim)
        streams, levels = Streams(text=text_latents), Streams(text=timesteps)
        return cast(TextFeatures, self.predict(streams, levels, pooled).text)

    def predict(
        self,
        streams: Streams,
        timesteps: Streams,
        pooled: Tensor,
        *,
        split_cond: bool = False,
        predict_text: bool = True,
    ) -> JointPrediction:
        """Run the joint transformer on the streams that are passed; arguments as in `Backbone`."""
        return call_transformer(
            self.transformer,
            streams,
            timesteps,
            pooled,
            split_cond=split_cond,
            predict_text=predict_text,
        )

    def latent_shape(
        self, modality: str, *, height: int | None = None, width: int | None = None
    ) -> tuple[int, ...]:
        """Shape of one sample's latents; arguments as in `Backbone`."""
        if modality == "text":
            return self.latent_tokens, self.latent_dim
        if modality == "audio":
            return self.transformer.config.audio_shape
        sides = (IMAGE_SIZE if pixels is None else pixels for pixels in (height, width))
        return self.transformer.config.in_channels, *(side // IMAGE_FACTOR for side in sides)

    def encode_image(self, images: Sequence[Image], *, noise: Tensor | None = None) -> Tensor:
        """Latents of pictures of the published size."""
        return self._shaped(len(images), *self.latent_shape("image"))

    def encode_audio(self, sounds: Sequence[Audio], *, noise: Tensor | None = None) -> Tensor:
        """Latents of sounds."""
        return self._shaped(len(sounds), *self.latent_shape("audio"))

    def condition_text(self, texts: Sequence[str]) -> TextCondition:
        """CLIP states and embeddings of the published shape."""
        return TextCondition(
            states=self._shaped(len(texts), CLIP_TOKENS, CLIP_WIDTH),
            pooled=self._shaped(len(texts), self.pooled_dim),
        )

    def pool_image(self, images: Sequence[Image]) -> Tensor:
        """Pooled condition [batch, pooled_dim]."""
        return self._shaped(len(images), self.pooled_dim)

    def pool_audio(self, sounds: Sequence[Audio]) -> Tensor:
        """Pooled condition [batch, pooled_dim]."""
        return self._shaped(len(sounds), self.pooled_dim)

    def decode_logits(self, text_latents: Tensor, input_ids: Tensor) -> Tensor:
        """Teacher-forced logits [batch, tokens, vocabulary]."""
        return self.text_vae.logits(text_latents, input_ids)

    def token_costs(
        self, text_latents: Tensor, input_ids: Tensor, positions: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Costs of single tokens, both [targets]."""
        return self.text_vae.token_costs(text_latents, input_ids, positions, targets)

    def generate_text(self, text_latents: Tensor, *, max_new_tokens: int) -> list[str]:
        """Refuse: a text would be a value.

        Raises:
            UsageError: Always.
        """
        raise self._lacks("weights to make texts with")

    def _shaped(self, *shape: int) -> Tensor:
        return torch.empty(shape, device="meta")
