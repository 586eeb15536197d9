"""Token accuracy: how often the decoder's first choice is the reference's next token."""

from __future__ import annotations

import math
from collections.abc import Sequence

from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import pooled_tokens, token_rows
from omniflow.version import __version__


class TokenAccuracy(Metric):
    """Share of reference tokens that were the most likely one, in [0, 1].

    Every token before it is the reference's (teacher forcing). Tokens of all records are pooled,
    so a long text weighs more than a short one.
    """

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Accuracy over the token scores that were recorded at generation.

        Raises:
            DataError: If a record has no token scores.
        """
        tokens = pooled_tokens(predictions, metric="accuracy")
        return Score(
            value=tokens.correct / tokens.count,
            signature={
                "implementation": "omniflow",
                "version": __version__,
                "measure": "correct tokens / all tokens, teacher forcing",
                "tokens": "end of text counted, padding and BOS not",
            },
            details={"tokens": float(tokens.count), "correct": float(tokens.correct)},
            records=self._records(predictions),
        )

    def figure(self, totals: Sequence[float]) -> float:
        """The share of added-up hits and tokens; not a number where there is no token."""
        correct, count = totals
        return correct / count if count else math.nan

    def _records(self, predictions: Sequence[Prediction]) -> RecordFigures:
        import numpy as np

        rows = token_rows(predictions)[:, [2, 1]]
        return RecordFigures(np.array([self.figure(row) for row in rows.tolist()]), rows)
