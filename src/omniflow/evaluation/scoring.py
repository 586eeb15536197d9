"""Predictions and metrics in, eval_results.json out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniflow.errors import UsageError
from omniflow.evaluation.predictions import PredictionFile
from omniflow.files import write_json
from omniflow.interfaces.metric import Metric, Score

FORMAT = "omniflow.evaluation/1"


@dataclass(frozen=True)
class Evaluation:
    """The figures of one prediction file.

    Args:
        model: The checkpoint or Hub id that made the predictions; None when unsaid.
        task: Their task; None when unsaid or mixed.
        samples: How many predictions were scored.
        scores: Metric name -> its figure, in the order they were asked for.
    """

    model: str | None
    task: str | None
    samples: int
    scores: Mapping[str, Score]

    def to_dict(self) -> dict[str, Any]:
        """The content of eval_results.json: plain data; a figure that is not finite is None."""
        return {
            "format": FORMAT,
            "model": self.model,
            "task": self.task,
            "samples": self.samples,
            "metrics": {
                name: {
                    "value": _finite(score.value),
                    "samples": self.samples,
                    "signature": dict(score.signature),
                    "details": {key: _finite(figure) for key, figure in score.details.items()},
                }
                for name, score in self.scores.items()
            },
        }


def evaluate_predictions(predictions: PredictionFile, metrics: Mapping[str, Metric]) -> Evaluation:
    """Score predictions with every metric.

    Args:
        predictions: As `read_predictions` gives them.
        metrics: Name under which the figure is reported -> metric.

    Raises:
        UsageError: If no metric is given.
        DataError: If a record lacks what a metric reads.
    """
    if not metrics:
        raise UsageError("there is no metric to compute", expected="at least one metric")
    return Evaluation(
        model=predictions.model,
        task=predictions.task,
        samples=len(predictions.records),
        scores={name: metric.compute(predictions.records) for name, metric in metrics.items()},
    )


def write_results(path: str | Path, evaluation: Evaluation) -> None:
    """Write an eval_results.json; a crash at any moment leaves the previous file whole.

    Raises:
        OmniFlowError: If the file cannot be written.
    """
    write_json(path, evaluation.to_dict())


def _finite(figure: float) -> float | None:
    # JSON has no word for infinity, and none for numpy's numbers, which a plugin may return.
    return float(figure) if math.isfinite(figure) else None
