"""ROUGE-L: the longest common subsequence, by Google's rouge_score."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from statistics import fmean

from omniflow.interfaces.metric import Metric, Prediction, Score
from omniflow.metrics.inputs import require_references
from omniflow.metrics.packages import require_package


class RougeL(Metric):
    """Mean ROUGE-L F1 in [0, 1]; of several references, the one that fits best counts.

    Precision and recall weigh the same, as in rouge_score and Hugging Face's `rouge`; the COCO
    caption tools weigh recall higher and give another figure. The tokeniser keeps only the
    letters a to z and digits: a text in another script has no words and scores 0, and the detail
    `wordless_references` says how many records that concerned.

    Args:
        use_stemmer: Whether words of more than three letters are cut to their Porter stem.

    Raises:
        UsageError: If rouge_score is not installed.
    """

    def __init__(self, *, use_stemmer: bool = False) -> None:
        require_package("rouge_score", metric="rouge")
        self.use_stemmer = use_stemmer

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Mean over the records, with mean precision and recall in the details."""
        require_references(predictions)
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenizers import DefaultTokenizer

        tokenizer = DefaultTokenizer(self.use_stemmer)
        scorer = RougeScorer(["rougeL"], tokenizer=tokenizer)
        best = [
            scorer.score_multi(prediction.references, prediction.prediction)["rougeL"]
            for prediction in predictions
        ]
        wordless = sum(
            not any(tokenizer.tokenize(reference) for reference in prediction.references)
            for prediction in predictions
        )
        return Score(
            value=fmean(float(score.fmeasure) for score in best),
            signature={
                "implementation": "rouge_score",
                "version": version("rouge_score"),
                "measure": "rougeL F1",
                "references": "best",
                "tokenizer": "rouge_score default: lower case, runs of a-z and 0-9",
                "stemmer": "porter" if self.use_stemmer else "none",
            },
            details={
                "precision": fmean(float(score.precision) for score in best),
                "recall": fmean(float(score.recall) for score in best),
                "wordless_references": float(wordless),
            },
        )
