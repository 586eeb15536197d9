"""Optimizer steps: from the batches of a step to changed weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from omniflow.errors import DataError, TrainingError
from omniflow.interfaces import Batch, Losses, Objective
from omniflow.seeds import mixed_seed
from omniflow.training.compiling import compilation_told, compile_module
from omniflow.training.figures import SKIPPED_STEPS
from omniflow.training.optimizer import make_optimizer, set_lr
from omniflow.training.parallel import make_accelerator
from omniflow.training.recomputing import recompute_activations
from omniflow.training.sharded_tensors import is_sharded, sharded_like
from omniflow.training.sharding import Shards
from omniflow.training.state import restore_optimizer
from omniflow.training.step import LossModule, Shares

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import TrainingOptions
    from omniflow.training.figures import RunningFigures
    from omniflow.training.processes import Processes

#: Thirty overflows in a row after the first scale: then it is not the scale.
SMALLEST_SCALE = 2.0**-14


class Updates:
    """What changes the weights of a model, step by step.

    Args:
        model: The model.
        objective: From a batch to its losses.
        options: How the run trains.
        processes: Those that share every step.
        figures: Where losses and norms are added up.

    Raises:
        ConfigError: If nothing of the model is trained, or `lr_scale` names a part that is not,
            or nothing of it can recompute activations.
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
        model.train()
        if options.gradient_checkpointing:
            recompute_activations(model)
        self.accelerator = make_accelerator(processes, model.device)
        losses = LossModule(model, objective, options.precision)
        if options.compile:
            compile_module(losses)
        self.shards: Shards | None = None
        self.module: torch.nn.Module = losses
        if options.shard and processes.count > 1:
            self.shards = Shards(losses, processes, model.device.type)
            # It has to be given the parts.
            self.optimizer: torch.optim.Optimizer = make_optimizer(model, options)
        else:
            made = make_optimizer(model, options)
            self.module, prepared = self.accelerator.prepare(losses, made)
            # What accelerate lays around it is for scripts that leave accumulation to it.
            self.optimizer = prepared.optimizer
        self.scaler = torch.amp.GradScaler(model.device.type, enabled=options.precision == "fp16")

    def take(self, step: int, batches: Sequence[Batch], lr: float) -> None:
        """Take one step.

        Args:
            step: Steps taken before.
            batches: This process's batches of the step.
            lr: The learning rate, before a part's own factor.

        Raises:
            DataError: If the batches of other processes do not go with these.
        """
        shares = Shares.of(
            [self.objective.counts(batch) for batch in batches],
            self.processes,
            [self.objective.head_passes(batch) for batch in batches],
        )
        self._check_alike(shares, step)
        self._check_passes(batches, step)
        # Walks through every frozen module, which takes as long as a small batch's tokens.
        if not self.model.training:
            self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        for part, batch in enumerate(batches):
            self._seed(step, part)
            self._add_gradients(part, batch, shares)
        if self._is_reduced_here:
            self.processes.average_gradients(self.model.trainable_parameters())
        self.scaler.unscale_(self.optimizer)
        # Clip before the step: clipping after it bounds a gradient nobody uses again.
        norm = self.accelerator.clip_grad_norm_(
            self.model.trainable_parameters(), self.options.grad_clip
        )
        if is_sharded(norm):
            norm = norm.full_tensor()
        self._add_norm(norm / self.processes.count)
        self.figures.count(("loss", "grad_norm", *shares.totals))
        set_lr(self.optimizer, lr)
        # The fused optimizer looks on the device whether the step is to be skipped.
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def whole(self) -> AbstractContextManager[None]:
        """While entered, the model's weights are whole here, to be used or saved, not changed."""
        return nullcontext() if self.shards is None else self.shards.whole()

    def restore_weights(self, trained: Mapping[str, Tensor], where: str) -> None:
        """Give the model the weights of a checkpoint.

        Raises:
            CheckpointError: If they are not those of this model.
        """
        targets = self.model.trained_state()
        parts = {
            name: sharded_like(tensor, targets[name]) if name in targets else tensor
            for name, tensor in trained.items()
        }
        self.model.load_trained_state(parts, where=where)

    def check_scale(self, step: int, kept: str) -> None:
        """Stop when no scale of the loss is left at which gradients are finite.

        Args:
            step: Steps taken.
            kept: What is left of the run.

        Raises:
            TrainingError: If so.
        """
        if self.scaler.is_enabled() and self.scaler.get_scale() < SMALLEST_SCALE:
            raise TrainingError(
                f"gradients overflow in fp16 at step {step}, however the loss is scaled",
                notes=[kept, "try --precision bf16 or fp32, or a smaller --lr"],
            )

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds beside the optimizer's memory, as plain data."""
        return {"scaler": self.scaler.state_dict()} if self.scaler.is_enabled() else {}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint holds; one of another precision has no scale to go on with.

        Raises:
            CheckpointError: If it is the memory of other parameters.
        """
        restore_optimizer(self.optimizer, tensors)
        if self.scaler.is_enabled() and "scaler" in state:
            self.scaler.load_state_dict(dict(state["scaler"]))

    def _add_norm(self, norm: Tensor) -> None:
        if not self.scaler.is_enabled():
            self.figures.add({"grad_norm": norm})
            return
        overflows = ~norm.isfinite()
        self.figures.add(
            {
                "grad_norm": norm.masked_fill(overflows, 0.0),
                SKIPPED_STEPS: overflows / self.processes.count,
            }
        )

    def _check_alike(self, shares: Shares, step: int) -> None:
        """Refuse a step in which a head that counts what it sees would wait for others for ever."""
        if shares.are_alike or next(self.model.head.buffers(), None) is None:
            return
        raise DataError(
            f"the batches of step {step + 1} serve different tasks in different processes, "
            "which a head that learns from all of them, such as vq, cannot take",
            expected="samples that all serve the same tasks, a larger --batch-size, or one process",
        )

    def _check_passes(self, batches: Sequence[Batch], step: int) -> None:
        """Refuse a step in which a process would wait for ever for weights nobody else needs."""
        if self.shards is None:
            return
        passes = [list(self.objective.passes(batch)) for batch in batches]
        everywhere = self.processes.gather(passes)
        if any(one != everywhere[0] for one in everywhere):
            raise DataError(
                f"the batches of step {step + 1} serve different tasks in different processes, "
                "which weights that lie in parts (training.shard) cannot take",
                expected="samples that all serve the same tasks, or --no-shard",
            )

    @property
    def _is_reduced_here(self) -> bool:
        """Whether gradients are averaged over the processes once, after several batches.

        Left to torch, that would be done in the last one's backward pass, which leaves out what
        only the others have used.
        """
        several = self.processes.count > 1 and self.options.grad_accum > 1
        return several and self.shards is None

    def _seed(self, step: int, part: int) -> None:
        """Seed torch's generator, for what draws from it besides: dropout and the like."""
        number = part * self.processes.count + self.processes.rank
        torch.manual_seed(mixed_seed(mixed_seed(self.options.seed, step), number))

    def _add_gradients(self, part: int, batch: Batch, shares: Shares) -> None:
        alone = self.accelerator.no_sync(self.module) if self._is_reduced_here else nullcontext()
        with alone, compilation_told() if self.options.compile else nullcontext():
            losses = shares.scaled(part, Losses(*self.module(batch)))
            total = losses.total
            # The processes' gradients are averaged, and the shares have taken care of that.
            self.accelerator.backward(self.scaler.scale(total * self.processes.count))
        self.figures.add({**losses.terms, "loss": total})
