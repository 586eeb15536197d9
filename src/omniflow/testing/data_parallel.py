"""One process as a group of its own: enough to see what DistributedDataParallel refuses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from omniflow.testing.trained_part import TrainedPart, trainable

#: A process that waits for nobody but itself has waited long enough.
_PATIENCE = timedelta(minutes=1)


class _Loss(nn.Module):
    """The loss of a part as a module, which is what is wrapped."""

    def __init__(self, part: TrainedPart, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self._part = part

    def forward(self, inputs: Tensor) -> Tensor:
        return self._part.loss(self.module, inputs)


def gradients_in_parallel(part: TrainedPart) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients of a second step, alone and under DDP, by the parameter's name.

    Raises:
        RuntimeError: If DDP refuses the part, for example for parameters without a gradient.
    """
    alone = _gradients(_Loss(part, part.make()), part)
    with _group_of_one():
        wrapped = DistributedDataParallel(_Loss(part, part.make()))
        parallel = _gradients(wrapped, part)
    return alone, {name.removeprefix("module."): each for name, each in parallel.items()}


def _gradients(module: nn.Module, part: TrainedPart) -> dict[str, Tensor]:
    optimizer = torch.optim.SGD(trainable(module), lr=0.1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        for step in range(2):
            optimizer.step()
            optimizer.zero_grad()
            torch.autograd.backward(module(part.draw(seed=step)))
    return {
        name: parameter.grad
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


@contextmanager
def _group_of_one() -> Iterator[None]:
    """A process group while entered, unless there is one."""
    if distributed.is_initialized():
        yield
        return
    store = distributed.HashStore()  # type: ignore[attr-defined]
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1, timeout=_PATIENCE)
    try:
        yield
    finally:
        distributed.destroy_process_group()
