"""Distinct-n: how varied the predictions are among themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from omniflow.errors import ConfigError, DataError
from omniflow.interfaces.metric import Interval, Metric, Prediction, Score
from omniflow.metrics.ngrams import MAX_ORDER, NgramKeys, orders_of
from omniflow.metrics.words import Tokenizer, choose_tokenizer, describe_tokenizer
from omniflow.version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Standard errors on each side of a figure that hold 95 % of a normal distribution.
_Z = 1.959963984540054


class Distinct(Metric):
    """Different n-grams of all predictions by all of their n-grams, in [0, 1] (Li et al. 2016).

    It falls with the number of predictions: compare only equally many. Its interval is a
    jackknife's, because resampling with repetition repeats n-grams that are counted once.
    References are not read.

    Args:
        order: Words of an n-gram, 1 to 4; the details have distinct-1 and distinct-2 as well.
        tokenizer: "words" (lower case, no punctuation, CJK by character), or "spaces" for texts
            that were tokenised before.

    Raises:
        ConfigError: If `order` or `tokenizer` is none of these.
    """

    def __init__(self, *, order: int = 2, tokenizer: Tokenizer = "words") -> None:
        if not 1 <= order <= MAX_ORDER:
            raise ConfigError("order", order, expected=f"a whole number from 1 to {MAX_ORDER}")
        self._split = choose_tokenizer(tokenizer)
        self.order = order
        self.tokenizer = tokenizer

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Share over all predictions together; 0 when there is no n-gram.

        Raises:
            DataError: If there is no prediction.
        """
        if not predictions:
            raise DataError("there is no prediction to score", expected="at least one record")
        counts = self._counted(predictions)
        asked = counts[self.order]
        return Score(
            value=_share(asked.different, asked.total),
            signature={
                "implementation": "omniflow",
                "version": __version__,
                "measure": f"different n-grams of {self.order} words / all of them",
                "tokenizer": describe_tokenizer(self.tokenizer),
            },
            details={
                "distinct_1": _share(counts[1].different, counts[1].total),
                "distinct_2": _share(counts[2].different, counts[2].total),
                "ngrams": float(asked.total),
            },
            interval=asked.interval(),
        )

    def _counted(self, predictions: Sequence[Prediction]) -> dict[int, _Counts]:
        import numpy as np

        from omniflow.metrics.ngram_tables import ngram_tables

        ngrams = NgramKeys(max(self.order, 2))

        def records() -> Iterator[NDArray[np.uint64]]:
            return (np.unique(ngrams.of(self._split(one.prediction))) for one in predictions)

        words = np.array([len(self._split(one.prediction)) for one in predictions])
        counts = {order: _Counts(words, order) for order in {1, 2, self.order}}
        for table in ngram_tables(records):
            orders = orders_of(table.keys) + 1
            for order, found in counts.items():
                is_asked = orders == order
                found.different += int(is_asked.sum())
                owners = table.owners[is_asked & (table.counts == 1)]
                found.alone += np.bincount(owners, minlength=len(words))
        return counts


class _Counts:
    """N-grams of one order: how many, how many different, and whose alone they are.

    Args:
        words: Those of each record [records].
        order: Words of an n-gram.
    """

    def __init__(self, words: NDArray[Any], order: int) -> None:
        import numpy as np

        self._of_record = np.maximum(words - order + 1, 0)
        self.total = int(self._of_record.sum())
        self.different = 0
        self.alone = np.zeros(len(words), np.int64)

    def interval(self) -> Interval | None:
        """The jackknife's: spread of the figures that leave one record out."""
        import numpy as np

        records = len(self._of_record)
        totals = self.total - self._of_record
        if records < 2 or not totals.all():
            return None
        without = (self.different - self.alone) / totals
        error = math.sqrt(
            (records - 1) / records * float(np.square(without - without.mean()).sum())
        )
        value = _share(self.different, self.total)
        return Interval(
            low=max(0.0, value - _Z * error),
            high=min(1.0, value + _Z * error),
            method="jackknife over records, normal approximation",
        )


def _share(different: int, total: int) -> float:
    return different / total if total else 0.0


class Distinct1(Distinct):
    """Different words of all predictions by all of their words, in [0, 1] (Li et al. 2016)."""

    def __init__(self, *, tokenizer: Tokenizer = "words") -> None:
        super().__init__(order=1, tokenizer=tokenizer)
