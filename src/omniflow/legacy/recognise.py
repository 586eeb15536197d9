"""Which components the weights of a research checkpoint belong to, and under which names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from omniflow.errors import CheckpointError
from omniflow.legacy.layers import Layer, is_normed_perceptron, read_layers, shapes_of

#: Which half of a gated refiner's first layer goes through silu.
Gate = Literal["first", "second"]
GATES = ("first", "second")

_CODEBOOKS = ("embedding.weight", "embedding", "upsampler.embedding.weight", "upsampler.embedding")
_HEAD_LAYERS = ("upsampler.upsampler.", "upsampler.")
_REFINER_LAYERS = "refiner."

#: Which activation was between the layers is not in the file.
_GELU = "the file does not say which activation lies between its layers: gelu, the script's own"


@dataclass(frozen=True)
class Recognised:
    """A component and its weights.

    Args:
        name: Name of the component.
        options: Its options, as far as the shapes tell them.
        input_dim: Width of what it reads.
        output_dim: Width of what it writes.
        state: Its weights, by their names in it.
        notes: What was taken for granted.
    """

    name: str
    options: Mapping[str, Any]
    input_dim: int
    output_dim: int
    state: Mapping[str, Tensor]
    notes: tuple[str, ...] = field(default=())


def recognise_text_output(tensors: Mapping[str, Tensor], *, where: str) -> Recognised:
    """The backbone's last text projection, trained on: head `linear` over features `hidden`.

    Raises:
        CheckpointError: If it is no linear layer.
    """
    [layer] = read_layers(
        {f"0.{name}": tensor for name, tensor in tensors.items()}, entry="state_dict.", where=where
    )
    if not layer.is_linear:
        raise CheckpointError(
            f"its text output is {shapes_of([layer])}", where=where, expected="a linear layer"
        )
    state = {"projection.weight": layer.weight, "projection.bias": layer.bias}
    output_dim, input_dim = layer.weight.shape
    return Recognised("linear", {"features": "hidden"}, input_dim, output_dim, state)


def recognise_head(tensors: Mapping[str, Tensor], *, where: str) -> Recognised:
    """A text decoder head, with or without a codebook: `norm-mlp` or `norm-vq` over `x0`.

    Raises:
        CheckpointError: If it is another architecture.
    """
    codebooks = [name for name in _CODEBOOKS if name in tensors]
    rest = {name: tensor for name, tensor in tensors.items() if name not in codebooks}
    if any(name.startswith(("base_upsampler.", "time_mlp.")) for name in rest):
        raise CheckpointError(
            "its head is modulated by an embedding of the timestep that the file does not hold",
            where=where,
            expected="a head with or without a codebook",
        )
    prefix = next(
        (each for each in _HEAD_LAYERS if any(name.startswith(each) for name in rest)), ""
    )
    entry = f"text_decoder_head.{prefix}"
    for name in rest:
        if not name.startswith(prefix):
            raise CheckpointError(
                f"text_decoder_head.{name} belongs to no layer that is known here",
                where=where,
                expected=f"{entry}NUMBER.weight and {entry}NUMBER.bias",
            )
    layers = read_layers(_below(prefix, rest), entry=entry, where=where)
    options, state = _normed(layers, entry=entry, where=where)
    output_dim, input_dim = layers[-1].weight.shape[0], layers[0].weight.shape[1]
    options["features"] = "x0"
    if not codebooks:
        return Recognised("norm-mlp", options, input_dim, output_dim, state, (f"head: {_GELU}",))
    if len(codebooks) > 1:
        raise CheckpointError(
            f"its head has {len(codebooks)} codebooks: {', '.join(codebooks)}",
            where=where,
            expected="one",
        )
    codebook = tensors[codebooks[0]]
    if codebook.dim() != 2 or codebook.shape[1] != output_dim:
        raise CheckpointError(
            f"text_decoder_head.{codebooks[0]} is {list(codebook.shape)}",
            where=where,
            expected=f"[codes, {output_dim}]",
        )
    options["codebook_size"] = len(codebook)
    state |= _codebook_state(codebook)
    notes = (
        f"head: {_GELU}",
        "head: how often each code was chosen is not in the file; training starts from even use",
    )
    return Recognised("norm-vq", options, input_dim, output_dim, state, notes)


def recognise_refiner(
    tensors: Mapping[str, Tensor], *, gate: Gate | None, where: str
) -> Recognised:
    """A latent refiner: `norm-mlp`, or `mlp` where its first layer is twice as wide as it is read.

    Args:
        tensors: Its weights.
        gate: Which half of a gated refiner's first layer goes through silu; the file does not say.
        where: The file, for messages.

    Raises:
        CheckpointError: If it is another architecture, or gated without a word how.
    """
    if not _all_below(_REFINER_LAYERS, tensors):
        other = next(name for name in tensors if not name.startswith(_REFINER_LAYERS))
        raise CheckpointError(
            f"latent_refiner.{other} belongs to no refiner that is known here",
            where=where,
            expected=f"latent_refiner.{_REFINER_LAYERS}NUMBER.weight",
        )
    entry = f"latent_refiner.{_REFINER_LAYERS}"
    layers = read_layers(_below(_REFINER_LAYERS, tensors), entry=entry, where=where)
    if _is_gated(layers):
        return _gated(layers, gate, where=where)
    options, state = _normed(layers, entry=entry, where=where)
    output_dim, input_dim = layers[-1].weight.shape[0], layers[0].weight.shape[1]
    return Recognised("norm-mlp", options, input_dim, output_dim, state, (f"refiner: {_GELU}",))


def _normed(
    layers: list[Layer], *, entry: str, where: str
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Options and weights of a perceptron with norms."""
    if not is_normed_perceptron(layers):
        raise CheckpointError(
            f"{entry}* is an architecture that nothing here computes ({shapes_of(layers)})",
            where=where,
            expected="linear layers that are each followed by a layer norm",
        )
    state = {}
    for place, layer in enumerate(layers):
        # Between two of them are an activation and dropout, which have no weights.
        number = 4 * (place // 2) + place % 2
        state[f"perceptron.layers.{number}.weight"] = layer.weight
        state[f"perceptron.layers.{number}.bias"] = layer.bias
    return {"hidden_dim": len(layers[0].bias), "layers": len(layers) // 2}, state


def _codebook_state(codebook: Tensor) -> dict[str, Tensor]:
    codes = len(codebook)
    return {
        "quantiser.codebook": codebook,
        "quantiser.usage": torch.ones(codes),
        "quantiser.idle": torch.zeros(codes),
    }


def _is_gated(layers: list[Layer]) -> bool:
    if len(layers) != 2 or not all(layer.is_linear for layer in layers):
        return False
    first, last = (layer.weight.shape for layer in layers)
    return first[0] == 2 * last[1] and first[1] == last[0]


def _gated(layers: list[Layer], gate: Gate | None, *, where: str) -> Recognised:
    first, last = layers
    hidden_dim = last.weight.shape[1]
    if gate is None:
        raise CheckpointError(
            f"its refiner is gated: the first layer writes two halves of {hidden_dim}, and the "
            "file does not say which of them goes through silu",
            where=where,
            expected="to be told, by refiner_gate: first or second",
            notes=["a refiner with another gate cannot be converted, but be left out"],
        )
    halves = 0 if gate == "first" else hidden_dim
    state = {
        "gate_and_up.weight": first.weight.roll(halves, dims=0),
        "gate_and_up.bias": first.bias.roll(halves, dims=0),
        "down.weight": last.weight,
        "down.bias": last.bias,
    }
    latent_dim = last.weight.shape[0]
    note = f"refiner: its gate is taken to be silu of the {gate} half, as was said"
    return Recognised("mlp", {"hidden_dim": hidden_dim}, latent_dim, latent_dim, state, (note,))


def _all_below(prefix: str, tensors: Mapping[str, Tensor]) -> bool:
    return bool(tensors) and all(name.startswith(prefix) for name in tensors)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
