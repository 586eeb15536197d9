"""Distinct-1: how many of all words are different ones."""

from omniflow.metrics.distinct import Distinct
from omniflow.metrics.words import Tokenizer


class Distinct1(Distinct):
    """Different words of all predictions by all of their words, in [0, 1] (Li et al. 2016)."""

    def __init__(self, *, tokenizer: Tokenizer = "words") -> None:
        super().__init__(order=1, tokenizer=tokenizer)
