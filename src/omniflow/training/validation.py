"""Evaluation during a run: the figures of the validation split, and which were the best."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from omniflow.draws import Draws
from omniflow.errors import DataError, PluginError, TrainingError
from omniflow.interfaces import Sample
from omniflow.seeds import mixed_seed
from omniflow.training.decoding import decode_each
from omniflow.training.device import autocast

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset, Objective
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import TrainingOptions
    from omniflow.training.processes import Processes
    from omniflow.training.skipped import SkippedRecords

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
        skipped: Where records are noted that cannot be read; they count for nothing.

    Attributes:
        figures: Those of the evaluations called first, last and best, as far as there are any.
        since_best: Evaluations since the best one.
    """

    def __init__(
        self,
        model: OmniFlowModel,
        objective: Objective,
        dataset: Dataset,
        options: TrainingOptions,
        processes: Processes,
        skipped: SkippedRecords,
    ) -> None:
        self.model = model
        self.objective = objective
        self.dataset = dataset
        self.options = options
        self.processes = processes
        self.skipped = skipped
        self.figures: dict[str, dict[str, Any]] = {}
        self.since_best = 0

    @property
    def has_begun(self) -> bool:
        """Whether the run was evaluated before its first step."""
        return "first" in self.figures

    @property
    def is_patience_over(self) -> bool:
        """Whether `early_stopping` evaluations in a row were no better than the best."""
        patience = self.options.early_stopping
        return bool(patience) and self.since_best >= (patience or 0)

    @torch.no_grad()
    def measure(self, step: int, kept: str) -> dict[str, Any]:
        """The figures of the model as it is.

        Args:
            step: Steps taken.
            kept: What is left of the run.

        Raises:
            TrainingError: If a figure is not finite.
            PluginError: If a figure is no number, or the one that decides is missing.
            DataError: If too many records cannot be read, or none of them can.
        """
        started = time.perf_counter()
        self.model.eval()
        sums = self.processes.sum(self._sums_of_this_process())
        self.skipped.settle(kept)
        if not sums:
            raise DataError(
                "no record of the validation split can be read", expected="at least one of them"
            )
        figures = self.objective.summarise(sums)
        self._check_numbers(figures)
        broken = [f"{name}: {value}" for name, value in figures.items() if not math.isfinite(value)]
        if broken:
            raise TrainingError(
                f"the evaluation after step {step} is not finite ({', '.join(broken)})",
                notes=[kept, "try a smaller --lr, or --precision fp32"],
            )
        return {
            "step": step,
            "split": "validation",
            **figures,
            "seconds": round(time.perf_counter() - started, 3),
        }

    def _check_numbers(self, figures: Mapping[str, object]) -> None:
        best_by = self.objective.best_by
        are_numbers = all(isinstance(value, int | float) for value in figures.values())
        if best_by not in figures or not are_numbers:
            raise PluginError(
                f"summarise() of {type(self.objective).__name__} returns {figures!r}",
                expected=f"numbers by name, {best_by} among them",
            )

    def take(self, figures: dict[str, Any]) -> bool:
        """Note figures as the last; returns whether they are the best so far.

        With early stopping they are told how many evaluations ago the best one was.
        """
        is_best = self._is_best(figures)
        self.since_best = 0 if is_best else self.since_best + 1
        if self.options.early_stopping:
            figures["since_best"] = self.since_best
        self.figures["last"] = figures
        self.figures.setdefault("first", figures)
        if is_best:
            self.figures["best"] = figures
        return is_best

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it, as plain data."""
        return {"evaluations": self.figures, "evaluations_since_best": self.since_best}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint holds."""
        self.figures = state["evaluations"]
        self.since_best = state.get("evaluations_since_best", 0)

    def _sums_of_this_process(self) -> dict[str, float]:
        sums: dict[str, float] = {}
        options, processes = self.options, self.processes
        size, seed = options.batch_size, options.seed ^ EVALUATION_SEED
        limit = options.eval_batches * size * processes.count
        records = list(islice(self.dataset.records(), limit))
        for start in range(processes.rank * size, len(records), processes.count * size):
            torch.manual_seed(mixed_seed(seed, start))
            indices = range(start, min(start + size, len(records)))
            found = decode_each(self.dataset, (records[index] for index in indices))
            self.skipped.note("validation", found)
            read = {i: x for i, x in zip(indices, found, strict=True) if isinstance(x, Sample)}
            if not read:
                continue
            draws = Draws.at(seed, list(read))
            batch = self.objective.collate(self.model, list(read.values()), draws)
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
