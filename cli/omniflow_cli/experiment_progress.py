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
    """A line for every run that begins and ends, and bars or lines for what is done here."""

    def __init__(self) -> None:
        self.left = 0
        self.ended = 0
        self.started = time.monotonic()

    def planned(self, runs: Sequence[PlannedRun], left: Sequence[PlannedRun], jobs: int) -> None:
        """How many runs there are."""
        self.left = len(left)
        done = len(runs) - len(left)
        before = f", {done} of them done before" if done else ""
        several = f"{jobs} at a time; each says more in its .log" if jobs > 1 else "one at a time"
        render.note(f"{len(runs)} runs{before}, {several}")

    @contextmanager
    def filling(self) -> Iterator[Callable[[int, int], None]]:
        """The work that all runs share."""
        with counting("frozen work for all runs") as progress:
            yield progress

    def begun(self, run: PlannedRun) -> None:
        """A run begins."""
        render.note(f"{run.title}: {run.folder}")

    @contextmanager
    def training(self, folder: Path) -> Iterator[Reporter | None]:
        """As `omniflow train` shows it."""
        with reporting(folder) as reporter:
            yield reporter

    @contextmanager
    def generating(self) -> Iterator[Callable[[int, int | None], None]]:
        """As `omniflow generate` shows it."""
        with counting("generating") as progress:
            yield progress

    def finished(self, run: PlannedRun) -> None:
        """A run is done; how long the others will take, were they all alike."""
        self._count(f"{run.title}: done")

    def failed(self, failure: Failure) -> None:
        """A recipe does not fit, or a run has failed."""
        told = f"{failure.title}: failed: {failure.problem}"
        if failure.seed is None:
            render.note(told)
        else:
            self._count(told)

    def _count(self, told: str) -> None:
        self.ended += 1
        minutes = (time.monotonic() - self.started) / 60
        to_come = self.left - self.ended
        about = f", about {minutes / self.ended * to_come:.0f} min left" if to_come else ""
        render.note(f"{told} ({self.ended} of {self.left}{about})")
