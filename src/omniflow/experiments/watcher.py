"""What an experiment tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from omniflow.experiments.failures import Failure
    from omniflow.experiments.plan import PlannedRun
    from omniflow.training.reporter import Reporter


class Watcher:
    """Callbacks of an experiment; this one says nothing. Each may be overridden."""

    def planned(self, runs: Sequence[PlannedRun], left: Sequence[PlannedRun], jobs: int) -> None:
        """Of all runs, those in `left` are about to be carried out, `jobs` at a time."""

    @contextmanager
    def filling(self) -> Iterator[Callable[[int, int], None]]:
        """Frozen work is done ahead for all runs; called with (samples done, samples)."""
        yield lambda done, total: None

    def begun(self, run: PlannedRun) -> None:
        """A run begins, or goes on."""

    @contextmanager
    def training(self, folder: Path) -> Iterator[Reporter | None]:
        """A run is trained in this process; who is told how."""
        yield None

    @contextmanager
    def generating(self) -> Iterator[Callable[[int, int | None], None]]:
        """A model is tried out in this process; called with (records done, records)."""
        yield lambda done, total: None

    def finished(self, run: PlannedRun) -> None:
        """A run is trained, tried out and scored."""

    def failed(self, failure: Failure) -> None:
        """A recipe does not fit, or a run has failed; the others go on."""
