"""Sine-cosine position tables for square grids, and the centre cut out of them."""

import math

import torch
from torch import Tensor

from omniflow.errors import UsageError


def position_table(size: int, dim: int, *, base_size: int) -> Tensor:
    """Table of a full `size` x `size` grid, row by row: [1, size * size, dim], float32, on the CPU.

    A quarter of the channels each: sine and cosine of the column, then sine and cosine of the row,
    at the frequencies 10000^(-k / (dim / 4)). Positions are divided by `size / base_size`, so that
    a table of any size covers the range of one of `base_size`.

    Args:
        size: Rows and columns of the grid, at least 1.
        dim: Width of one position, a multiple of 4.
        base_size: Rows and columns of the grid whose range of positions is kept, at least 1.
    """
    quarter = dim // 4
    # The CPU is named because a default device may lack float64, or hold no data at all.
    ladder = torch.arange(quarter, dtype=torch.float64, device="cpu")
    frequencies = 10000.0 ** (-ladder / quarter)
    # Positions stop at float32 before the angles are taken in float64: so do published tables.
    positions = torch.arange(size, dtype=torch.float32, device="cpu") / (size / base_size)
    angles = positions.double()[:, None] * frequencies
    axis = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    by_column = axis[None, :, :].expand(size, size, -1)
    by_row = axis[:, None, :].expand(size, size, -1)
    return torch.cat([by_column, by_row], dim=2).reshape(1, size * size, dim)


def centre_positions(table: Tensor, height: int, width: int) -> Tensor:
    """Cut the centre out of a square table.

    Args:
        table: Positions of a square grid [1, size * size, dim].
        height: Rows to keep.
        width: Columns to keep.

    Returns:
        Positions [1, height * width, dim], row by row.

    Raises:
        UsageError: If the grid is smaller than what should be cut from it.
    """
    size = math.isqrt(table.shape[1])
    if height > size or width > size:
        raise UsageError(
            f"a grid of {height} x {width} patches has no positions",
            expected=f"at most {size} x {size} patches",
        )
    top, left = (size - height) // 2, (size - width) // 2
    grid = table.reshape(1, size, size, -1)
    return grid[:, top : top + height, left : left + width].flatten(1, 2)
