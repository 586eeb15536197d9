"""A transformer of one's own between the autoencoders and encoders of a published model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniflow.errors import ConfigError, UsageError
from omniflow.models.joint_transformer import JointTransformerConfig

#: What the parts around the transformer decide: shapes of latents and of the pooled condition.
FIXED = (
    "in_channels", "out_channels", "pooled_projection_dim", "audio_input_dim", "audio_height",
    "audio_width", "use_audio_mae",
)  # fmt: skip


def fresh_config(
    values: Mapping[str, Any], stored: JointTransformerConfig
) -> JointTransformerConfig:
    """The configuration of a transformer that takes the place of a model's own.

    Args:
        values: Contents of a transformer's `config.json`.
        stored: Configuration of the transformer that it replaces.

    Raises:
        UsageError: If it is impossible, or does not fit what stands around the transformer.
    """
    try:
        config = JointTransformerConfig.from_dict(values)
    except UsageError as error:
        error.where = error.where or "transformer_config"
        raise
    for name in FIXED:
        wanted = getattr(stored, name)
        if getattr(config, name) != wanted:
            raise ConfigError(
                f"transformer_config.{name}",
                getattr(config, name),
                expected=f"{wanted}, as the parts around the transformer have it",
            )
    # CLIP states stand in the text stream; they are as wide as the pooled condition or less.
    if config.joint_attention_dim < min(stored.joint_attention_dim, stored.pooled_projection_dim):
        raise ConfigError(
            "transformer_config.joint_attention_dim",
            config.joint_attention_dim,
            expected=f"at least {stored.pooled_projection_dim}, the width of CLIP states",
        )
    return config
