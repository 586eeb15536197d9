"""Optimizer steps: from the batches of a step to changed weights."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING

import torch

from omniflow.errors import DataError
from omniflow.interfaces import Batch, Losses, Objective
from omniflow.seeds import mixed_seed
from omniflow.training.optimizer import make_optimizer, set_lr
from omniflow.training.parallel import make_accelerator
from omniflow.training.step import LossModule, Shares

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import TrainingOptions
    from omniflow.training.figures import RunningFigures
    from omniflow.training.processes import Processes


class Updates:
    """What changes the weights of a model, step by step.

    Args:
        model: The model.
        objective: From a batch to its losses.
        options: How the run trains.
        processes: Those that share every step.
        figures: Where losses and norms are added up.

    Raises:
        ConfigError: If nothing of the model is trained, or `lr_scale` names a part that is not.
    """

    def __init__(
        self,
        model: OmniFlowModel,
        objective: Objective,
        options: TrainingOptions,
        processes: Processes,
        figures: RunningFigures,
    ) -> None:
        self.model = model
        self.objective = objective
        self.options = options
        self.processes = processes
        self.figures = figures
        self.accelerator = make_accelerator(processes, model.device)
        self.module, prepared = self.accelerator.prepare(
            LossModule(model, objective, options.precision), make_optimizer(model, options)
        )
        # What accelerate lays around it is for scripts that leave accumulation to it.
        self.optimizer: torch.optim.Optimizer = prepared.optimizer

    def take(self, step: int, batches: Sequence[Batch], lr: float) -> None:
        """Take one step.

        Args:
            step: Steps taken before.
            batches: This process's batches of the step.
            lr: The learning rate, before a part's own factor.

        Raises:
            DataError: If the batches of other processes do not go with these.
        """
        shares = Shares.of([self.objective.counts(batch) for batch in batches], self.processes)
        self._check_alike(shares, step)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        for part, batch in enumerate(batches):
            self._seed(step, part)
            self._add_gradients(part, batch, shares)
        if self._is_reduced_here:
            self.processes.average_gradients(self.model.trainable_parameters())
        # Clip before the step: clipping after it bounds a gradient nobody uses again.
        norm = self.accelerator.clip_grad_norm_(
            self.model.trainable_parameters(), self.options.grad_clip
        )
        self.figures.add({"grad_norm": norm / self.processes.count})
        self.figures.count(("loss", "grad_norm", *shares.totals))
        set_lr(self.optimizer, lr)
        self.optimizer.step()

    def _check_alike(self, shares: Shares, step: int) -> None:
        """Refuse a step in which a head that counts what it sees would wait for others for ever."""
        if shares.are_alike or next(self.model.head.buffers(), None) is None:
            return
        raise DataError(
            f"the batches of step {step + 1} serve different tasks in different processes, "
            "which a head that learns from all of them, such as vq, cannot take",
            expected="samples that all serve the same tasks, a larger --batch-size, or one process",
        )

    @property
    def _is_reduced_here(self) -> bool:
        """Whether gradients are averaged over the processes once, after several batches.

        Left to torch, that would be done in the last one's backward pass, which leaves out what
        only the others have used.
        """
        return self.processes.count > 1 and self.options.grad_accum > 1

    def _seed(self, step: int, part: int) -> None:
        """Seed torch's generator, for what draws from it besides: dropout and the like."""
        number = part * self.processes.count + self.processes.rank
        torch.manual_seed(mixed_seed(mixed_seed(self.options.seed, step), number))

    def _add_gradients(self, part: int, batch: Batch, shares: Shares) -> None:
        alone = self.accelerator.no_sync(self.module) if self._is_reduced_here else nullcontext()
        with alone:
            losses = shares.scaled(part, Losses(*self.module(batch)))
            total = losses.total
            # The processes' gradients are averaged, and the shares have taken care of that.
            self.accelerator.backward(total * self.processes.count)
        self.figures.add({**losses.terms, "loss": total})
