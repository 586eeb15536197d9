"""Everybody who follows a run: its caller, trackers and plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.reporter import Reporter, RunResult
from omniflow.training.run_hooks import HookReporter
from omniflow.training.tracking import TrackerReporter

if TYPE_CHECKING:
    from omniflow.hooks import Ending
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry
    from omniflow.training.processes import Processes
    from omniflow.training.schedule import Plan


class Watchers:
    """Who follows a run; in other processes than the main one, nobody.

    Args:
        recipe: The run's.
        folder: The run's folder, as it is before anything of a continued run is taken back.
        registry: Where the plugins are that follow runs.
        reporter: The caller's.
        processes: Those of the run; all of them make, start and tell their watchers.

    Attributes:
        reporter: Tells all of them.

    Raises:
        ConfigError: If a tracker of the recipe is not installed.
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        registry: Registry,
        reporter: Reporter | None,
        processes: Processes,
    ) -> None:
        self.recipe = recipe
        self.processes = processes
        self.trackers = TrackerReporter((), folder)
        self.reporter = Reporter()
        processes.on_main(lambda: self._gather(folder, registry, reporter))

    def _gather(self, folder: Path, registry: Registry, reporter: Reporter | None) -> None:
        self.trackers = TrackerReporter(self.recipe.training.trackers, folder)
        reporters = [] if reporter is None else [reporter]
        if self.trackers.names:
            reporters.append(self.trackers)
        if registry.subscribers:
            reporters.append(HookReporter(folder, registry.subscribers))
        if reporters:
            self.reporter = reporters[0] if len(reporters) == 1 else Everyone(reporters)

    def start(self, step: int) -> None:
        """Start the trackers, before anything else is written to the run's folder.

        Args:
            step: Steps taken before.

        Raises:
            ConfigError: If one cannot be started.
        """
        self.processes.on_main(lambda: self.trackers.start(self.recipe, step))

    @contextmanager
    def told(self, plan: Plan, step: Callable[[], int]) -> Iterator[None]:
        """While entered, the run goes on: all are told when it begins and how it ends.

        Args:
            plan: How long the run is.
            step: Says how many steps are taken.
        """
        try:
            self.reporter.begun(self.recipe, plan, step())
            yield
        except BaseException as error:
            self.reporter.ended(_how(error), step(), error)
            raise
        self.reporter.ended("finished", step(), None)


class Everyone(Reporter):
    """Tells several reporters, in their order; a step costs nothing where none looks at steps."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self.reporters = tuple(reporters)
        self.counting = [
            reporter for reporter in reporters if type(reporter).stepped is not Reporter.stepped
        ]

    def assembled(self, recipe: Recipe, summary: Mapping[str, Any]) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.assembled(recipe, summary)

    def begun(self, recipe: Recipe, plan: Plan, step: int) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.begun(recipe, plan, step)

    def started(self, plan: Plan, step: int, notices: Sequence[str]) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.started(plan, step, notices)

    def stepped(self, step: int) -> None:
        """Tell those that look at steps."""
        for reporter in self.counting:
            reporter.stepped(step)

    def logged(self, figures: Mapping[str, Any]) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.logged(figures)

    def evaluated(self, figures: Mapping[str, Any], *, is_best: bool) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.evaluated(figures, is_best=is_best)

    def saved(self, folder: Path) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.saved(folder)

    def stopped_early(self, step: int, best: Mapping[str, Any]) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.stopped_early(step, best)

    def finished(self, result: RunResult) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.finished(result)

    def ended(self, how: Ending, step: int, error: BaseException | None) -> None:
        """Tell all."""
        for reporter in self.reporters:
            reporter.ended(how, step, error)


def _how(error: BaseException) -> Ending:
    is_stopped = isinstance(error, InterruptedRunError | KeyboardInterrupt)
    return "interrupted" if is_stopped else "failed"
