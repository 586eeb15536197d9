"""A training step and an evaluation batch for trial: nothing is written, and the model is lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import torch

from omniflow.draws import Draws
from omniflow.errors import DataError, TrainingError
from omniflow.models.recomputation import recomputing_within
from omniflow.training.decoding import readable_samples
from omniflow.training.device import autocast
from omniflow.training.live_bytes import LiveBytes
from omniflow.training.memory import MemoryEstimate, optimizer_bytes, part_sizes, tensor_bytes
from omniflow.training.optimizer import make_optimizer
from omniflow.training.order import SampleOrder
from omniflow.training.recomputing import recompute_activations
from omniflow.training.shapes_only import CardKernels

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset, Losses, Objective
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import TrainingOptions

#: Steps whose memory is looked at where they cost no arithmetic: a batch's task is drawn.
META_STEPS = 3


@dataclass(frozen=True)
class Timing:
    """How long things took, in seconds.

    Args:
        step: A whole step: losses of every batch, gradients, optimizer.
        data: The part of it in which samples were read and collated.
        evaluation: One evaluation batch; frozen parts may have been read in it.
        loss: The loss of the step.
    """

    step: float
    data: float
    evaluation: float
    loss: float

    def to_dict(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


class Trial:
    """A model and what trains it, for steps that nobody keeps.

    Args:
        model: The model; its weights change.
        objective: The objective.
        options: How the run would train.
        train: Where the samples of training batches come from.
        validation: Where those of the evaluation batch come from.

    Raises:
        ConfigError: If nothing of the model is trained, or `lr_scale` names a part that is not.
    """

    def __init__(
        self,
        model: OmniFlowModel,
        objective: Objective,
        options: TrainingOptions,
        train: Dataset,
        validation: Dataset,
    ) -> None:
        self.model = model
        self.objective = objective
        self.options = options
        self.order = SampleOrder(train, options.seed, shuffle_block=options.shuffle_block)
        self.validation = validation
        self.parameters = list(model.trainable_parameters())
        self.optimizer = make_optimizer(model, options)
        if options.gradient_checkpointing:
            recompute_activations(model)

    def evaluate(self) -> float:
        """Measure one evaluation batch; returns the seconds that it took."""
        self.model.eval()
        started = time.perf_counter()
        records = islice(self.validation.records(), self.options.batch_size)
        samples = readable_samples(self.validation, records)
        if not samples:
            raise DataError("no record of the validation split that was looked at can be read")
        positions = range(len(samples))
        draws = Draws.at(self.options.seed, positions)
        batch = self.objective.collate(self.model, samples, draws)
        with torch.no_grad(), autocast(self.model.device, self.options.precision):
            sums = self.objective.measure(self.model, batch)
        self.objective.summarise({name: float(value) for name, value in sums.items()})
        return time.perf_counter() - started

    def measured_step(self) -> MemoryEstimate:
        """Take a step on the model's device, and count what it holds at its peak."""
        with self._counted() as counted:
            self._gradients(0, self._autocast)
        return self._estimate(self._precision(), counted.peak)

    def timed_step(self, evaluation: float) -> Timing:
        """Take a step and look at the clock.

        Raises:
            TrainingError: If the loss is not finite.
        """
        device = self.model.device
        _wait_for(device)
        started = time.perf_counter()
        loss, data = self._gradients(1, self._autocast)
        self._finish()
        _wait_for(device)
        seconds = time.perf_counter() - started
        value = float(loss.total.detach())
        if not math.isfinite(value):
            broken = {name: float(term.detach()) for name, term in loss.terms.items()}
            raise TrainingError(
                f"the loss of the first step is not finite ({broken})",
                notes=["try --precision fp32, or look at the samples"],
            )
        return Timing(step=seconds, data=data, evaluation=evaluation, loss=value)

    def shapes_of_steps(self, precision: str) -> MemoryEstimate:
        """What steps hold at their peak in a precision, for a model on the meta device."""
        peak = 0
        for step in range(META_STEPS):
            with self._counted() as counted:
                kernels = partial(CardKernels, half=precision != "fp32")
                with recomputing_within(kernels):
                    self._gradients(step, kernels)
            peak = max(peak, counted.peak)
        return self._estimate(precision, peak)

    def _counted(self) -> AbstractContextManager[LiveBytes]:
        # Gradients have their place in the estimate; only what comes beside them is counted.
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        return LiveBytes(self.model.device.type)

    def _autocast(self) -> AbstractContextManager[object]:
        return autocast(self.model.device, self.options.precision)

    def _precision(self) -> str:
        """What the recipe's precision comes to on this device."""
        device_type = self.model.device.type
        with self._autocast():
            is_half = torch.is_autocast_enabled(device_type)
            dtype = torch.get_autocast_dtype(device_type) if is_half else torch.float32
        return {torch.float16: "fp16", torch.bfloat16: "bf16"}.get(dtype, "fp32")

    def _gradients(
        self, step: int, precision: Callable[[], AbstractContextManager[object]]
    ) -> tuple[Losses, float]:
        """Losses and gradients of a step, and the seconds in which samples were collated."""
        options = self.options
        torch.manual_seed(options.seed)
        self.model.train()
        data = 0.0
        for part in range(options.grad_accum):
            started = time.perf_counter()
            first = (step * options.grad_accum + part) * options.batch_size
            positions = range(first, first + options.batch_size)
            samples = self.order.samples(positions)
            draws = Draws.at(options.seed, positions, step)
            batch = self.objective.collate(self.model, samples, draws)
            data += time.perf_counter() - started
            with precision():
                losses = self.objective.losses(self.model, batch)
            (losses.total / options.grad_accum).backward()  # type: ignore[no-untyped-call]
        return losses, data

    def _finish(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, self.options.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _estimate(self, precision: str, peak: int) -> MemoryEstimate:
        self._finish()
        trained = tensor_bytes(self.parameters)
        return MemoryEstimate(
            precision=precision,
            weights=sum(part.held for part in part_sizes(self.model)),
            gradients=trained,
            optimizer=optimizer_bytes(self.optimizer),
            average=trained if self.options.ema_decay else 0,
            activations=peak,
        )


def _wait_for(device: torch.device) -> None:
    """Let a device finish what it was given, so that the clock tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
