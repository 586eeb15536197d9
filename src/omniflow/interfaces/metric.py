"""Metric: predictions against references, with a signature of how the figure came about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenScores:
    """How the text decoder rates the reference tokens under teacher forcing.

    Args:
        count: Number of reference tokens, end of text included, padding and BOS not.
        nll: Sum of their negative log-likelihoods, in nats.
        correct: How many of them were the most likely token.
    """

    count: int
    nll: float
    correct: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was made of one record, what it should have been, and how likely the truth was.

    Args:
        id: Id of the record.
        task: Its task; empty when unsaid.
        prediction: The text made; empty where the task makes none.
        references: Texts that it is compared with.
        tokens: How likely the text decoder found the reference; None when that was not recorded.
        image: File of the picture that was made, or, where the task makes none, was given.
        audio: File of the sound, likewise.
    """

    id: str
    task: str
    prediction: str
    references: tuple[str, ...]
    tokens: TokenScores | None = None
    image: str | None = None
    audio: str | None = None


@dataclass(frozen=True)
class RecordFigures:
    """What single records have to do with a figure.

    Args:
        values: The figure of each record [records]; NaN where it has none.
        statistics: Rows [records, columns] whose sums over records make the figure, by
            `Metric.figure`; None when the figure is the mean of `values`.
    """

    values: NDArray[np.float64]
    statistics: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Interval:
    """Where a figure lies with 95 % confidence.

    Args:
        low: Lower end.
        high: Upper end.
        method: How it was found, in words.
        resamples: How often records were drawn; None where none are.
        seed: Start of the draws.
    """

    low: float
    high: float
    method: str
    resamples: int | None = None
    seed: int | None = None


@dataclass(frozen=True)
class Score:
    """A figure and how it was made.

    Args:
        value: The figure itself; for shares and F-scores in [0, 1].
        signature: Implementation, version and settings, enough to repeat it.
        details: Further figures of the same metric, for example the n-gram precisions.
        notes: Sentences for a reader: what was left out, or stood in for something.
        name: What it is to be reported as, where that is not the metric's own name.
        records: Figures of the single records; an interval is made of them.
        interval: The metric's own, where drawing records anew would mislead.
    """

    value: float
    signature: Mapping[str, str]
    details: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    name: str | None = None
    records: RecordFigures | None = field(default=None, compare=False, repr=False)
    interval: Interval | None = None


class Metric(ABC):
    """A figure over a list of predictions; options are the constructor's keyword parameters.

    `compute` alone makes a metric. With figures of records in its score it has an interval at
    little cost; without, it is computed anew on resamples of the predictions.
    """

    #: None where a value in between is best.
    higher_is_better: bool | None = True

    @abstractmethod
    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Score at least one prediction, each with at least one reference.

        Raises:
            DataError: If a record lacks what this metric reads.
        """

    def figure(self, totals: Sequence[float]) -> float:
        """The figure of added-up rows of statistics, for metrics whose score has them.

        Args:
            totals: Sums over records [columns].
        """
        raise NotImplementedError(f"{type(self).__name__} has no figure of statistics")
