"""The optimizer's memory as named tensors, so that a checkpoint needs no pickle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from omniflow.errors import CheckpointError
from omniflow.training.sharded_tensors import sharded_like

_PREFIX = "optimizer."


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that the optimizer remembers, as `optimizer.PARAMETER.NAME`.

    Args:
        optimizer: One that was given its parameters with their names.
    """
    return {
        f"{_PREFIX}{name}.{key}": value
        for name, parameter in _named(optimizer)
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give the optimizer its memory back, whatever groups the parameters are in.

    Raises:
        CheckpointError: If it is the memory of other parameters.
    """
    parameters = dict(_named(optimizer))
    places = {name: place for place, name in enumerate(parameters)}
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, value in tensors.items():
        if not full_name.startswith(_PREFIX):
            continue
        name, key = full_name.removeprefix(_PREFIX).rsplit(".", 1)
        if name not in places or value.shape not in (parameters[name].shape, torch.Size()):
            raise CheckpointError(
                f"the optimizer's memory of {name} ({key}, {list(value.shape)}) fits no parameter",
                expected="a checkpoint of this version, of a run that trains the same parts",
            )
        state.setdefault(places[name], {})[key] = sharded_like(value, parameters[name])
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _named(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters with their names, in the order in which `state_dict` numbers them."""
    for group in optimizer.param_groups:
        yield from zip(group["param_names"], group["params"], strict=True)
