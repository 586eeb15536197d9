"""A backbone from a local folder in the published layout."""

from __future__ import annotations

from typing import Literal

from omniflow.backbones.published import PublishedBackbone


class FolderBackbone(PublishedBackbone):
    """A frozen OmniFlow model from a local folder.

    Args:
        path: A folder in the published layout: `transformer/`, `text_vae/`, `vae_tokenizer/` and,
            for a T5 other than google/flan-t5-large, `tokenizer_3/` and `text_encoder_3/`.
        dtype: Precision of the weights in memory; auto keeps that of the file.

    Raises:
        UsageError: If there is no such folder, or its T5 cannot be read.
        CheckpointError: If a part is missing or unreadable.
        ConfigError: If a configuration is impossible, or `dtype` is not one of the three.
    """

    def __init__(self, *, path: str, dtype: Literal["auto", "fp32", "bf16"] = "fp32") -> None:
        super().__init__(path=path, dtype=dtype)
