"""What a run tells whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from omniflow.hooks import Ending
    from omniflow.recipe import Recipe
    from omniflow.training.schedule import Plan


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Args:
        folder: The run's folder.
        steps: Optimizer steps taken in all.
        best: Figures of the best evaluation, `step` among them.
        first: Figures of the evaluation before the first step.
        last: Figures of the last evaluation.
        seconds: Time spent in this process, evaluations and checkpoints included.
        trainable: Number of trained parameters.
        texts_cut: Texts of the training split that were longer than the limit, as met so far.
        records_skipped: Records that could not be read, a record counted as often as it was met.
        records_unserved: Records left out as they serve no task, counted likewise.
        is_stopped_early: Whether it ended because evaluations no longer got better.
    """

    folder: Path
    steps: int
    best: Mapping[str, float]
    first: Mapping[str, float]
    last: Mapping[str, float]
    seconds: float
    trainable: int
    texts_cut: int
    records_skipped: int = 0
    records_unserved: int = 0
    is_stopped_early: bool = False


class Reporter:
    """Callbacks of a run; this one says nothing. Each may be overridden."""

    def assembled(self, recipe: Recipe, summary: Mapping[str, Any]) -> None:
        """The model stands; `summary` holds parameter counts and notes."""

    def begun(self, recipe: Recipe, plan: Plan, step: int) -> None:
        """The run begins, or goes on after `step` steps; nothing has been measured yet."""

    def started(self, plan: Plan, step: int, notices: Sequence[str]) -> None:
        """The first step is about to be taken, `step` of them having been taken before."""

    def stepped(self, step: int) -> None:
        """A step is done; called at every step, so it must be cheap."""

    def logged(self, figures: Mapping[str, Any]) -> None:
        """The training figures of one log interval."""

    def evaluated(self, figures: Mapping[str, Any], *, is_best: bool) -> None:
        """The figures of one evaluation."""

    def saved(self, folder: Path) -> None:
        """A checkpoint is written."""

    def stopped_early(self, step: int, best: Mapping[str, Any]) -> None:
        """The run ends after `step` steps, as evaluations no longer get better than the best."""

    def finished(self, result: RunResult) -> None:
        """All steps are taken."""

    def ended(self, how: Ending, step: int, error: BaseException | None) -> None:
        """A run that had begun is over after `step` steps, also by an error or a signal."""
