"""Q-Former: a fixed number of learned queries read a sequence of states of any length.

The BLIP-2 design without its text branch: post-norm blocks of self-attention, cross-attention to
the states in every second one, and a feed-forward. No positions and no masks, so the result does
not depend on the order of the states. Parameter names are those of published checkpoints.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.errors import ConfigError

#: Weights of the text branch, which checkpoints written with older versions of transformers hold
#: beside ours. Nothing reads them.
LEGACY_KEY_PATTERN = re.compile(r"(^|\.)qformer\.encoder\.layer\.\d+\.(intermediate|output)\.")

LAYER_NORM_EPS = 1e-12


def is_legacy_key(key: str) -> bool:
    """Whether a checkpoint key belongs to the unused text branch and may be left out."""
    return LEGACY_KEY_PATTERN.search(key) is not None


class QFormer(nn.Module):
    """Learned queries in, what they gathered from the states out.

    Args:
        hidden_size: Width of the queries, a multiple of `num_heads`.
        states_size: Width of the states that are read.
        num_layers: Number of blocks.
        num_heads: Attention heads of every block.
        intermediate_size: Inner width of the feed-forward, whatever `hidden_size` is.
        cross_attention_every: The states are read in blocks 0, n, 2n, ...
        dropout: Share of hidden values and of attention weights zeroed while training, in [0, 1).

    Raises:
        ConfigError: If the heads do not divide the width, or `dropout` is outside [0, 1).
    """

    def __init__(
        self,
        hidden_size: int,
        states_size: int,
        *,
        num_layers: int = 6,
        num_heads: int = 12,
        intermediate_size: int = 3072,
        cross_attention_every: int = 2,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ConfigError(
                "hidden_size", hidden_size, expected=f"a multiple of the {num_heads} heads"
            )
        if not 0.0 <= dropout < 1.0:
            raise ConfigError("dropout", dropout, expected="a number in [0, 1)")
        self.layernorm = nn.LayerNorm(hidden_size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)
        self.encoder = _Encoder(
            _Block(
                hidden_size,
                states_size if index % cross_attention_every == 0 else None,
                num_heads,
                intermediate_size,
                dropout,
            )
            for index in range(num_layers)
        )

    def forward(self, queries: Tensor, states: Tensor) -> Tensor:
        """Read states [batch, tokens, states_size] into queries [batch, n_queries, hidden_size].

        Returns [batch, n_queries, hidden_size].
        """
        hidden: Tensor = self.dropout(self.layernorm(queries))
        for block in self.encoder.layer:
            hidden = block(hidden, states)
        return hidden


class _Encoder(nn.Module):
    """A level of names; `QFormer.forward` runs the blocks."""

    def __init__(self, blocks: Iterable[_Block]) -> None:
        super().__init__()
        self.layer = nn.ModuleList(blocks)


class _Block(nn.Module):
    """One post-norm block; `states_size` None leaves the cross-attention out."""

    def __init__(
        self,
        hidden_size: int,
        states_size: int | None,
        num_heads: int,
        intermediate_size: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.attention = _AttentionBlock(hidden_size, hidden_size, num_heads, dropout)
        self.crossattention = (
            None
            if states_size is None
            else _AttentionBlock(hidden_size, states_size, num_heads, dropout)
        )
        self.intermediate_query = _Widen(hidden_size, intermediate_size)
        self.output_query = _AddAndNorm(intermediate_size, hidden_size, dropout)

    def forward(self, hidden: Tensor, states: Tensor) -> Tensor:
        hidden = self.attention(hidden, hidden)
        if self.crossattention is not None:
            hidden = self.crossattention(hidden, states)
        output: Tensor = self.output_query(self.intermediate_query(hidden), hidden)
        return output


class _AttentionBlock(nn.Module):
    def __init__(self, hidden_size: int, context_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = _Attention(hidden_size, context_size, num_heads, dropout)
        self.output = _AddAndNorm(hidden_size, hidden_size, dropout)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        output: Tensor = self.output(self.attention(hidden, context), hidden)
        return output


class _Attention(nn.Module):
    def __init__(self, hidden_size: int, context_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(context_size, hidden_size)
        self.value = nn.Linear(context_size, hidden_size)

    def forward(self, hidden: Tensor, context: Tensor) -> Tensor:
        attended = F.scaled_dot_product_attention(
            self._split(self.query(hidden)),
            self._split(self.key(context)),
            self._split(self.value(context)),
            dropout_p=self.dropout if self.training else 0.0,
        )
        return attended.transpose(1, 2).flatten(2)

    def _split(self, projected: Tensor) -> Tensor:
        """[batch, tokens, width] to [batch, heads, tokens, width / heads]."""
        batch, tokens, _ = projected.shape
        return projected.view(batch, tokens, self.num_heads, -1).transpose(1, 2)


class _Widen(nn.Module):
    def __init__(self, hidden_size: int, intermediate_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.gelu(self.dense(hidden))


class _AddAndNorm(nn.Module):
    def __init__(self, in_size: int, out_size: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(in_size, out_size)
        self.LayerNorm = nn.LayerNorm(out_size, eps=LAYER_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, residual: Tensor) -> Tensor:
        output: Tensor = self.LayerNorm(self.dropout(self.dense(hidden)) + residual)
        return output
