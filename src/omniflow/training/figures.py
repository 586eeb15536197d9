"""The figures of a log interval: added up where they are made, and looked at when logging only."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from omniflow.errors import TrainingError
from omniflow.interfaces import HEAD_LOSSES

if TYPE_CHECKING:
    from omniflow.training.processes import Processes

#: Steps that were left out because gradients overflowed; the interval's number, and no mean.
SKIPPED_STEPS = "skipped_steps"

_PREFIX = "sum."


class RunningFigures:
    """Sums of a run's figures since the last line of the log.

    Args:
        processes: Those that share the run; each adds its part.
        device: Where the sums are kept.

    Attributes:
        texts_cut: Texts that were longer than the limit, since the run began.
    """

    def __init__(self, processes: Processes, device: torch.device) -> None:
        self.processes = processes
        self.device = device
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}
        self.texts_cut = 0
        self._texts_cut_here = 0

    def add(self, figures: Mapping[str, Tensor]) -> None:
        """Add scalars to the sums of their names; nothing is read back from the device."""
        for name, value in figures.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def count(self, names: Iterable[str]) -> None:
        """One more step that had figures of these names."""
        for name in names:
            self.counts[name] = self.counts.get(name, 0.0) + 1.0

    def count_cut_texts(self, count: int) -> None:
        """So many texts of a batch of this process have been cut."""
        self._texts_cut_here += count

    def settle(self) -> dict[str, float]:
        """The sums over all processes; from then on they are the main one's."""
        totals = self.processes.sum({name: float(value) for name, value in self.sums.items()})
        cut = self.processes.sum({"texts": self._texts_cut_here})
        self.texts_cut += int(cut["texts"])
        self._texts_cut_here = 0
        if self.processes.count > 1:
            is_main = self.processes.is_main
            self.sums = {
                name: torch.tensor(value if is_main else 0.0, device=self.device)
                for name, value in totals.items()
            }
        return totals

    def check_finite(self, step: int, kept: str) -> None:
        """Settle, and stop before numbers that are none reach a checkpoint.

        Args:
            step: Steps taken.
            kept: What is left of the run.

        Raises:
            TrainingError: If a sum is not finite.
        """
        figures = self.settle()
        broken = {name: value for name, value in figures.items() if not math.isfinite(value)}
        if not broken:
            return
        raise TrainingError(
            f"loss is not finite at step {step} "
            f"({', '.join(f'{name}: {value}' for name, value in broken.items())})",
            notes=[
                kept,
                "try a smaller --lr, --precision fp32, or a smaller weight of the term named above",
            ],
        )

    def take_means(self) -> dict[str, float]:
        """The settled means, each over the steps that had the figure; then all begins anew."""
        sums = {name: float(value) for name, value in self.sums.items()}
        skipped = sums.pop(SKIPPED_STEPS, None)
        if skipped:
            # Their gradients have no length.
            self.counts["grad_norm"] = max(1.0, self.counts["grad_norm"] - round(skipped))
        means = {
            name: value / self.counts.get(name, self.counts.get(HEAD_LOSSES, 1.0))
            for name, value in sums.items()
        }
        if skipped is not None:
            means[SKIPPED_STEPS] = round(skipped)
        self.sums, self.counts = {}, {}
        return means

    def tensors(self) -> dict[str, Tensor]:
        """The settled sums as `sum.NAME`, for a checkpoint."""
        return {f"{_PREFIX}{name}": value for name, value in self.sums.items()}

    def state(self) -> dict[str, Any]:
        """The rest of what a checkpoint holds, as plain data."""
        return {"texts_cut": self.texts_cut, "counts": self.counts}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint holds; what all have added up is the main process's."""
        self.sums = {
            name.removeprefix(_PREFIX): value.to(self.device) * self.processes.is_main
            for name, value in tensors.items()
            if name.startswith(_PREFIX)
        }
        self.counts = dict(state["counts"])
        self.texts_cut = state["texts_cut"]
