"""How an experiment goes, on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.experiments.watcher import Watcher
from omniflow_cli import render
from omniflow_cli.progress import counting, reporting

if TYPE_CHECKING:
    from omniflow.experiments.failures import Failure
    from omniflow.experiments.plan import PlannedRun
    from omniflow.training.reporter import Reporter


class ExperimentProgress(Watcher):
    """A line for every run that begins and ends, and bars or lines for what is done here.

    Args:
        total: Number of runs.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.ended = 0
        self.before: set[Path] = set()
        self.started = time.monotonic()

    def planned(self, runs: Sequence[PlannedRun], done: Sequence[PlannedRun], jobs: int) -> None:
        """How many runs there are."""
        self.total = len(runs)
        self.before = {run.folder for run in done}
        before = f", {len(done)} of them done before" if done else ""
        several = f"{jobs} at a time; each says more in its .log" if jobs > 1 else "one at a time"
        render.note(f"{len(runs)} runs{before}, {several}")

    @contextmanager
    def filling(self) -> Iterator[Callable[[int, int], None]]:
        """The work that all runs share."""
        with counting("frozen work for all runs") as progress:
            yield progress

    def begun(self, run: PlannedRun) -> None:
        """A run begins."""
        if run.folder not in self.before:
            render.note(f"{run.title}: {run.folder}")

    @contextmanager
    def training(self, folder: Path) -> Iterator[Reporter | None]:
        """As `omniflow train` shows it; a run that is done before is passed over in silence."""
        with reporting(folder) as reporter:
            yield reporter

    @contextmanager
    def generating(self) -> Iterator[Callable[[int, int | None], None]]:
        """As `omniflow generate` shows it."""
        with counting("generating") as progress:
            yield progress

    def finished(self, run: PlannedRun) -> None:
        """A run is done; how long the others will take, were they all alike."""
        self._count(f"{run.title}: done", run.folder)

    def failed(self, failure: Failure) -> None:
        """A run has failed."""
        told = f"{failure.title}: failed: {failure.problem}"
        if failure.seed is None:
            render.note(told)
        else:
            self._count(told, None)

    def _count(self, told: str, folder: Path | None) -> None:
        self.ended += 1
        new = self.ended - len(self.before)
        if folder in self.before:
            return
        minutes = (time.monotonic() - self.started) / 60
        left = self.total - self.ended
        about = f", about {minutes / new * left:.0f} min left" if new > 0 and left > 0 else ""
        render.note(f"{told} ({self.ended} of {self.total}{about})")
