"""What shapes the values that a backbone in the published layout makes of raw content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from omniflow.cache.key import files_digest, tensors_digest

if TYPE_CHECKING:
    from omniflow.backbones.parts import Parts
    from omniflow.models.text_vae import TextVAE

#: Value -> the parts that make it.
_MAKERS: Mapping[str, tuple[str, ...]] = {
    "image_latents": ("image_autoencoder",),
    "audio_latents": ("audio_autoencoder",),
    "text_states": ("clip_text", "clip_big_text"),
    "text_pooled": ("clip_text", "clip_big_text"),
    "image_pooled": ("clip_vision",),
    "audio_pooled": ("audio_tower",),
}

#: The half of the text VAE that decodes.
_DECODER = ("model.", "lm_head.", "input_proj.")


def text_latents_identity(text_vae: TextVAE) -> Mapping[str, str] | None:
    """The encoding half of a text VAE as it is in memory; None where it is trained."""
    encoding = {
        name: tensor
        for name, tensor in text_vae.state_dict(keep_vars=True).items()
        if not name.startswith(_DECODER)
    }
    if text_vae.encoder is None or any(tensor.requires_grad for tensor in encoding.values()):
        return None
    return {
        "weights": tensors_digest(encoding.items()),
        "config": json.dumps(text_vae.config.to_dict(), sort_keys=True, default=str),
        "t5_config": cast(Any, text_vae.encoder).config.to_json_string(),
    }


def parts_identity(parts: Parts, work: str) -> Mapping[str, str]:
    """The files of the parts that make a value; the parts themselves need not be read.

    Raises:
        CheckpointError: If a file is missing.
        UsageError: If the Hub cannot be reached or does not have it.
    """
    return {name: files_digest(parts.files(name)) for name in _MAKERS[work]}
