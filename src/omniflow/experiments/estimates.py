"""Means over seeds, and differences between recipes, judged over seeds and records together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from omniflow.experiments.student import two_sided_p, two_sided_quantile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.95

#: Differences with a smaller adjusted p-value are called clear.
CLEAR = 0.05


@dataclass(frozen=True)
class Measured:
    """One metric of one recipe.

    Args:
        values: Seed -> figure over all records.
        draws: Seed -> its figure on each of the same resamples of the records; empty where the
            metric has no figures of records.
        records: How many records the figures are of.
    """

    values: Mapping[int, float]
    draws: Mapping[int, NDArray[np.float64]]
    records: int


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, or a difference of two such means.

    Args:
        value: The mean.
        deviation: Standard deviation between seeds; None with one seed.
        interval: 95 % interval for other seeds and other records; None where nothing is known.
        p_value: Two-sided, of the value being 0; None without an interval.
        seeds: The seeds.
    """

    value: float
    deviation: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Contrast:
    """The second recipe's figure less the first one's.

    Args:
        first: Name of the first recipe.
        second: Name of the second one.
        estimate: The difference, of the seeds that both have.
        adjusted_p: Its p-value after Holm, for as many as were tested; None where there is none.
    """

    first: str
    second: str
    estimate: Estimate
    adjusted_p: float | None

    @property
    def is_clear(self) -> bool:
        """Whether chance alone would hardly show it."""
        return self.adjusted_p is not None and self.adjusted_p < CLEAR


def mean_of(measured: Measured) -> Estimate:
    """The mean over seeds."""
    return _estimate(measured.values, measured.draws, measured.records)


def contrasts_of(recipes: Mapping[str, Measured]) -> list[Contrast]:
    """Every pair of recipes that have a seed in common, the earlier one first.

    Runs of one seed read the same samples in the same order with the same noise, so that their
    difference is taken seed by seed.
    """
    found = []
    for (first, one), (second, other) in combinations(recipes.items(), 2):
        seeds = [seed for seed in one.values if seed in other.values]
        if seeds:
            found.append((first, second, _difference(one, other, seeds)))
    adjusted = holm([estimate.p_value for _, _, estimate in found])
    return [
        Contrast(first, second, estimate, p)
        for (first, second, estimate), p in zip(found, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for their number (Holm 1979); None stays None and counts as no test."""
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        adjusted[place] = largest
    return adjusted


def _difference(one: Measured, other: Measured, seeds: Sequence[int]) -> Estimate:
    values = {seed: other.values[seed] - one.values[seed] for seed in seeds}
    both = [seed for seed in seeds if seed in one.draws and seed in other.draws]
    draws = {seed: other.draws[seed] - one.draws[seed] for seed in both}
    return _estimate(values, draws, min(one.records, other.records))


def _estimate(
    values: Mapping[int, float], draws: Mapping[int, NDArray[np.float64]], records: int
) -> Estimate:
    """Mean, and what its error is made of.

    The squared error is that of the mean over seeds, s^2 / n, plus the variance of the mean over
    resamples of the records. What differs between seeds by the choice of records is in both, so
    that the sum is rather too large. Degrees of freedom are Satterthwaite's.
    """
    import numpy as np

    figures = np.array(list(values.values()), dtype=np.float64)
    count, value = len(figures), float(figures.mean())
    deviation = float(figures.std(ddof=1)) if count > 1 else None
    seeds = tuple(values)
    of_seeds = 0.0 if deviation is None else deviation**2 / count
    has_draws = len(draws) == count and records > 1
    of_records = (
        float(np.mean([draws[seed] for seed in seeds], axis=0).var(ddof=1)) if has_draws else 0.0
    )
    total = of_seeds + of_records
    is_known = (has_draws or deviation is not None) and math.isfinite(total)
    if not is_known or not math.isfinite(value):
        return Estimate(value, deviation, None, None, seeds)
    error = math.sqrt(total)
    # The same figure for every seed and every resample, such as a share of 1.
    if error == 0.0:
        return Estimate(value, deviation, (value, value), 1.0 if value == 0 else 0.0, seeds)
    degrees = _degrees(of_seeds, count - 1, of_records, records - 1)
    half = two_sided_quantile(LEVEL, degrees) * error
    p_value = two_sided_p(abs(value) / error, degrees)
    return Estimate(value, deviation, (value - half, value + half), p_value, seeds)


def _degrees(one: float, one_degrees: int, other: float, other_degrees: int) -> float:
    """Degrees of freedom of a sum of two independent variances (Satterthwaite 1946)."""
    parts = sum(
        variance**2 / degrees
        for variance, degrees in ((one, one_degrees), (other, other_degrees))
        if degrees > 0
    )
    return (one + other) ** 2 / parts
