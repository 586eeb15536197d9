"""ROUGE by Google's rouge_score: what its three measures have in common."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import ClassVar

from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import require_references
from omniflow.metrics.packages import require_package


class Rouge(Metric):
    """Mean ROUGE F1 in [0, 1]; of several references, the one that fits best counts.

    Precision and recall weigh the same, as in rouge_score and Hugging Face's `rouge`; the COCO
    caption tools weigh recall higher and give another figure. The tokeniser keeps only the
    letters a to z and digits: a text in another script has no words and scores 0, and the detail
    `wordless_references` says how many records that concerned.

    Args:
        use_stemmer: Whether words of more than three letters are cut to their Porter stem.

    Raises:
        UsageError: If rouge_score is not installed.
    """

    #: What rouge_score calls it.
    measure: ClassVar[str]

    def __init__(self, *, use_stemmer: bool = False) -> None:
        require_package("rouge_score", metric="rouge")
        self.use_stemmer = use_stemmer

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Mean over the records, with mean precision and recall in the details."""
        require_references(predictions)
        import numpy as np
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        tokenizer = DefaultTokenizer(self.use_stemmer)
        scorer = RougeScorer([self.measure], tokenizer=tokenizer)
        best = np.array(
            [
                scorer.score_multi(prediction.references, prediction.prediction)[self.measure]
                for prediction in predictions
            ],
            dtype=np.float64,
        )
        wordless = sum(
            not any(tokenizer.tokenize(reference) for reference in prediction.references)
            for prediction in predictions
        )
        precision, recall, fmeasure = (_mean(column) for column in best.T)
        return Score(
            value=fmeasure,
            signature={
                "implementation": "rouge_score",
                "version": version("rouge_score"),
                "measure": f"{self.measure} F1",
                "references": "best",
                "tokenizer": "rouge_score default: lower case, runs of a-z and 0-9",
                "stemmer": "porter" if self.use_stemmer else "none",
            },
            details={
                "precision": precision,
                "recall": recall,
                "wordless_references": float(wordless),
            },
            notes=_notes(wordless, len(predictions)),
            records=RecordFigures(best[:, 2]),
        )


def _mean(column: Sequence[float]) -> float:
    import math

    # fsum rounds once, at the end: the mean does not depend on the order of the records.
    return math.fsum(column) / len(column)


def _notes(wordless: int, records: int) -> list[str]:
    if not wordless:
        return []
    return [
        f"{wordless} of {records} records have no reference with a letter a to z or a digit, "
        "which is all that rouge reads: they score 0"
    ]
