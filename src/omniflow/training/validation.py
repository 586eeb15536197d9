"""Evaluation during a run: the figures of the validation split, and which were the best."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from omniflow.draws import Draws
from omniflow.seeds import mixed_seed
from omniflow.training.device import autocast

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset, Objective
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import TrainingOptions
    from omniflow.training.processes import Processes

#: Keeps the random numbers of evaluations apart from those of training steps.
EVALUATION_SEED = 0x5EED


class Validation:
    """What a run has measured on its validation split.

    Args:
        model: The model.
        objective: Says what is measured, and which figures are better.
        dataset: The validation split.
        options: How the run evaluates.
        processes: Those that share the work.

    Attributes:
        figures: Those of the evaluations called first, last and best, as far as there are any.
    """

    def __init__(
        self,
        model: OmniFlowModel,
        objective: Objective,
        dataset: Dataset,
        options: TrainingOptions,
        processes: Processes,
    ) -> None:
        self.model = model
        self.objective = objective
        self.dataset = dataset
        self.options = options
        self.processes = processes
        self.figures: dict[str, dict[str, Any]] = {}

    @property
    def has_begun(self) -> bool:
        """Whether the run was evaluated before its first step."""
        return "first" in self.figures

    @torch.no_grad()
    def measure(self, step: int) -> dict[str, Any]:
        """The figures of the model as it is, after so many steps."""
        started = time.perf_counter()
        self.model.eval()
        sums = self.processes.sum(self._sums_of_this_process())
        return {
            "step": step,
            "split": "validation",
            **self.objective.summarise(sums),
            "seconds": round(time.perf_counter() - started, 3),
        }

    def take(self, figures: dict[str, Any]) -> bool:
        """Note figures as the last; returns whether they are the best so far."""
        is_best = self._is_best(figures)
        self.figures["last"] = figures
        self.figures.setdefault("first", figures)
        if is_best:
            self.figures["best"] = figures
        return is_best

    def _sums_of_this_process(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        options, processes = self.options, self.processes
        size, seed = options.batch_size, options.seed ^ EVALUATION_SEED
        count = min(len(self.dataset), options.eval_batches * size * processes.count)
        for start in range(processes.rank * size, count, processes.count * size):
            torch.manual_seed(mixed_seed(seed, start))
            indices = range(start, min(start + size, count))
            samples = [self.dataset[index] for index in indices]
            batch = self.objective.collate(self.model, samples, Draws.at(seed, indices))
            with autocast(self.model.device, options.precision):
                measured = self.objective.measure(self.model, batch)
            for name, value in measured.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    def _is_best(self, figures: Mapping[str, float]) -> bool:
        if "best" not in self.figures:
            return True
        name = self.objective.best_by
        ahead = float(self.figures["best"][name]) - figures[name]
        return ahead > 0 if self.objective.best_is_lowest else ahead < 0
