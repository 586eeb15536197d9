"""Passes on to plugins what happens in a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.redaction import hide, without_secrets
from omniflow.training.guard import Guard
from omniflow.training.reporter import Reporter, RunResult

if TYPE_CHECKING:
    from omniflow.hooks import Ending, Subscriber
    from omniflow.recipe import Recipe
    from omniflow.training.schedule import Plan


class HookReporter(Reporter):
    """Calls the hooks of `omniflow.hooks`; a plugin that raises is told of, and the run goes on.

    Args:
        folder: The run's folder.
        subscribers: The plugins; each gets copies, so that none can change what others see.
    """

    def __init__(self, folder: Path, subscribers: Iterable[Subscriber]) -> None:
        self.folder = folder.absolute()
        self.followers = [
            (
                subscriber,
                Guard(
                    f"plugin {subscriber.name} of {subscriber.origin}",
                    f"silence with OMNIFLOW_DISABLE_PLUGINS={subscriber.origin.distribution}",
                ),
            )
            for subscriber in subscribers
        ]
        self.last: Mapping[str, Any] = {}

    def begun(self, recipe: Recipe, plan: Plan, step: int) -> None:
        """omniflow_run_started."""
        self._call(
            "omniflow_run_started",
            recipe=without_secrets(recipe.to_dict()),
            step=step,
            total_steps=plan.total_steps,
        )

    def logged(self, figures: Mapping[str, Any]) -> None:
        """omniflow_step_logged."""
        self._call("omniflow_step_logged", step=figures["step"], figures=dict(figures))

    def evaluated(self, figures: Mapping[str, Any], *, is_best: bool) -> None:
        """omniflow_evaluated."""
        self.last = dict(figures)
        self._call("omniflow_evaluated", step=figures["step"], figures=self.last, is_best=is_best)

    def saved(self, folder: Path) -> None:
        """omniflow_checkpoint_saved."""
        self._call("omniflow_checkpoint_saved", checkpoint=folder.absolute())

    def finished(self, result: RunResult) -> None:
        """Nothing yet: a run that had nothing left to do has evaluated nothing either."""
        self.last = dict(result.last)

    def ended(self, how: Ending, step: int, error: BaseException | None) -> None:
        """omniflow_run_ended."""
        told = "" if error is None else hide(" ".join(str(error).split())) or type(error).__name__
        self._call("omniflow_run_ended", how=how, step=step, error=told, figures=self.last)
        for _, guard in self.followers:
            guard.sum_up()

    def _call(self, hook: str, **arguments: Any) -> None:
        for subscriber, guard in self.followers:
            if hook in subscriber.hooks:
                told = {"folder": self.folder, **deepcopy(arguments)}
                guard.attempt(hook, partial(subscriber.call, hook, told))
