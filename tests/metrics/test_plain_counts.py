"""Exact match, length ratio and distinct-n: closed forms."""

import math

import pytest

from omniflow.errors import ConfigError, DataError
from omniflow.metrics.distinct import Distinct, Distinct1
from omniflow.metrics.exact_match import ExactMatch
from omniflow.metrics.length_ratio import LengthRatio


def test_exact_match_is_the_share_that_equals_a_reference(records):
    corpus = records(["a  dog ", "A dog", "a dog!", "e\u0301t\u00e9"],
                     [["no", "a dog"], ["a dog"], ["a dog"], ["\u00e9t\u00e9"]])  # fmt: skip
    score = ExactMatch().compute(corpus)
    assert score.value == 0.5
    assert score.records.values.tolist() == [1.0, 0.0, 0.0, 1.0]
    assert ExactMatch(lowercase=True).compute(corpus).value == 0.75
    assert ExactMatch(ignore_punctuation=True).compute(corpus).value == 1.0


def test_length_ratio_adds_up_the_lengths_of_the_nearest_references(records):
    corpus = records(["one two three", "one!", ""], [["a b", "a b c d e"], ["a b c"], ["a"]])
    score = LengthRatio().compute(corpus)
    assert score.value == pytest.approx(4 / 6)
    assert score.details == {"prediction_words": 4.0, "reference_words": 6.0}
    assert score.records.values.tolist() == pytest.approx([3 / 2, 1 / 3, 0.0])
    assert LengthRatio.higher_is_better is None


def test_of_two_references_as_near_in_length_the_shorter_counts(records):
    assert LengthRatio().compute(records(["a b"], [["a b c", "a"]])).value == 2.0


def test_length_ratio_without_words_is_one_or_infinite(records):
    assert LengthRatio().compute(records([""], [[""]])).value == 1.0
    assert LengthRatio().compute(records(["a"], [["."]])).value == math.inf


def test_distinct_counts_ngrams_over_all_predictions(records):
    corpus = records(["a b a b", "a b c"], [["x"], ["x"]])
    score = Distinct().compute(corpus)
    # ab ba ab, ab bc: three of five; a b c of seven.
    assert score.value == score.details["distinct_2"] == pytest.approx(3 / 5)
    assert score.details["distinct_1"] == pytest.approx(3 / 7)
    assert Distinct1().compute(corpus).value == pytest.approx(3 / 7)
    assert Distinct(order=4).compute(corpus).value == 1.0


def test_its_interval_is_the_jackknifes(records):
    texts = ["a b a b", "a b c", "c d e"]
    interval = Distinct().compute(records(texts, [["x"]] * 3)).interval
    without = [
        Distinct().compute(records(texts[:n] + texts[n + 1 :], [["x"]] * 2)).value for n in range(3)
    ]
    mean = sum(without) / 3
    error = math.sqrt(2 / 3 * sum((value - mean) ** 2 for value in without))
    value = 5 / 7
    assert interval.low == pytest.approx(max(0, value - 1.959964 * error), abs=1e-6)
    assert interval.high == pytest.approx(min(1, value + 1.959964 * error), abs=1e-6)
    assert (interval.resamples, interval.seed) == (None, None)


def test_distinct_without_ngrams_is_nothing(records):
    score = Distinct().compute(records(["", "a"], [["x"], ["x"]]))
    assert score.value == 0.0
    assert score.interval is None
    with pytest.raises(DataError, match="there is no prediction to score"):
        Distinct().compute([])
    with pytest.raises(ConfigError, match="order is 5, expected a whole number from 1 to 4"):
        Distinct(order=5)
