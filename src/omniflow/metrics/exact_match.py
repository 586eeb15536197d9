"""Exact match: how many predictions are a reference, letter by letter."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import require_references
from omniflow.metrics.words import split_words
from omniflow.version import __version__


class ExactMatch(Metric):
    """Share of predictions that are the same as one of their references, in [0, 1].

    Unicode forms of one letter are the same (NFC), and so are runs of white space; white space at
    the ends is nothing.

    Args:
        lowercase: Whether case is ignored.
        ignore_punctuation: Whether words alone are compared, in lower case.
    """

    def __init__(self, *, lowercase: bool = False, ignore_punctuation: bool = False) -> None:
        self.lowercase = lowercase
        self.ignore_punctuation = ignore_punctuation

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Share over the records.

        Raises:
            DataError: If a record has no reference.
        """
        require_references(predictions)
        import numpy as np

        values = np.array([float(self._is_match(record)) for record in predictions])
        return Score(
            value=float(values.mean()),
            signature={
                "implementation": "omniflow",
                "version": __version__,
                "compared": self._description(),
                "references": "any",
            },
            details={"matches": float(values.sum())},
            records=RecordFigures(values),
        )

    def _is_match(self, record: Prediction) -> bool:
        made = self._normal(record.prediction)
        return any(made == self._normal(reference) for reference in record.references)

    def _normal(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        words = split_words(text) if self.ignore_punctuation else text.split()
        return " ".join(words).lower() if self.lowercase else " ".join(words)

    def _description(self) -> str:
        if self.ignore_punctuation:
            return "NFC, words in lower case without punctuation"
        return f"NFC, single spaces, {'lower case' if self.lowercase else 'case kept'}"
