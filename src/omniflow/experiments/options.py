"""How the runs of an experiment are tried out once they are trained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from omniflow.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class ExperimentOptions:
    """What every trained model makes of which records, and what is measured of it.

    Args:
        task: What is given and what is made: text alone is made.
        noise_level: Noise in a given text, in [0, 1]. At 0 a model that copies is perfect, at 1
            nothing of the reference is left.
        steps: Denoising steps from that level; the backbone's own number when None.
        split: Split of the datasets.
        limit: Records, the first ones of the split; None for all.
        generation_seed: Start of the noise of every record, the same for every run.
        metrics: Metrics by name; those that suit the predictions when empty.
        resamples: How often records are drawn for intervals, 40 and more.

    Raises:
        ConfigError: If a number is out of range.
    """

    task: str = "t2t"
    noise_level: float = 0.5
    steps: int | None = 14
    split: str = "test"
    limit: int | None = 500
    generation_seed: int = 0
    metrics: tuple[str, ...] = ()
    resamples: int = 1000

    def __post_init__(self) -> None:
        for name in ("limit", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, value, expected="a whole number >= 1")
        if not 0.0 <= self.noise_level <= 1.0:
            raise ConfigError("noise_level", self.noise_level, expected="a number in [0, 1]")
        if self.resamples < 40:
            raise ConfigError("resamples", self.resamples, expected="a whole number >= 40")
        if not 0 <= self.generation_seed < 2**63:
            raise ConfigError(
                "generation_seed", self.generation_seed, expected="a whole number in [0, 2**63)"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**dataclasses.asdict(self), "metrics": list(self.metrics)}
