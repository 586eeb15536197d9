"""Tensors that lie in parts in several processes: cutting whole ones, and putting them together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor, distributed

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

    from omniflow.training.processes import Processes


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether this process has a part of the tensor only."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return False
    # Importing it takes a second.
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def own_part(tensor: Tensor) -> Tensor:
    """What this process has of a tensor; the same memory."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def sharded_like(whole: Tensor, target: Tensor) -> Tensor:
    """A whole tensor, which all processes have, cut as another one of its shape is.

    As it is when the other is whole, or of another shape.
    """
    if not is_sharded(target) or whole.shape != target.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    mesh = target.device_mesh
    # Without a source every process takes its part of what it has.
    return distribute_tensor(
        whole.to(mesh.device_type), mesh, target.placements, src_data_rank=None
    )


@torch.no_grad()
def gathered(tensors: Mapping[str, Tensor], processes: Processes) -> dict[str, Tensor]:
    """Whole tensors on the CPU of the main process, one after the other; parts elsewhere.

    All processes call it with the same names; where nothing is in parts, nothing is done.
    """
    result = {}
    for name, tensor in tensors.items():
        if is_sharded(tensor):
            whole = tensor.full_tensor()
            tensor = whole.cpu() if processes.is_main else tensor
        result[name] = tensor
    return result
