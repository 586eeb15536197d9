"""What is given, as the joint transformer reads it: a clean stream and a pooled embedding."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from omniflow.interfaces import Backbone, Sample
from omniflow.models.text_vae import normalise_states
from omniflow.sampling.noise import NoiseSource
from omniflow.sampling.settings import SamplingSettings

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.interfaces import Audio
    from omniflow.model import OmniFlowModel

log = logging.getLogger(__name__)

#: The length of the text decoder's reading of a prompt, which nobody asks for here.
_NO_LIMIT = 1 << 30


@dataclass(frozen=True)
class Condition:
    """One modality of a batch, given.

    Args:
        stream: Clean latents [batch, ...]; of text its tokens, as wide as the text stream.
        pooled: Pooled embedding [batch, pooled_dim]; None where it does not fill the slot.
    """

    stream: Tensor
    pooled: Tensor | None


def encode_condition(
    model: OmniFlowModel,
    samples: Sequence[Sample],
    modality: str,
    settings: SamplingSettings,
    noise: NoiseSource,
    *,
    is_pooled: bool,
) -> Condition:
    """Encode one given modality of every sample.

    Args:
        model: The model; an encoder that was chosen for it takes the place of the backbone's own.
        samples: Samples that all have the modality.
        modality: image, text or audio.
        settings: `clip_tokens` must be decided.
        noise: Draws for the posterior, with `sample_posterior`.
        is_pooled: Whether the modality fills the pooled slot.
    """
    backbone = model.backbone
    pooled = model.embed(samples, modality) if is_pooled else None
    lacks_pooled = is_pooled and pooled is None
    if modality == "text":
        texts = [cast(str, sample.text) for sample in samples]
        stream, own = _text(backbone, texts, settings, is_pooled=lacks_pooled)
        return Condition(stream, own if lacks_pooled else pooled)
    stream = encode_latents(backbone, samples, modality, settings, noise)
    if lacks_pooled and modality == "image":
        pooled = backbone.pool_image(_images(samples))
    elif lacks_pooled:
        pooled = backbone.pool_audio(_sounds(samples))
    return Condition(stream, pooled)


def encode_null(
    model: OmniFlowModel,
    modality: str,
    settings: SamplingSettings,
    noise: NoiseSource,
    *,
    negatives: Sequence[str],
    is_pooled: bool,
) -> Condition:
    """What stands for an input that a row does not see, in guidance mode `old`.

    Args:
        model: The model.
        modality: The given modality that is replaced.
        settings: As in `encode_condition`.
        noise: As in `encode_condition`.
        negatives: Negative prompts, one a sample, for text.
        is_pooled: Whether the modality fills the pooled slot.
    """
    if modality == "text":
        samples = [Sample(id=str(index), text=text) for index, text in enumerate(negatives)]
        return encode_condition(model, samples, "text", settings, noise, is_pooled=is_pooled)
    stream, pooled = model.backbone.null_condition(modality, len(negatives))
    return Condition(stream, pooled if is_pooled else None)


def encode_latents(
    backbone: Backbone,
    samples: Sequence[Sample],
    modality: str,
    settings: SamplingSettings,
    noise: NoiseSource,
) -> Tensor:
    """Clean latents [batch, ...] of one modality, without CLIP rows or padding."""
    if modality == "text":
        return encode_texts(backbone, [cast(str, sample.text) for sample in samples])
    draws = None
    if settings.sample_posterior:
        # A given picture or sound has the backbone's own size, whatever is made beside it.
        draws = noise.draw(f"posterior_{modality}", backbone.latent_shape(modality))
    if modality == "image":
        return backbone.encode_image(_images(samples), noise=draws)
    return backbone.encode_audio(_sounds(samples), noise=draws)


def encode_texts(backbone: Backbone, texts: Sequence[str]) -> Tensor:
    """Clean text latents [batch, latent_tokens, latent_dim].

    Of a text that is longer than the text VAE reads, its beginning; that is warned of.
    """
    tokens = backbone.tokenise(texts, max_length=_NO_LIMIT)
    if tokens.cut:
        log.warning(
            "the text VAE reads %d tokens of a prompt; the rest is left out (of %d of %d prompts)",
            tokens.prompt_ids.shape[1],
            tokens.cut,
            len(texts),
        )
    device = backbone.text_projection.weight.device
    return backbone.encode_text(tokens.prompt_ids.to(device), tokens.is_empty.to(device))


def pad_width(tokens: Tensor, width: int) -> Tensor:
    """Tokens [batch, tokens, dim] with zeros on the right, or cut: [batch, tokens, width]."""
    return F.pad(tokens, (0, width - tokens.shape[-1]))


def _text(
    backbone: Backbone, texts: Sequence[str], settings: SamplingSettings, *, is_pooled: bool
) -> tuple[Tensor, Tensor | None]:
    """Rows [CLIP; T5; VAE], as far as they are wanted, and the pooled embedding."""
    width = backbone.feature_dims["hidden"]
    rows = [pad_width(encode_texts(backbone, texts), width)]
    # Reading the CLIP encoders is slow; without a use for them they are not asked for.
    condition = None
    if settings.clip_tokens or is_pooled:
        condition = backbone.condition_text(texts)
    if settings.clip_tokens and condition is not None:
        states = condition.states.float()
        if settings.t5_tokens:
            t5 = backbone.t5_states(texts, max_tokens=settings.t5_tokens).float()
            # Padding by a negative number cuts: the original's way with CLIP rows wider than T5's.
            states = torch.cat([pad_width(states, t5.shape[-1]), t5], dim=1)
        if settings.standardise:
            states = normalise_states(states)
        rows.insert(0, pad_width(states, width))
    return torch.cat(rows, dim=1), None if condition is None else condition.pooled


def _images(samples: Sequence[Sample]) -> list[Image]:
    return [cast("Image", sample.image) for sample in samples]


def _sounds(samples: Sequence[Sample]) -> list[Audio]:
    return [cast("Audio", sample.audio) for sample in samples]
