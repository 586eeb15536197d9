"""Metric `wer`: how many words have to be changed to come from a prediction to the truth."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from omniflow.errors import DataError
from omniflow.interfaces import Metric, Prediction, RecordFigures, Score


class WordErrorRate(Metric):
    """Words inserted, deleted and replaced, over all records, to words of the references.

    Of several references the one with the lowest rate counts. 0 is best; it may exceed 1.

    Args:
        lowercase: Whether case is ignored.
        ignore_punctuation: Whether anything but letters, digits and apostrophes is ignored.
    """

    higher_is_better = False

    def __init__(self, *, lowercase: bool = True, ignore_punctuation: bool = True) -> None:
        self.lowercase = lowercase
        self.ignore_punctuation = ignore_punctuation

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Score the records by their sums.

        Raises:
            DataError: If a record has no reference.
        """
        rows = np.array([self._edits(record) for record in predictions], dtype=np.float64)
        edits, words = (float(total) for total in rows.sum(axis=0))
        return Score(
            value=self.figure((edits, words)),
            signature={
                "implementation": "omniflow-subtitles",
                "version": "1",
                "lowercase": str(self.lowercase).lower(),
                "ignore_punctuation": str(self.ignore_punctuation).lower(),
            },
            details={"edits": edits, "reference_words": words},
            records=RecordFigures(np.array([self.figure(row) for row in rows]), rows),
        )

    def figure(self, totals: Sequence[float]) -> float:
        """The rate of added-up edits and words; of no words, the edits."""
        edits, words = totals
        return float(edits / max(words, 1))

    def _edits(self, record: Prediction) -> tuple[int, int]:
        if not record.references:
            raise DataError("there is no reference", where=f"record {record.id}")
        made = self._words(record.prediction)
        wanted = [self._words(reference) for reference in record.references]
        rows = [(edit_distance(made, words), len(words)) for words in wanted]
        return min(rows, key=lambda row: (self.figure(row), row))

    def _words(self, text: str) -> list[str]:
        text = text.lower() if self.lowercase else text
        return re.findall(r"[\w']+", text) if self.ignore_punctuation else text.split()


def edit_distance(made: Sequence[str], wanted: Sequence[str]) -> int:
    """Fewest words to insert, delete or replace, to come from one to the other (Levenshtein)."""
    row = list(range(len(wanted) + 1))
    for deleted, word in enumerate(made, start=1):
        diagonal, row[0] = row[0], deleted
        for place, other in enumerate(wanted, start=1):
            kept = diagonal + (word != other)
            diagonal, row[place] = row[place], min(kept, row[place] + 1, row[place - 1] + 1)
    return row[-1]
