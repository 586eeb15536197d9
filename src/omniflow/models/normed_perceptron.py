"""Perceptron whose linear layers are each followed by a layer norm."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from torch import Tensor, nn

from omniflow.errors import ConfigError


class NormedPerceptron(nn.Module):
    """Linear layers and layer norms in turn, with GELU and dropout between two of them.

    `norm(W ... dropout(gelu(norm(W x + b))) + b)`: the last layer is normed as well and is followed
    by nothing but, where input and output are of one width, the addition of the input. Layer i is
    `layers.4i`, its norm `layers.4i+1`.

    Args:
        input_dim: Width of what goes in.
        output_dim: Width of what comes out.
        hidden_dim: Width between, at least 1.
        layers: Linear layers, at least 2.
        dropout: Share of hidden units zeroed while training, in [0, 1).

    Raises:
        ConfigError: If an option is outside its range.
    """

    def __init__(
        self, input_dim: int, output_dim: int, *, hidden_dim: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        if hidden_dim < 1:
            raise ConfigError("hidden_dim", hidden_dim, expected="a whole number >= 1")
        if layers < 2:
            raise ConfigError("layers", layers, expected="a whole number >= 2")
        if not 0.0 <= dropout < 1.0:
            raise ConfigError("dropout", dropout, expected="a number in [0, 1)")
        self.is_residual = input_dim == output_dim
        widths = [input_dim, *[hidden_dim] * (layers - 1), output_dim]
        # Nothing follows the last norm.
        self.layers = nn.Sequential(*list(_parts(widths, dropout))[:-2])

    def forward(self, vectors: Tensor) -> Tensor:
        """Map vectors [..., input_dim] to [..., output_dim]."""
        mapped: Tensor = self.layers(vectors)
        return mapped + vectors if self.is_residual else mapped


def _parts(widths: list[int], dropout: float) -> Iterator[nn.Module]:
    for before, after in pairwise(widths):
        yield from (nn.Linear(before, after), nn.LayerNorm(after), nn.GELU(), nn.Dropout(dropout))
