"""Perplexity of the references under the text decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence

from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import pooled_tokens, token_rows
from omniflow.version import __version__


class Perplexity(Metric):
    """exp of the mean negative log-likelihood of a reference token: 1 and up, lower is better.

    Every token before it is the reference's (teacher forcing). Likelihoods of all records are
    pooled over tokens before the exponential; a mean of perplexities of records or batches would
    be another, larger figure. Figures of two models compare only if their tokenizers are one.
    Infinite when the mean is above what a float can hold the exponential of (709 nats).
    """

    higher_is_better = False

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Perplexity over the token scores that were recorded at generation.

        Raises:
            DataError: If a record has no token scores.
        """
        tokens = pooled_tokens(predictions, metric="perplexity")
        return Score(
            value=self.figure((tokens.nll, tokens.count)),
            signature={
                "implementation": "omniflow",
                "version": __version__,
                "measure": "exp(sum of nll / all tokens), teacher forcing",
                "tokens": "end of text counted, padding and BOS not",
            },
            details={"tokens": float(tokens.count), "nll_per_token": tokens.nll / tokens.count},
            records=self._records(predictions),
        )

    def figure(self, totals: Sequence[float]) -> float:
        """Perplexity of added-up likelihoods and tokens; not a number where there is no token."""
        nll, count = totals
        try:
            return math.exp(nll / count) if count else math.nan
        except OverflowError:
            return math.inf

    def _records(self, predictions: Sequence[Prediction]) -> RecordFigures:
        import numpy as np

        rows = token_rows(predictions)[:, :2]
        return RecordFigures(np.array([self.figure(row) for row in rows.tolist()]), rows)
