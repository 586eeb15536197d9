"""BLEU-4 over the whole corpus, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

from omniflow.errors import ConfigError, closest
from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import require_references
from omniflow.metrics.packages import require_package
from omniflow.metrics.words import has_unspaced_script

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Smoothing = Literal["exp", "floor", "add-k", "none"]
SMOOTHINGS: tuple[str, ...] = get_args(Smoothing)
BleuTokenizer = Literal["13a", "intl", "zh", "char", "none"]
TOKENIZERS: tuple[str, ...] = get_args(BleuTokenizer)
MAX_ORDER = 4


class BLEU(Metric):
    """Corpus BLEU-4 in [0, 1] (sacrebleu prints the same figure times 100).

    N-gram matches are added up over all records before the precisions are taken, as papers on
    captioning and translation do; it is not a mean of sentence scores. A corpus without a text of
    four tokens has no 4-grams, and scores 0. The figure of a single record is sacrebleu's sentence
    BLEU, which leaves out orders that it is too short for.

    Args:
        lowercase: Whether case is ignored.
        smoothing: What stands in for an order without any match: "exp" (half of the last one, as
            mteval does), "floor", "add-k" or "none" (the score is then 0).
        tokenizer: "13a" (mteval's rules), "intl" (Unicode punctuation), "zh" (Chinese by
            character, the rest as 13a), "char" (every character; for Japanese, Thai, ...) or
            "none" (split at spaces).

    Raises:
        ConfigError: If `smoothing` or `tokenizer` is none of these.
        UsageError: If sacrebleu is not installed.
    """

    def __init__(
        self,
        *,
        lowercase: bool = False,
        smoothing: Smoothing = "exp",
        tokenizer: BleuTokenizer = "13a",
    ) -> None:
        _check_choice("smoothing", smoothing, SMOOTHINGS)
        _check_choice("tokenizer", tokenizer, TOKENIZERS)
        require_package("sacrebleu", metric="bleu")
        self.lowercase = lowercase
        self.smoothing = smoothing
        self.tokenizer = tokenizer

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """BLEU of all predictions together, with the n-gram precisions in the details."""
        require_references(predictions)
        import numpy as np
        import sacrebleu

        scorer = self._scorer()
        # Record by record: at once, sacrebleu keeps the n-grams of every reference in memory.
        counts = np.array([_counts(scorer, record) for record in predictions], dtype=np.float64)
        result = self._result(counts.sum(axis=0))
        numbers = {len(record.references) for record in predictions}
        scorer.num_refs = numbers.pop() if len(numbers) == 1 else -1
        return Score(
            value=_share(result),
            signature={
                "implementation": "sacrebleu",
                "version": str(sacrebleu.__version__),
                "settings": str(scorer.get_signature()),
                "max_order": str(MAX_ORDER),
            },
            details={
                **{
                    f"precision_{order}": float(precision) / 100
                    for order, precision in enumerate(result.precisions, start=1)
                },
                "brevity_penalty": float(result.bp),
                "prediction_tokens": float(result.sys_len),
                "reference_tokens": float(result.ref_len),
            },
            notes=self._notes(predictions),
            records=RecordFigures(
                np.array([_share(self._result(row, effective_order=True)) for row in counts]),
                counts,
            ),
        )

    def figure(self, totals: Sequence[float]) -> float:
        """BLEU of added-up lengths, matches and n-grams."""
        return _share(self._result(totals))

    def _scorer(self) -> Any:
        import sacrebleu

        # `force` only silences a guess about texts that look tokenised; no figure changes.
        return sacrebleu.BLEU(
            tokenize=self.tokenizer,
            lowercase=self.lowercase,
            smooth_method=self.smoothing,
            max_ngram_order=MAX_ORDER,
            force=True,
        )

    def _result(
        self, totals: Sequence[float] | NDArray[np.float64], *, effective_order: bool = False
    ) -> Any:
        import sacrebleu

        whole = [int(total) for total in totals]
        return sacrebleu.BLEU.compute_bleu(
            correct=whole[2 : 2 + MAX_ORDER],
            total=whole[2 + MAX_ORDER :],
            sys_len=whole[0],
            ref_len=whole[1],
            smooth_method=self.smoothing,
            effective_order=effective_order,
            max_ngram_order=MAX_ORDER,
        )

    def _notes(self, predictions: Sequence[Prediction]) -> list[str]:
        if self.tokenizer in ("zh", "char"):
            return []
        unspaced = sum(any(map(has_unspaced_script, one.references)) for one in predictions)
        if not unspaced:
            return []
        return [
            f"{unspaced} of {len(predictions)} records have references in a script without spaces, "
            f"which tokenizer {self.tokenizer} leaves whole: zh or char split them"
        ]


def _counts(scorer: Any, record: Prediction) -> list[int]:
    """Length, length of the nearest reference, matches and n-grams of each order."""
    one = scorer.corpus_score([record.prediction], [[text] for text in record.references])
    return [one.sys_len, one.ref_len, *one.counts, *one.totals]


def _share(result: Any) -> float:
    # exp(mean(log(100))) is 100.00000000000004, a hair above the best score there is.
    return min(float(result.score) / 100, 1.0)


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(
            name, value, expected=f"one of {', '.join(known)}", nearest=closest(str(value), known)
        )
