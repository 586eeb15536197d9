"""Predictions and metrics in, figures with their intervals out."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.errors import UsageError
from omniflow.evaluation.bootstrap import RESAMPLES, check_settings, intervals
from omniflow.evaluation.predictions import PredictionFile
from omniflow.evaluation.results import Evaluation, Figure
from omniflow.interfaces.metric import Interval, Metric, Score

if TYPE_CHECKING:
    from omniflow.recipe import Choice


def evaluate_predictions(
    predictions: PredictionFile,
    metrics: Mapping[str, Metric],
    *,
    choices: Mapping[str, Choice] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
    path: str | Path | None = None,
) -> Evaluation:
    """Score predictions with every metric.

    Args:
        predictions: As `read_predictions` gives them.
        metrics: Name under which the figure is reported -> metric.
        choices: The same name -> the component and options that the metric was made of.
        resamples: How often records are drawn for an interval; 0 for no intervals.
        seed: Start of the draws.
        path: The file that the predictions were read from.

    Raises:
        UsageError: If no metric is given.
        ConfigError: If `resamples` or `seed` cannot be.
        DataError: If a record lacks what a metric reads.
    """
    if not metrics:
        raise UsageError("there is no metric to compute", expected="at least one metric")
    check_settings(resamples, seed)
    records = predictions.records
    scores = {name: metric.compute(records) for name, metric in metrics.items()}
    found = intervals(metrics, scores, records, resamples=resamples, seed=seed)
    return Evaluation(
        model=predictions.model,
        task=predictions.task,
        samples=len(records),
        figures={
            score.name or name: _figure(
                score, metrics[name], found[name], len(records), (choices or {}).get(name)
            )
            for name, score in scores.items()
        },
        ids=tuple(record.id for record in records),
        path=None if path is None else str(path),
        sha256=None if path is None else _digest(Path(path)),
        dataset=predictions.dataset,
        split=predictions.split,
    )


def _figure(
    score: Score, metric: Metric, interval: Interval | None, samples: int, choice: Choice | None
) -> Figure:
    records = score.records
    return Figure(
        value=score.value,
        samples=samples,
        signature=score.signature,
        higher_is_better=metric.higher_is_better,
        interval=interval,
        component=None if choice is None else choice.name,
        options=None if choice is None else choice.options,
        details=score.details,
        notes=tuple(score.notes),
        values=None if records is None else records.values,
        statistics=None if records is None else records.statistics,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
