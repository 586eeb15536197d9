"""BLEU-4 over the whole corpus, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import Literal, get_args

from omniflow.errors import ConfigError, closest
from omniflow.interfaces.metric import Metric, Prediction, Score
from omniflow.metrics.inputs import require_references
from omniflow.metrics.packages import require_package

Smoothing = Literal["exp", "floor", "add-k", "none"]
SMOOTHINGS: tuple[str, ...] = get_args(Smoothing)
MAX_ORDER = 4


class BLEU(Metric):
    """Corpus BLEU-4 in [0, 1] (sacrebleu prints the same figure times 100).

    N-gram matches are added up over all records before the precisions are taken, as papers on
    captioning and translation do; it is not a mean of sentence scores. Texts are split by the
    13a rules of mteval; a corpus without a text of four tokens has no 4-grams, and scores 0.

    Args:
        lowercase: Whether case is ignored.
        smoothing: What stands in for an order without any match: "exp" (half of the last one, as
            mteval does), "floor", "add-k" or "none" (the score is then 0).

    Raises:
        ConfigError: If `smoothing` is none of these.
        UsageError: If sacrebleu is not installed.
    """

    def __init__(self, *, lowercase: bool = False, smoothing: Smoothing = "exp") -> None:
        if smoothing not in SMOOTHINGS:
            raise ConfigError(
                "smoothing",
                smoothing,
                expected=f"one of {', '.join(SMOOTHINGS)}",
                nearest=closest(str(smoothing), SMOOTHINGS),
            )
        require_package("sacrebleu", metric="bleu")
        self.lowercase = lowercase
        self.smoothing = smoothing

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """BLEU of all predictions together, with the n-gram precisions in the details."""
        require_references(predictions)
        import sacrebleu

        # `force` only silences a guess about texts that look tokenised; no figure changes.
        scorer = sacrebleu.BLEU(
            tokenize="13a",
            lowercase=self.lowercase,
            smooth_method=self.smoothing,
            max_ngram_order=MAX_ORDER,
            force=True,
        )
        # sacrebleu wants one stream per reference number; None fills the shorter records up.
        streams = list(zip_longest(*(prediction.references for prediction in predictions)))
        result = scorer.corpus_score([prediction.prediction for prediction in predictions], streams)
        precisions = {
            f"precision_{order}": float(precision) / 100
            for order, precision in enumerate(result.precisions, start=1)
        }
        return Score(
            # exp(mean(log(100))) is 100.00000000000004, a hair above the best score there is.
            value=min(float(result.score) / 100, 1.0),
            signature={
                "implementation": "sacrebleu",
                "version": str(sacrebleu.__version__),
                "settings": str(scorer.get_signature()),
                "max_order": str(MAX_ORDER),
            },
            details={
                **precisions,
                "brevity_penalty": float(result.bp),
                "prediction_tokens": float(result.sys_len),
                "reference_tokens": float(result.ref_len),
            },
        )
