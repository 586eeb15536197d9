"""What a model takes in memory, part by part, and what a training step takes beside it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel

#: Bytes of a fraction by the name that recipes give to its format.
WIDTHS: Mapping[str, int] = {"fp32": 4, "bf16": 2}


@dataclass(frozen=True)
class PartSize:
    """One part of a model; tables that are no parameters count in its bytes.

    Args:
        name: transformer, text_vae, head, ...
        parameters: Values that are, or once were, trained.
        trained: Those of them that this run trains.
        held: Bytes in memory as they are held.
        fractions: Values that change their size with the precision of the weights.
        others: Bytes that do not.
    """

    name: str
    parameters: int
    trained: int
    held: int
    fractions: int
    others: int

    def bytes_in(self, precision: str) -> int:
        """Bytes if all its fractions were held in a precision of `WIDTHS`."""
        return self.fractions * WIDTHS[precision] + self.others

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "trained": self.trained,
            "bytes": self.held,
            **{f"bytes_{precision}": self.bytes_in(precision) for precision in WIDTHS},
        }


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that training takes on its device, at the most.

    Args:
        precision: Number format of the forward pass.
        weights: All parts, as they are held.
        gradients: Of what is trained.
        optimizer: What it remembers.
        average: Of the weights, where one is kept.
        activations: Most that a step holds beside all these.
    """

    precision: str
    weights: int
    gradients: int
    optimizer: int
    average: int
    activations: int

    @property
    def total(self) -> int:
        """The sum."""
        return self.weights + self.gradients + self.optimizer + self.average + self.activations

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "total": self.total}


def part_sizes(model: OmniFlowModel) -> list[PartSize]:
    """Every part that has values; what two parts share counts for the first."""
    trained = {id(parameter) for parameter in model.trainable_parameters()}
    seen: set[int] = set()
    sizes = [_size(name, module, trained, seen) for name, module in _parts(model)]
    return [size for size in sizes if size.held]


def tensor_bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes of tensors that share no memory."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def optimizer_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of what an optimizer remembers after a step."""
    return tensor_bytes(
        value
        for memory in optimizer.state.values()
        for value in memory.values()
        if isinstance(value, Tensor)
    )


def _parts(model: OmniFlowModel) -> Iterator[tuple[str, nn.Module]]:
    backbone = model.backbone
    yield from backbone.named_children()
    yield from backbone.parts_read().items()
    yield "backbone", backbone
    for choice, encoder in zip(model.parts.encoder, model.encoders, strict=True):
        yield f"encoder {choice.name}", encoder
    for name, module in model.trained_modules().items():
        if name != "transformer":
            yield name, module


def _size(name: str, module: nn.Module, trained: set[int], seen: set[int]) -> PartSize:
    parameters = [each for each in module.parameters() if id(each) not in seen]
    buffers = [each for each in module.buffers() if id(each) not in seen]
    tensors = [*parameters, *buffers]
    seen |= {id(tensor) for tensor in tensors}
    fractions = [tensor for tensor in tensors if tensor.is_floating_point()]
    others = [tensor for tensor in tensors if not tensor.is_floating_point()]
    return PartSize(
        name=name,
        parameters=sum(each.numel() for each in parameters),
        trained=sum(each.numel() for each in parameters if id(each) in trained),
        held=tensor_bytes(tensors),
        fractions=sum(each.numel() for each in fractions),
        others=tensor_bytes(others),
    )
