"""One call of the joint transformer, latents and features in the caller's precision."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from omniflow.interfaces.backbone import JointPrediction, Streams, TextFeatures
from omniflow.models.joint_transformer import JointTransformer


def call_transformer(
    transformer: JointTransformer,
    streams: Streams,
    timesteps: Streams,
    pooled: Tensor,
    *,
    split_cond: bool,
    predict_text: bool,
) -> JointPrediction:
    """Run the transformer in its own precision; arguments as in `Backbone.predict`."""
    dtype = transformer.text_output.weight.dtype
    image, text, audio = streams
    # The text stream is as wide as the widest thing in it; latents are padded with zeros.
    padding = 0 if text is None else transformer.config.joint_attention_dim - text.shape[-1]
    output = transformer(
        image=None if image is None else image.to(dtype),
        text=None if text is None else F.pad(text, (0, padding)).to(dtype),
        audio=None if audio is None else audio.to(dtype),
        pooled=pooled.to(dtype),
        timestep_image=timesteps.image,
        timestep_text=timesteps.text,
        timestep_audio=timesteps.audio,
        split_cond=split_cond,
        predict_text=predict_text,
    )
    features = None
    if text is not None and output.text is not None:
        features = TextFeatures(
            hidden=output.text_hidden.to(text.dtype), x0=output.text.to(text.dtype)
        )
    return JointPrediction(
        image=None if image is None else output.image.to(image.dtype),
        text=features,
        audio=None if audio is None else output.audio.to(audio.dtype),
    )
