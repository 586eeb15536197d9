"""Layers of a sequence of the research script, told from names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from omniflow.errors import CheckpointError

_NAME = re.compile(r"(\d+)\.(weight|bias)")


@dataclass(frozen=True)
class Layer:
    """A linear layer or a layer norm.

    Args:
        weight: [output, input] of a linear layer, [width] of a norm.
        bias: [output] or [width].
    """

    weight: Tensor
    bias: Tensor

    @property
    def is_linear(self) -> bool:
        """Whether it is a linear layer."""
        return self.weight.dim() == 2


def read_layers(tensors: Mapping[str, Tensor], *, entry: str, where: str) -> list[Layer]:
    """The layers of a sequence, in order; what has no weights (activations) is not told.

    Args:
        tensors: Tensors by `NUMBER.weight` and `NUMBER.bias`.
        entry: What stands before their names, for messages.
        where: The file, for messages.

    Raises:
        CheckpointError: If a name is another, a layer lacks one of the two, or shapes do not fit
            one another.
    """
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name)
        if match is None:
            raise CheckpointError(
                f"{entry}{name} belongs to no layer that is known here",
                where=where,
                expected=f"{entry}NUMBER.weight and {entry}NUMBER.bias",
            )
        found.setdefault(int(match[1]), {})[match[2]] = tensor
    layers = []
    for number in sorted(found):
        parts = found[number]
        weight, bias = parts.get("weight"), parts.get("bias")
        if weight is None or bias is None or not _fit(weight, bias):
            shapes = ", ".join(f"{name} {list(part.shape)}" for name, part in parts.items())
            raise CheckpointError(
                f"{entry}{number} is neither a linear layer nor a layer norm ({shapes})",
                where=where,
                expected="weight [output, input] and bias [output], or both [width]",
            )
        layers.append(Layer(weight, bias))
    return layers


def _fit(weight: Tensor, bias: Tensor) -> bool:
    return weight.dim() in (1, 2) and bias.shape == weight.shape[:1] and weight.numel() > 0


def shapes_of(layers: list[Layer]) -> str:
    """The layers in words, for messages: `linear 64 to 4096, norm 4096`."""
    return ", ".join(
        f"linear {layer.weight.shape[1]} to {layer.weight.shape[0]}"
        if layer.is_linear
        else f"norm {layer.weight.shape[0]}"
        for layer in layers
    )


def is_normed_perceptron(layers: list[Layer]) -> bool:
    """Whether linear layers and norms take turns and fit, the hidden ones all of one width."""
    linear, norms = layers[::2], layers[1::2]
    if len(linear) < 2 or len(linear) != len(norms):
        return False
    if not all(each.is_linear for each in linear) or any(each.is_linear for each in norms):
        return False
    hidden = {each.weight.shape[0] for each in linear[:-1]}
    hidden |= {each.weight.shape[1] for each in linear[1:]}
    return len(hidden) == 1 and all(
        norm.weight.shape == each.bias.shape for each, norm in zip(linear, norms, strict=True)
    )
