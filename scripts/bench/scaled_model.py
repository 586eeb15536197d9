"""A backbone of random weights for benchmarks: the published one's parts, a sixth as deep.

The transformer has 4 layers of 768 where the published one has 24 of 1536, and reads as many
tokens: 1024 of a picture of 512 x 512, 1024 of a sound of ten seconds, 32 of a text. A forward pass
takes a twentieth of its arithmetic, and so, or less, does every part around it: encoders,
autoencoders, text decoder (a 20th to a 28th).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from omniflow.backbones.joint_call import call_transformer
from omniflow.interfaces.backbone import (
    Backbone,
    JointPrediction,
    Streams,
    TextCondition,
    TextFeatures,
    TokenBatch,
)
from omniflow.models.joint_initialisation import initialise
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.text_vae import TextVAE, TextVAEConfig

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SIZE, FRAMES, MELS, CLIP_TOKENS = 512, 1024, 64, 77

TRANSFORMER = JointTransformerConfig(
    num_layers=4, attention_head_dim=64, num_attention_heads=12, caption_projection_dim=768,
    joint_attention_dim=2048, pooled_projection_dim=1024,
)  # fmt: skip

TEXT_VAE = {
    "vocab_size": 12800, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 4,
    "num_attention_heads": 16, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
    "vae_config": {
        "prompt_size": 512, "vae_dim": 64, "vae_hidden_size": 768, "n_tokens": 32,
        "pre_norm": False, "norm_type": "layer_norm", "vae_scale": 1.0, "qformer_layers": 1,
        "qformer_intermediate_size": 1536,
    },
}  # fmt: skip

T5 = {
    "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 1408, "num_layers": 4, "num_heads": 8,
    "feed_forward_proj": "gated-gelu", "is_encoder_decoder": False, "use_cache": False,
}  # fmt: skip


class ScaledBackbone(Backbone):
    """All parts of a published backbone that training uses, with random weights."""

    modalities = ("image", "text", "audio")
    latent_dim, latent_tokens, pooled_dim = 64, 32, 1024
    feature_dims: Mapping[str, int] = {"hidden": 2048, "x0": 64}

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.transformer = JointTransformer(TRANSFORMER, text_output_dim=self.latent_dim)
        initialise(self.transformer)
        self.text_projection = self.transformer.text_output
        self.text_vae = TextVAE(TextVAEConfig.from_dict(TEXT_VAE), T5)
        # A fifth of the channels of the published image VAE and of AudioLDM2's audio VAE.
        self.image_vae = _vae(channels=(26, 52, 104, 104), of=3, latents=16)
        self.audio_vae = _vae(channels=(24, 48, 96), of=1, latents=8)
        self.clip_text = _clip_text(width=384, layers=2)
        self.clip_big_text = _clip_text(width=640, layers=5)
        self.clip_vision = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=512, intermediate_size=2048, num_hidden_layers=4, patch_size=14,
                num_attention_heads=8, projection_dim=384,
            )
        )  # fmt: skip
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> ScaledBackbone:
        """Stay in evaluation mode, as every frozen backbone does."""
        return super().train(False)

    def load_weights(self, *, device: torch.device | None = None) -> None:
        """Nothing: they are random."""

    def identity(self) -> dict[str, str]:
        """Nothing that a saved model could find again."""
        return {"id": "scaled", "revision": "", "hash": ""}

    def work_identity(self, work: str) -> Mapping[str, str]:
        """That of random weights of this seed."""
        return {"weights": "seed 0"}

    def tokenise(self, texts: Sequence[str], *, max_length: int) -> TokenBatch:
        """A token a word."""
        rows = [[1, *(3 + zlib.crc32(word.encode()) % 12000 for word in text.split()), 2]
                for text in texts]  # fmt: skip
        input_ids = _padded([row[:max_length] for row in rows], max(map(len, rows)))
        return TokenBatch(
            prompt_ids=_padded([row[1:] for row in rows], self.text_vae.config.max_prompt_tokens),
            is_empty=torch.tensor([text == "" for text in texts]),
            input_ids=input_ids,
            labels=input_ids.masked_fill(input_ids == 0, -100),
            cut=0,
        )

    def encode_text(self, prompt_ids: Tensor, is_empty: Tensor) -> Tensor:
        """Clean text latents."""
        return self.text_vae.encode(prompt_ids, is_empty)

    def text_features(
        self, text_latents: Tensor, timesteps: Tensor, pooled: Tensor | None = None
    ) -> TextFeatures:
        """Run the transformer on a text stream alone."""
        raise NotImplementedError

    def predict(
        self,
        streams: Streams,
        timesteps: Streams,
        pooled: Tensor,
        *,
        split_cond: bool = False,
        predict_text: bool = True,
    ) -> JointPrediction:
        """Run the transformer on the streams that are passed."""
        return call_transformer(
            self.transformer, streams, timesteps, pooled,
            split_cond=split_cond, predict_text=predict_text,
        )  # fmt: skip

    def latent_shape(
        self, modality: str, *, height: int | None = None, width: int | None = None
    ) -> tuple[int, ...]:
        """Shape of one sample's latents."""
        return {"image": (16, 64, 64), "text": (32, 64), "audio": TRANSFORMER.audio_shape}[modality]

    def encode_image(self, images: Sequence[Image], *, noise: Tensor | None = None) -> Tensor:
        """Clean image latents."""
        return self.image_vae.encode(_pixels(images, IMAGE_SIZE)).latent_dist.mean

    def encode_log_mel(self, log_mels: Tensor) -> Tensor:
        """Clean audio latents of log-mels [batch, 1, frames, mels]."""
        return self.audio_vae.encode(log_mels).latent_dist.mean

    def condition_text(self, texts: Sequence[str]) -> TextCondition:
        """States and embeddings of both CLIP text encoders, side by side."""
        ids = self.tokenise(texts, max_length=CLIP_TOKENS).prompt_ids[:, :CLIP_TOKENS]
        outputs = [tower(input_ids=ids) for tower in (self.clip_text, self.clip_big_text)]
        return TextCondition(
            states=torch.cat([output.last_hidden_state for output in outputs], dim=-1),
            pooled=torch.cat([output.text_embeds for output in outputs], dim=-1),
        )

    def pool_image(self, images: Sequence[Image]) -> Tensor:
        """CLIP's embedding of pictures, then zeros."""
        embedded = self.clip_vision(pixel_values=_pixels(images, 224)).image_embeds
        return nn.functional.pad(embedded, (0, self.pooled_dim - embedded.shape[1]))

    def decode_logits(self, text_latents: Tensor, input_ids: Tensor) -> Tensor:
        """Teacher-forced logits."""
        return self.text_vae.logits(text_latents, input_ids)

    def token_costs(
        self, text_latents: Tensor, input_ids: Tensor, positions: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Costs of single tokens."""
        return self.text_vae.token_costs(text_latents, input_ids, positions, targets)

    def generate_text(self, text_latents: Tensor, *, max_new_tokens: int) -> list[str]:
        """Random weights have nothing to say."""
        raise NotImplementedError


def _vae(*, channels: Sequence[int], of: int, latents: int) -> Any:
    depth = len(channels)
    return AutoencoderKL(
        in_channels=of, out_channels=of, latent_channels=latents, layers_per_block=2,
        block_out_channels=tuple(channels), norm_num_groups=channels[0],
        down_block_types=("DownEncoderBlock2D",) * depth,
        up_block_types=("UpDecoderBlock2D",) * depth,
    )  # fmt: skip


def _clip_text(*, width: int, layers: int) -> Any:
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers,
            num_attention_heads=width // 64, projection_dim=width,
        )
    )  # fmt: skip


def _padded(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    return torch.tensor([([*row] + [0] * width)[:width] for row in rows])


def _pixels(images: Sequence[Image], size: int) -> Tensor:
    arrays = [np.asarray(image.resize((size, size)), np.float32) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1
