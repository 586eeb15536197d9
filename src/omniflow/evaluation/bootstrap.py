"""Intervals of figures, and of differences between them, by drawing records anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omniflow.errors import ConfigError
from omniflow.interfaces.metric import Interval, Metric, Prediction, Score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL = 0.95
RESAMPLES = 1000

#: Resamples of a metric that has no figures of records and has to compute each one.
RECOMPUTED = 100

#: Numbers that are drawn at a time.
_BLOCK = 2_000_000

METHOD = "percentile bootstrap over records"


@dataclass(frozen=True)
class Sums:
    """What resamples of a figure are made of.

    Args:
        rows: Numbers of each record [records, columns].
        figure: The figure of rows that were added up.
    """

    rows: NDArray[np.float64]
    figure: Callable[[Sequence[float]], float]

    @classmethod
    def of(cls, metric: Metric, score: Score) -> Sums | None:
        """Those of a score; None when it has no figures of records."""
        import numpy as np

        records = score.records
        if records is None:
            return None
        if records.statistics is not None:
            return cls(np.asarray(records.statistics, np.float64), metric.figure)
        values = np.asarray(records.values, np.float64)
        if not np.isfinite(values).all():
            return None
        return cls(values[:, None], lambda total: float(total[0]) / len(values))


def check_settings(resamples: int, seed: int) -> None:
    """Refuse numbers that cannot be used.

    Raises:
        ConfigError: If there are too few resamples for an interval, or the seed is negative.
    """
    if resamples != 0 and resamples < 40:
        raise ConfigError("resamples", resamples, expected="0 for no interval, or 40 and more")
    if seed < 0:
        raise ConfigError("seed", seed, expected="a whole number >= 0")


def resampled_sums(
    tables: Sequence[NDArray[np.float64]], *, resamples: int, seed: int
) -> list[NDArray[np.float64]]:
    """Sums over records that are drawn with repetition, the same ones for every table.

    Args:
        tables: Each [records, columns], of the same records.
        resamples: How often.
        seed: Start of the draws; they depend on it and the number of records alone.

    Returns:
        For each table [resamples, columns].
    """
    import numpy as np

    sums: list[list[NDArray[np.float64]]] = [[] for _ in tables]
    for weights in _weights(len(tables[0]), resamples, seed):
        for table, blocks in zip(tables, sums, strict=True):
            blocks.append(weights @ table)
    return [np.concatenate(blocks) for blocks in sums]


def percentiles(figures: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
    """The two ends of the interval; each is one of the figures, which may be infinite."""
    import numpy as np

    tail = (1 - LEVEL) / 2
    low, high = np.quantile(figures, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def intervals(
    metrics: Mapping[str, Metric],
    scores: Mapping[str, Score],
    predictions: Sequence[Prediction],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """The 95 % interval of every score.

    A metric that brings an interval keeps it. One that has figures of records, or sums behind its
    figure, is drawn anew from these; any other is computed on 100 resamples of the predictions.

    Args:
        metrics: Name -> the metric.
        scores: Name -> what it has computed.
        predictions: The records that it has computed it on.
        resamples: How often records are drawn; 0 for no intervals.
        seed: Start of the draws.

    Returns:
        Name -> interval; None for fewer than two records, or without resamples.
    """
    check_settings(resamples, seed)
    if resamples == 0 or len(predictions) < 2:
        return dict.fromkeys(scores)
    found: dict[str, Interval | None] = {name: score.interval for name, score in scores.items()}
    drawn = {
        name: sums
        for name, score in scores.items()
        if score.interval is None and (sums := Sums.of(metrics[name], score)) is not None
    }
    tables = [sums.rows for sums in drawn.values()]
    totals = resampled_sums(tables, resamples=resamples, seed=seed) if tables else []
    for (name, sums), rows in zip(drawn.items(), totals, strict=True):
        low, high = percentiles([sums.figure(row) for row in rows.tolist()])
        found[name] = Interval(low, high, METHOD, resamples, seed)
    for name, interval in found.items():
        if interval is None:
            found[name] = _recomputed(metrics[name], predictions, min(resamples, RECOMPUTED), seed)
    return found


def _recomputed(
    metric: Metric, predictions: Sequence[Prediction], resamples: int, seed: int
) -> Interval:
    import numpy as np

    random = np.random.default_rng(seed)
    figures = []
    for _ in range(resamples):
        drawn = random.integers(len(predictions), size=len(predictions))
        figures.append(metric.compute([predictions[index] for index in drawn]).value)
    low, high = percentiles(figures)
    return Interval(low, high, f"{METHOD}, recomputed", resamples, seed)


def _weights(records: int, resamples: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each record is drawn [some resamples, records], block by block."""
    import numpy as np

    random = np.random.default_rng(seed)
    at_once = max(1, _BLOCK // records)
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = random.integers(records, size=(count, records))
        drawn += np.arange(count)[:, None] * records
        yield (
            np.bincount(drawn.ravel(), minlength=count * records)
            .reshape(count, records)
            .astype(np.float64)
        )
