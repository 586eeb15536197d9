"""LanguageBind's audio tower: CLIP's vision tower over a picture that is not square."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from omniflow.errors import CheckpointError
from omniflow.models.languagebind_pixels import PixelConfig, sound_pixels

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Audio
    from omniflow.pretrained import PretrainedSource

_POSITIONS = "vision_model.embeddings.position_embedding.weight"


class LanguageBindAudioTower(CLIPVisionModelWithProjection):  # type: ignore[misc]
    """Pooled and projected embedding of sound pictures, not normalised.

    Args:
        config: Sizes of the tower; with `num_mel_bins` and `target_length`, its picture. A
            `position_rows` in it is the number of rows of the position table as it is stored,
            before it is resized.
    """

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__(config)
        self.vision_model.embeddings = GridEmbeddings(config)


class LanguageBindAudio(nn.Module):
    """LanguageBind's audio tower with what prepares sounds for it.

    Args:
        tower: The tower.
        pixels: Size and scale of the picture that it looks at.
    """

    def __init__(self, tower: LanguageBindAudioTower, pixels: PixelConfig) -> None:
        super().__init__()
        self.tower = tower
        self.pixels = pixels

    def forward(self, sounds: Sequence[Audio]) -> Tensor:
        """Projected embeddings [batch, projection], not normalised.

        Raises:
            DataError: If a sound cannot be used.
        """
        return self.embed(torch.stack([sound_pixels(sound, self.pixels) for sound in sounds]))

    def embed_nothing(self) -> Tensor:
        """The embedding [1, projection] of a picture of zeros."""
        return self.embed(torch.zeros(1, 3, self.pixels.mel_bins, self.pixels.frames))

    @torch.no_grad()
    def embed(self, pictures: Tensor) -> Tensor:
        """Projected embeddings of pictures [batch, 3, mel_bins, frames]."""
        weight = next(self.tower.parameters())
        embeddings: Tensor = self.tower(pictures.to(weight)).image_embeds
        return embeddings


def read_languagebind(
    source: PretrainedSource, config: CLIPVisionConfig, pixels: PixelConfig
) -> LanguageBindAudio:
    """The tower with its weights; a position table of a square picture is resized to its own.

    Args:
        source: Where the weights come from.
        config: Sizes of the tower.
        pixels: Size and scale of its picture.

    Raises:
        CheckpointError: If weights are missing, damaged or of another shape.
        UsageError: If the Hub cannot be reached or does not have the model.
    """
    rows, columns = grid_size(config)
    shape = source.stored_shape(_POSITIONS)
    stored_rows = shape[0] if shape else rows * columns + 1
    if stored_rows not in (rows * columns + 1, math.isqrt(stored_rows - 1) ** 2 + 1):
        raise CheckpointError(
            f"its position table has {stored_rows} rows",
            where=source.path,
            expected=f"{rows * columns + 1}: {rows} x {columns} patches and a class token",
            notes=["a table of a square and a class token is resized, one of anything else is not"],
        )
    config.position_rows = stored_rows
    tower = cast(LanguageBindAudioTower, source.read_model(LanguageBindAudioTower, config))
    tower.vision_model.embeddings.fit_positions(rows, columns)
    return LanguageBindAudio(tower, pixels)


class GridEmbeddings(nn.Module):
    """Patches of a picture of any shape, a class token before them, positions added.

    Takes the place of CLIP's own module, which insists on squares; the names of the parameters are
    the same.
    """

    def __init__(self, config: CLIPVisionConfig) -> None:
        super().__init__()
        rows, columns = grid_size(config)
        position_rows = getattr(config, "position_rows", rows * columns + 1)
        width, side = config.hidden_size, config.patch_size
        self.class_embedding = nn.Parameter(torch.zeros(width))
        self.patch_embedding = nn.Conv2d(config.num_channels, width, side, stride=side, bias=False)
        self.position_embedding = nn.Embedding(position_rows, width)

    def forward(self, pixel_values: Tensor, interpolate_pos_encoding: bool = False) -> Tensor:
        """Tokens [batch, 1 + patches, width] of pictures [batch, channels, mel_bins, frames]."""
        patches = self.patch_embedding(pixel_values.to(self.patch_embedding.weight.dtype))
        tokens = patches.flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(tokens), 1, -1)
        positions = self.position_embedding.weight
        return torch.cat([first, tokens], dim=1) + positions

    def fit_positions(self, rows: int, columns: int) -> None:
        """Resize a table of another grid (see `resized_positions`); keep one that fits."""
        table = self.position_embedding.weight
        if len(table) != rows * columns + 1:
            resized = resized_positions(table, rows, columns)
            self.position_embedding = nn.Embedding(*resized.shape).requires_grad_(False)
            self.position_embedding.weight.copy_(resized)


@torch.no_grad()
def resized_positions(table: Tensor, rows: int, columns: int) -> Tensor:
    """The position table of a square grid for another one: bicubic, with antialiasing.

    Args:
        table: Class token and patches, row after row [1 + side * side, width].
        rows: Rows of the new grid.
        columns: Its columns.

    Returns:
        The table [1 + rows * columns, width].
    """
    side = math.isqrt(len(table) - 1)
    square = table[1:].T.reshape(-1, side, side)
    grid = F.interpolate(square[None], (rows, columns), mode="bicubic", antialias=True)[0]
    return torch.cat([table[:1], grid.flatten(1).T])


def grid_size(config: CLIPVisionConfig) -> tuple[int, int]:
    """Rows (mel) and columns (time) of patches."""
    return config.num_mel_bins // config.patch_size, config.target_length // config.patch_size
