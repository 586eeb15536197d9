"""What turns inputs into tokens and condition vectors, and tokens back into maps."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.models.positions import centre_positions, position_table

TIMESTEP_DIM = 256


def timestep_features(timesteps: Tensor) -> Tensor:
    """Cosines, then sines, of a timestep at 128 frequencies: [batch] to [batch, 256], float32.

    Args:
        timesteps: Noise level times 1000 [batch], any real or integer dtype.
    """
    half = TIMESTEP_DIM // 2
    # Computed anew each time: a buffer would be lost when weights are assigned to a meta module,
    # and would lose precision when the module is cast to bfloat16.
    ladder = torch.arange(half, dtype=torch.float32, device=timesteps.device)
    angles = timesteps.float()[:, None] * torch.exp(ladder * (-math.log(10000.0) / half))
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ConditionMLP(nn.Module):
    """Two linear layers with a SiLU between them: [batch, input_dim] to [batch, dim]."""

    def __init__(self, input_dim: int, dim: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(input_dim, dim)
        self.linear_2 = nn.Linear(dim, dim)

    def forward(self, features: Tensor) -> Tensor:
        """Map features [batch, input_dim] to [batch, dim]."""
        condition: Tensor = self.linear_2(F.silu(self.linear_1(features)))
        return condition


class ConditionEmbedding(nn.Module):
    """Condition vector of one stream, from its timestep and the pooled condition.

    Args:
        dim: Width of the condition vector.
        pooled_dim: Width of the pooled condition.
    """

    def __init__(self, dim: int, pooled_dim: int) -> None:
        super().__init__()
        self.timestep_embedder = ConditionMLP(TIMESTEP_DIM, dim)
        # Published name; it reads the pooled condition, whatever modality that came from.
        self.text_embedder = ConditionMLP(pooled_dim, dim)

    def forward(self, timesteps: Tensor, pooled: Tensor) -> Tensor:
        """Embed timesteps [batch] or [1] and pooled [batch, pooled_dim] as [batch, dim]."""
        features = timestep_features(timesteps).to(pooled.dtype)
        condition: Tensor = self.timestep_embedder(features) + self.text_embedder(pooled)
        return condition


class PatchEmbedding(nn.Module):
    """Patches of a map as tokens, with the centre of a position table added.

    Args:
        channels: Channels of the map.
        dim: Width of a token.
        patch_size: Side of a patch.
        table_size: Side of the position table, in patches.
        base_size: Side of the grid that sets the scale of the positions, in patches.
    """

    pos_embed: Tensor

    def __init__(
        self, *, channels: int, dim: int, patch_size: int, table_size: int, base_size: int
    ) -> None:
        super().__init__()
        self.table_size = table_size
        self.base_size = base_size
        self.proj = nn.Conv2d(channels, dim, kernel_size=patch_size, stride=patch_size)
        empty = torch.empty(1, table_size**2, dim, dtype=torch.float32)
        self.register_buffer("pos_embed", empty)
        if not self.pos_embed.is_meta:
            self.pos_embed = self._table().to(self.pos_embed.device)

    def forward(self, maps: Tensor) -> Tensor:
        """Embed maps [batch, channels, height, width] as [batch, tokens, dim], row by row.

        A remainder of height or width that fills no patch is left out.
        """
        patches: Tensor = self.proj(maps)
        positions = centre_positions(self.pos_embed, patches.shape[2], patches.shape[3])
        return patches.flatten(2).transpose(1, 2) + positions.to(patches.dtype)

    def reset_positions(self) -> None:
        """Compute the position table anew, where the weights are and in their dtype.

        For a module that was built on the meta device and whose table came with no file.
        """
        self.pos_embed = self._table().to(self.proj.weight)

    def _table(self) -> Tensor:
        return position_table(self.table_size, self.proj.out_channels, base_size=self.base_size)


def unpatchify(tokens: Tensor, *, height: int, width: int, patch_size: int) -> Tensor:
    """Put tokens back together as maps.

    Args:
        tokens: Tokens, row by row [batch, height * width, patch_size^2 * channels]; the features of
            a token run over its rows, then its columns, then the channels.
        height: Rows of patches.
        width: Columns of patches.
        patch_size: Side of a patch.

    Returns:
        Maps [batch, channels, height * patch_size, width * patch_size].
    """
    patches = tokens.reshape(len(tokens), height, width, patch_size, patch_size, -1)
    return patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)
