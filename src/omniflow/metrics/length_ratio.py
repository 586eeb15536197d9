"""Length ratio: words made to words wanted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import require_references
from omniflow.metrics.words import Tokenizer, choose_tokenizer, describe_tokenizer
from omniflow.version import __version__


class LengthRatio(Metric):
    """Words of all predictions by words of their references: 1 is best, less is too short.

    Of several references, the one nearest in length counts (the shorter one of two as near), as in
    BLEU's brevity penalty. Infinite where there are predictions and no reference has a word.

    Args:
        tokenizer: "words" (no punctuation, CJK by character), or "spaces" for texts that were
            tokenised before.

    Raises:
        ConfigError: If `tokenizer` is neither.
    """

    higher_is_better = None

    def __init__(self, *, tokenizer: Tokenizer = "words") -> None:
        self._split = choose_tokenizer(tokenizer)
        self.tokenizer = tokenizer

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Ratio of sums over the records.

        Raises:
            DataError: If a record has no reference.
        """
        require_references(predictions)
        import numpy as np

        lengths = np.array([self._lengths(record) for record in predictions], dtype=np.float64)
        made, wanted = (float(total) for total in lengths.sum(axis=0))
        return Score(
            value=self.figure((made, wanted)),
            signature={
                "implementation": "omniflow",
                "version": __version__,
                "measure": "prediction words / words of the reference nearest in length, summed",
                "tokenizer": describe_tokenizer(self.tokenizer),
            },
            details={"prediction_words": made, "reference_words": wanted},
            records=RecordFigures(np.array([self.figure(row) for row in lengths]), lengths),
        )

    def figure(self, totals: Sequence[float]) -> float:
        """The ratio of added-up lengths; 1 when both are 0."""
        made, wanted = totals
        if wanted == 0:
            return 1.0 if made == 0 else math.inf
        return float(made / wanted)

    def _lengths(self, record: Prediction) -> tuple[int, int]:
        made = len(self._split(record.prediction))
        wanted = (len(self._split(reference)) for reference in record.references)
        return made, min(wanted, key=lambda length: (abs(length - made), length))
