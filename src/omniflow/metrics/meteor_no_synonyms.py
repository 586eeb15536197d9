"""METEOR without synonyms: the same on every machine, whether WordNet is there or not."""

from omniflow.metrics.meteor import METEOR


class METEORNoSynonyms(METEOR):
    """Mean METEOR in [0, 1] by nltk, words matching by letters and Porter stems alone.

    Lower than METEOR, and another metric: no paper's METEOR compares with it.

    Raises:
        UsageError: If nltk is not installed.
    """

    def __init__(self) -> None:
        super().__init__(synonyms="none")
