"""LanguageBind's audio tower: CLIP's vision tower over a picture that is not square."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection


class LanguageBindAudioTower(CLIPVisionModelWithProjection):  # type: ignore[misc]
    """Pooled and projected embedding of sound pictures, not normalised.

    Args:
        config: Sizes of the tower; with `num_mel_bins` and `target_length`, its picture.
    """

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.vision_model.embeddings = GridEmbeddings(config)


class GridEmbeddings(nn.Module):
    """Patches of a picture of any shape, a class token before them, positions added.

    Takes the place of CLIP's own module, which insists on squares; the names of the parameters are
    the same.
    """

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        rows, columns = grid_size(config)
        width, side = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(config.num_channels, width, side, stride=side, bias=False)
        self.position_embedding = nn.Embedding(rows * columns + 1, width)

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """Tokens [batch, 1 + patches, width] of pictures [batch, channels, mel_bins, frames]."""
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype))
        tokens = patches.flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(tokens), 1, -1)
        positions = self.position_embedding.weight
        return torch.cat([first, tokens], dim=1) + positions


def grid_size(config: CLIPVisionConfig) -> tuple[int, int]:
    """Rows (mel) and columns (time) of patches."""
    return config.num_mel_bins // config.patch_size, config.target_length // config.patch_size
