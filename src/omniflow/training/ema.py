"""Exponential moving average of trained weights, after the rule of the published models.

diffusers' `EMAModel` states the rule: the decay grows with the number of updates, so that early
averages are not held back by the start, up to a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from omniflow.errors import CheckpointError, ConfigError
from omniflow.training.sharded_tensors import is_sharded, own_part, sharded_like

_PREFIX = "ema."


@dataclass(frozen=True)
class DecaySchedule:
    """How much of the average stays at each update.

    With k = updates - `update_after` - 1, the decay is (1 + k) / (10 + k), or with `has_warmup`
    1 - (1 + k / inverse_gamma)^-power, between the two limits; 0 while k <= 0.

    Args:
        decay: Upper limit, in [0, 1).
        min_decay: Lower limit.
        update_after: Updates during which the average is the weights themselves.
        has_warmup: The second of the formulas.
        inverse_gamma: See there.
        power: See there.

    Raises:
        ConfigError: If `decay` is not in [0, 1).
    """

    decay: float
    min_decay: float = 0.0
    update_after: int = 0
    has_warmup: bool = False
    inverse_gamma: float = 1.0
    power: float = 2 / 3

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ConfigError("ema_decay", self.decay, expected="a number in [0, 1)")

    def at(self, updates: int) -> float:
        """The decay of an update; the first has the number 1."""
        k = max(0, updates - self.update_after - 1)
        if k <= 0:
            return 0.0
        if self.has_warmup:
            grown = 1 - float((1 + k / self.inverse_gamma) ** -self.power)
        else:
            grown = (1 + k) / (10 + k)
        return max(min(grown, self.decay), self.min_decay)


class WeightAverage:
    """The average of some parameters, beside them.

    Args:
        parameters: Name -> parameter. Those without a gradient are copied and not averaged.
        schedule: How much of the average stays.
        start: Training step at which the average begins anew from the weights; until then the
            weights stand for it.
        interval: Training steps between two updates.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        schedule: DecaySchedule,
        *,
        start: int = 0,
        interval: int = 1,
    ) -> None:
        self.parameters = dict(parameters)
        self.schedule = schedule
        self.start = start
        self.interval = interval
        self.updates = 0
        self.shadows = {name: value.detach().clone() for name, value in self.parameters.items()}

    def after_step(self, step: int) -> None:
        """Take a training step into account; `step` have been taken, this one included."""
        if step <= self.start:
            self._copy_all()
        elif step % self.interval == 0:
            self.update()

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights."""
        self.updates += 1
        decay = self.schedule.at(self.updates)
        for name, parameter in self.parameters.items():
            if parameter.requires_grad and decay > 0:
                own_part(self.shadows[name]).lerp_(own_part(parameter), 1 - decay)
            else:
                self.shadows[name].copy_(parameter)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """While entered, the parameters hold the average; then their own values again."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def tensors(self) -> dict[str, Tensor]:
        """The average as `ema.NAME`, for a checkpoint."""
        return {f"{_PREFIX}{name}": tensor for name, tensor in self.shadows.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        """Take up the average of a checkpoint.

        Raises:
            CheckpointError: If it is not one of these parameters.
        """
        stored = {
            name.removeprefix(_PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(_PREFIX)
        }
        shapes = {name: tensor.shape for name, tensor in stored.items()}
        if shapes != {name: tensor.shape for name, tensor in self.shadows.items()}:
            raise CheckpointError(
                f"its average of weights has {len(stored)} tensors that do not fit this model's "
                f"{len(self.shadows)}",
                expected="a checkpoint of a run with the same model and training.ema_decay",
            )
        for name, tensor in stored.items():
            self.shadows[name].copy_(sharded_like(tensor, self.shadows[name]))
        self.updates = updates

    @torch.no_grad()
    def _copy_all(self) -> None:
        for name, parameter in self.parameters.items():
            self.shadows[name].copy_(parameter)

    @torch.no_grad()
    def _swap(self) -> None:
        # Storages change places: nothing is copied, and values return to the last bit.
        for name, parameter in self.parameters.items():
            if is_sharded(parameter):
                # torch sends the storage that it knows: here it is the values that change places.
                own = parameter.clone()
                parameter.copy_(self.shadows[name])
                self.shadows[name] = own
            else:
                parameter.data, self.shadows[name] = self.shadows[name], parameter.data
