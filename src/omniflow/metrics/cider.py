"""CIDEr-D: how much a caption says what people said, rare n-grams weighing more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import require_references
from omniflow.metrics.ngrams import MAX_ORDER, NgramKeys, orders_of
from omniflow.metrics.words import Tokenizer, choose_tokenizer, describe_tokenizer
from omniflow.version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Width of the penalty on a difference in length, in words, and the factor of the figure.
SIGMA, SCALE = 6.0, 10.0


class CIDErD(Metric):
    """Mean CIDEr-D in [0, 10] (Vedantam et al., CVPR 2015), as the COCO caption tools compute it.

    The cosine of n-gram counts weighed by how rare they are among the references of all records,
    for 1 to 4 words, mean over them and over references, with counts clipped to the reference's
    and a penalty on length. Which n-grams are rare depends on the records: figures compare only
    on the same ones, and a single record scores 0. The caption tools tokenise with Stanford's
    program before; given its output and `tokenizer=spaces` the figures are the same.

    Args:
        tokenizer: "words" (lower case, no punctuation, CJK by character), or "spaces" for texts
            that were tokenised before.

    Raises:
        ConfigError: If `tokenizer` is neither.
    """

    def __init__(self, *, tokenizer: Tokenizer = "words") -> None:
        self._split = choose_tokenizer(tokenizer)
        self.tokenizer = tokenizer

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Mean over the records.

        Raises:
            DataError: If a record has no reference.
        """
        require_references(predictions)
        import numpy as np

        ngrams = NgramKeys()
        weights = _Rarity(self._split, ngrams, predictions)
        values = np.array([self._score_one(one, ngrams, weights) for one in predictions])
        is_single = len(predictions) == 1
        return Score(
            value=float(values.mean()),
            signature={
                "implementation": "omniflow",
                "version": __version__,
                "measure": "CIDEr-D, 1 to 4 words, as pycocoevalcap 1.2",
                "parameters": f"n={MAX_ORDER} sigma={SIGMA:g} scale={SCALE:g}",
                "document_frequencies": "of the references of all records, also within resamples",
                "references": "mean",
                "tokenizer": describe_tokenizer(self.tokenizer),
            },
            notes=["CIDEr-D of a single record is always 0: no n-gram is rare"] * is_single,
            records=RecordFigures(values),
        )

    def _score_one(self, record: Prediction, ngrams: NgramKeys, weights: _Rarity) -> float:
        made = _Vector(ngrams.of(self._split(record.prediction)), weights)
        similarities = [
            made.similarity(_Vector(ngrams.of(self._split(reference)), weights))
            for reference in record.references
        ]
        return SCALE * sum(similarities) / len(similarities)


class _Rarity:
    """log(records / records whose references have the n-gram), for every n-gram.

    An n-gram of no or one record has log(records), so that only the others are kept.
    """

    def __init__(self, split: Any, ngrams: NgramKeys, predictions: Sequence[Prediction]) -> None:
        import numpy as np

        from omniflow.metrics.ngram_tables import ngram_tables

        def records() -> Iterator[NDArray[np.uint64]]:
            for one in predictions:
                keys = [ngrams.of(split(text)) for text in one.references]
                yield np.unique(np.concatenate(keys))

        self._most = float(np.log(len(predictions)))
        parts = [
            (table.keys[is_kept], np.log(table.counts[is_kept]))
            for table in ngram_tables(records)
            for is_kept in [table.counts > 1]
        ]
        self._keys = np.concatenate([keys for keys, _ in parts])
        self._logs = np.concatenate([logs for _, logs in parts])

    def of(self, keys: NDArray[np.uint64]) -> NDArray[np.float64]:
        import numpy as np

        rarity = np.full(len(keys), self._most)
        if len(self._keys):
            places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
            is_known = self._keys[places] == keys
            rarity[is_known] -= self._logs[places[is_known]]
        return rarity


class _Vector:
    """Weighed n-gram counts of one text."""

    def __init__(self, keys: NDArray[np.uint64], rarity: _Rarity) -> None:
        import numpy as np

        self.keys, counts = np.unique(keys, return_counts=True)
        self.orders = orders_of(self.keys)
        # The caption tools take the number of word pairs for the length, which differs from the
        # number of words by one in both texts.
        self.length = int(counts[self.orders == 1].sum())
        self.weights = counts * rarity.of(self.keys)
        self.norms = np.sqrt(np.bincount(self.orders, self.weights**2, MAX_ORDER))

    def similarity(self, reference: _Vector) -> float:
        """Mean over the orders, in [0, 1]."""
        import numpy as np

        _, mine, its = np.intersect1d(
            self.keys, reference.keys, assume_unique=True, return_indices=True
        )
        clipped = np.minimum(self.weights[mine], reference.weights[its]) * reference.weights[its]
        products = np.bincount(self.orders[mine], clipped, MAX_ORDER)
        norms = self.norms * reference.norms
        cosines = np.divide(products, norms, out=np.zeros(MAX_ORDER), where=norms > 0)
        difference = self.length - reference.length
        return float(cosines.mean() * np.exp(-(difference**2) / (2 * SIGMA**2)))
