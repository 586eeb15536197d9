"""METEOR by nltk, with WordNet's synonyms where its data is installed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Protocol, get_args

from omniflow.errors import ConfigError, UsageError, closest
from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import require_references
from omniflow.metrics.packages import require_package

SynonymSource = Literal["auto", "wordnet", "none"]
SYNONYM_SOURCES: tuple[str, ...] = get_args(SynonymSource)

# The parameters of Hugging Face's `meteor`, from Lavie and Agarwal (2007): weight of recall,
# exponent and weight of the fragmentation penalty.
ALPHA, BETA, GAMMA = 0.9, 3.0, 0.5

#: What METEOR is reported as where no synonyms were known: another metric, with lower figures.
WITHOUT_SYNONYMS = "meteor-no-synonyms"


class Synonyms(Protocol):
    """Where a word's synonyms come from; nltk's WordNet reader is one."""

    def synsets(self, word: str) -> list[Any]:
        """Groups of words that can mean the same."""


class NoSynonyms:
    """Words that mean only themselves, for METEOR without WordNet."""

    def synsets(self, word: str) -> list[Any]:
        """Always empty."""
        return []


class METEOR(Metric):
    """Mean METEOR in [0, 1]; of several references, the one that fits best counts.

    This is nltk's METEOR with the parameters of Hugging Face's `meteor`: words match when they
    are equal, have one Porter stem, or are synonyms in WordNet. The COCO caption papers report
    METEOR 1.5, another metric with lower figures. A perfect prediction of n words scores
    1 - 0.5 / n^3, not 1, since it still is one chunk. WordNet is read from nltk's data folders
    (NLTK_DATA adds one) and never downloaded; the signature's `wordnet` is its version. Without
    its data, words match by letters and stems alone: the figure is lower, and is reported under
    another name, `meteor-no-synonyms`.

    Args:
        synonyms: "auto" uses WordNet when its data is there, "wordnet" insists on it, "none"
            leaves it out.

    Raises:
        ConfigError: If `synonyms` is none of these.
        UsageError: If nltk is not installed.
    """

    def __init__(self, *, synonyms: SynonymSource = "auto") -> None:
        if synonyms not in SYNONYM_SOURCES:
            raise ConfigError(
                "synonyms",
                synonyms,
                expected=f"one of {', '.join(SYNONYM_SOURCES)}",
                nearest=closest(str(synonyms), SYNONYM_SOURCES),
            )
        require_package("nltk", metric="meteor")
        self.synonyms = synonyms

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Mean over the records.

        Raises:
            DataError: If a record has no reference.
            UsageError: If WordNet is insisted on and missing, or if its data cannot be read.
        """
        require_references(predictions)
        import nltk
        import numpy as np

        wordnet, wordnet_version = self._wordnet()
        values = [_score_one(prediction, wordnet) for prediction in predictions]
        return Score(
            value=math.fsum(values) / len(values),
            signature={
                "implementation": "nltk",
                "version": str(nltk.__version__),
                "parameters": f"alpha={ALPHA} beta={BETA} gamma={GAMMA}",
                "references": "best",
                "tokenizer": "nltk word_tokenize, one line, lower case",
                "stemmer": "porter",
                "wordnet": wordnet_version,
            },
            notes=self._notes(wordnet_version),
            name=WITHOUT_SYNONYMS if wordnet_version == "none" else None,
            records=RecordFigures(np.array(values)),
        )

    def _notes(self, wordnet_version: str) -> list[str]:
        if wordnet_version != "none" or self.synonyms == "none":
            return []
        return [
            f"nltk finds no WordNet data: this is METEOR without synonyms, {WITHOUT_SYNONYMS}; "
            "omniflow download data wordnet installs it"
        ]

    def _wordnet(self) -> tuple[Synonyms, str]:
        """The source of synonyms, and how the signature calls it."""
        found = None if self.synonyms == "none" else _installed_wordnet()
        if found is not None:
            return found
        if self.synonyms == "wordnet":
            raise UsageError(
                "metric meteor was told to use WordNet, and nltk finds no WordNet data",
                expected="a folder corpora/wordnet in one of nltk's data folders",
                notes=[
                    "install it with: omniflow download data wordnet",
                    "or leave synonyms out with: synonyms=none",
                ],
            )
        return NoSynonyms(), "none"


def _installed_wordnet() -> tuple[Synonyms, str] | None:
    """nltk's WordNet reader and the version of its data; None when there is no data."""
    from nltk.corpus import wordnet
    from nltk.corpus.reader.wordnet import WordNetError

    try:
        wordnet.ensure_loaded()
    except LookupError:
        return None
    except (OSError, ValueError, AssertionError, WordNetError) as error:
        raise _damaged_wordnet(str(error)) from error
    # Copies with Windows line ends load, but their byte offsets lead nowhere.
    if None in wordnet.synsets("child"):
        raise _damaged_wordnet("its index points between the lines of its data")
    return wordnet, str(wordnet.get_version() or "unknown")


def _damaged_wordnet(reason: str) -> UsageError:
    return UsageError(
        f"nltk's WordNet data is damaged ({reason})",
        expected="the files of WordNet as nltk distributes them",
        notes=[
            "install it again with: omniflow download data wordnet --force",
            "or leave synonyms out with: synonyms=none",
        ],
    )


def _score_one(prediction: Prediction, wordnet: Synonyms) -> float:
    """METEOR of one record, in [0, 1]; 0 when no word matches or there is none."""
    from nltk.tokenize import word_tokenize
    from nltk.translate.meteor_score import meteor_score

    # `preserve_line` splits words without splitting sentences first, which would need punkt's
    # data; only a full stop inside a text of several sentences stays on its word.
    score = meteor_score(
        [word_tokenize(reference, preserve_line=True) for reference in prediction.references],
        word_tokenize(prediction.prediction, preserve_line=True),
        wordnet=wordnet,
        alpha=ALPHA,
        beta=BETA,
        gamma=GAMMA,
    )
    return float(score)


class METEORNoSynonyms(METEOR):
    """Mean METEOR in [0, 1] by nltk, words matching by letters and Porter stems alone.

    Lower than METEOR, and another metric: no paper's METEOR compares with it.

    Raises:
        UsageError: If nltk is not installed.
    """

    def __init__(self) -> None:
        super().__init__(synonyms="none")
