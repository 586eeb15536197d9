"""Keys and values of a decoder's layers, in memory that is taken once."""

from __future__ import annotations

import torch
from torch import Tensor


class StaticCache:
    """What every layer has read so far, for rows of one length.

    Nothing is copied when a token is added: room for all of them is there from the start.

    Args:
        layers: Number of layers.
        rows: Number of texts.
        heads: Key and value heads of a layer.
        capacity: Positions that there is room for.
        head_dim: Width of a head.
        like: A tensor whose precision and device it has.
    """

    def __init__(
        self, *, layers: int, rows: int, heads: int, capacity: int, head_dim: int, like: Tensor
    ) -> None:
        self._memory = torch.empty(
            layers, 2, rows, heads, capacity, head_dim, dtype=like.dtype, device=like.device
        )
        self.rows = rows
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add positions to a layer, and give all of its keys and values so far.

        The length changes with `advance`, when every layer has been extended.

        Args:
            layer: Which layer.
            keys: Keys of new positions [rows, heads, new, head_dim].
            values: Their values.

        Returns:
            Keys and values [rows, heads, length + new, head_dim].
        """
        end = self.length + keys.shape[2]
        seen_keys, seen_values = self._memory[layer, :, : self.rows, :, :end]
        seen_keys[:, :, self.length :] = keys
        seen_values[:, :, self.length :] = values
        return seen_keys, seen_values

    def advance(self, positions: int) -> None:
        """Every layer has been extended by so many positions."""
        self.length += positions

    def keep(self, rows: Tensor) -> None:
        """Go on with some rows, in this order; a row may be taken several times.

        Args:
            rows: Their numbers [kept], on the cache's device; as many as it was made for, at most.
        """
        kept = len(rows)
        used = self._memory[..., : self.length, :]
        # The right side is a copy, so that rows may change places.
        used[:, :, :kept] = used[:, :, rows]
        self.rows = kept
