"""Passes on to trackers what a run measures, each line once however often the run is continued."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from omniflow.checkpoints import read_json
from omniflow.files import write_json
from omniflow.redaction import without_secrets
from omniflow.training.guard import Guard
from omniflow.training.reporter import Reporter
from omniflow.training.trackers import NAMES, TrackedRun, Tracker, check_installed, open_tracker

if TYPE_CHECKING:
    from omniflow.hooks import Ending
    from omniflow.recipe import Recipe


class TrackerReporter(Reporter):
    """Logs every line of `metrics.jsonl` to the trackers, named `train/loss`, `validation/ppl`, ...

    `trackers.json` in the run's folder says what each knows the run by, and up to which step it had
    been told when this process began. A run that is continued from an earlier step does not tell
    those steps again; tensorboard is told again, as it drops what it had.

    A tracker that fails during the run is told of, and the run goes on.

    Args:
        names: The trackers.
        folder: The run's folder, as it is before anything of a continued run is taken back.

    Raises:
        ConfigError: If the package of one is not installed.
    """

    def __init__(self, names: Iterable[str], folder: Path) -> None:
        self.names = sorted(names, key=NAMES.index)
        for name in self.names:
            check_installed(name)
        self.folder = folder
        self.known = _known(folder) if self.names else {}
        self.running: dict[str, tuple[Tracker, Guard]] = {}

    def start(self, recipe: Recipe, step: int) -> None:
        """Open the trackers.

        Args:
            recipe: What is logged as hyperparameters, without secrets.
            step: Steps taken before.

        Raises:
            ConfigError: If one cannot be started; those opened before it are closed.
        """
        settings = flat(without_secrets(recipe.to_dict()))
        try:
            for name in self.names:
                is_known = name in self.known
                entry = self.known.setdefault(name, {"id": uuid4().hex[:8], "told": {}})
                run = TrackedRun(self.folder, entry["id"], settings, step, is_known)
                guard = Guard(f"tracker {name}", "metrics.jsonl has every line")
                self.running[name] = open_tracker(name, run), guard
        except BaseException:
            self._finish()
            raise
        if self.names:
            write_json(self.folder / "trackers.json", self.known)

    def logged(self, figures: Mapping[str, Any]) -> None:
        """The training figures of a log interval."""
        self._log(figures)

    def evaluated(self, figures: Mapping[str, Any], *, is_best: bool) -> None:
        """The figures of an evaluation."""
        self._log(figures)

    def ended(self, how: Ending, step: int, error: BaseException | None) -> None:
        """Close the trackers."""
        self._finish()

    def _log(self, figures: Mapping[str, Any]) -> None:
        split, step = figures["split"], figures["step"]
        values = {
            f"{split}/{name}": value
            for name, value in figures.items()
            if name != "step" and isinstance(value, int | float)
        }
        for name, (tracker, guard) in self.running.items():
            if tracker.forgets or step > self.known[name]["told"].get(split, -1):
                guard.attempt("log", partial(tracker.log, values, step))

    def _finish(self) -> None:
        for tracker, guard in self.running.values():
            with redirect_stdout(sys.stderr):
                guard.attempt("finish", tracker.finish)
            guard.sum_up()
        self.running = {}


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested options one level deep: `head.codebook_size`, `dataset.0.name`.

    Lists of scalars become text, as trackers know no lists.
    """
    flattened: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            value = {str(position): item for position, item in enumerate(value)}
        if isinstance(value, Mapping):
            flattened |= {f"{key}.{below}": leaf for below, leaf in flat(value).items()}
        elif isinstance(value, str | int | float | None):
            flattened[key] = value
        else:
            flattened[key] = json.dumps(value, default=str)
    return flattened


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """What trackers know of the run: by name, its `id` and the last step `told`, by split."""
    path = folder / "trackers.json"
    known: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}
    written = _last_steps(folder / "metrics.jsonl")
    for entry in known.values():
        told = entry["told"]
        entry["told"] = {
            split: max(written.get(split, -1), told.get(split, -1)) for split in written | told
        }
    return known


def _last_steps(metrics: Path) -> dict[str, int]:
    """The last step in `metrics.jsonl`, by split; lines are written before trackers are told."""
    steps: dict[str, int] = {}
    for line in metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else ():
        try:
            figures = json.loads(line)
        except json.JSONDecodeError:
            # The process was killed while it wrote it.
            break
        steps[figures["split"]] = max(figures["step"], steps.get(figures["split"], -1))
    return steps
