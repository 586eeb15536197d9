"""Metric: predictions against references, with a signature of how the figure came about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class Prediction:
    """One generated text, what it should have been, and how likely the truth was."""

    id: str
    task: str
    prediction: str
    references: tuple[str, ...]
    tokens: TokenScores | None = None


@dataclass(frozen=True)
class Score:
    """A figure and how it was made.

    Args:
        value: The figure itself; for shares and F-scores in [0, 1].
        signature: Implementation, version and settings, enough to repeat it.
        details: Further figures of the same metric, for example the n-gram precisions.
    """

    value: float
    signature: Mapping[str, str]
    details: Mapping[str, float] = field(default_factory=dict)


class Metric(ABC):
    """A figure over a list of predictions; options are the constructor's keyword parameters."""

    higher_is_better: bool = True

    @abstractmethod
    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Score at least one prediction, each with at least one reference.

        Raises:
            DataError: If a record lacks what this metric reads.
        """
