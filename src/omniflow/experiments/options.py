"""How the runs of an experiment are tried out once they are trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniflow.errors import ConfigError
from omniflow.evaluation.entries import PREDICTIONS_NAME, RESULTS_NAME
from omniflow.tasks import Task


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions:
    """What every trained model makes of which records, and what is measured of it.

    Args:
        task: What is given and what is made: text alone is made.
        noise_levels: Noise in a given text, each in [0, 1]; everything is made at each of them, and
            the first is the one that the page shows. At 0 a model that copies is perfect, at 1
            nothing of the reference is left.
        steps: Denoising steps from a level above 0; the backbone's own number when None.
        split: Split of the datasets.
        limit: Records, the first ones of the split; None for all.
        generation_seed: Start of the noise of every record, the same for every run.
        metrics: Metrics by name; those that suit the predictions when empty.
        resamples: How often records are drawn for intervals, 40 and more.

    Raises:
        ConfigError: If a number is out of range.
    """

    task: str = "t2t"
    noise_levels: tuple[float, ...] = (0.5, 0.0)
    steps: int | None = 14
    split: str = "test"
    limit: int | None = 300
    generation_seed: int = 0
    metrics: tuple[str, ...] = ()
    resamples: int = 1000

    def __post_init__(self) -> None:
        for name in ("limit", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, value, expected="a whole number >= 1")
        levels = self.noise_levels
        fitting = all(0.0 <= level <= 1.0 for level in levels)
        if not levels or len(set(levels)) != len(levels) or not fitting:
            raise ConfigError(
                "noise_levels", list(levels), expected="numbers in [0, 1], each once, such as 0.5,0"
            )
        if self.resamples < 40:
            raise ConfigError("resamples", self.resamples, expected="a whole number >= 40")
        if not 0 <= self.generation_seed < 2**63:
            raise ConfigError(
                "generation_seed", self.generation_seed, expected="a whole number in [0, 2**63)"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}

    @property
    def levels(self) -> tuple[float | None, ...]:
        """The levels, or None alone for a task that is given no text."""
        return self.noise_levels if "text" in Task.parse(self.task).given else (None,)

    def predictions(self, folder: Path, level: float | None) -> Path:
        """Where a run has what it made at a level; the first one has the usual name."""
        return folder / self._named(PREDICTIONS_NAME, level)

    def results(self, folder: Path, level: float | None) -> Path:
        """Where a run has the figures of that."""
        return folder / self._named(RESULTS_NAME, level)

    def _named(self, name: str, level: float | None) -> str:
        stem, suffix = name.rsplit(".", 1)
        return name if level == self.levels[0] else f"{stem}-noise-{level:g}.{suffix}"


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
