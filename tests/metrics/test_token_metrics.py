"""Accuracy and perplexity: closed forms, pooling over tokens, and what they refuse."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.errors import DataError
from omniflow.interfaces.metric import Prediction, TokenScores
from omniflow.metrics.perplexity import Perplexity
from omniflow.metrics.token_accuracy import TokenAccuracy

token_scores = st.integers(1, 200).flatmap(
    lambda count: st.builds(
        TokenScores,
        count=st.just(count),
        nll=st.floats(0, 20.0 * count),
        correct=st.integers(0, count),
    )
)


def scored(*tokens: TokenScores | None) -> list[Prediction]:
    return [
        Prediction(f"r{number}", "i2t", "", ("a",), scores) for number, scores in enumerate(tokens)
    ]


def test_a_uniform_guess_among_v_words_has_perplexity_v():
    corpus = scored(TokenScores(4, 4 * math.log(50), 0), TokenScores(9, 9 * math.log(50), 0))
    assert Perplexity().compute(corpus).value == pytest.approx(50.0)


def test_certainty_has_perplexity_one_and_full_accuracy():
    corpus = scored(TokenScores(7, 0.0, 7))
    assert Perplexity().compute(corpus).value == 1.0
    assert TokenAccuracy().compute(corpus).value == 1.0


def test_perplexity_pools_tokens_and_is_no_mean_of_records():
    # One token at 1/1000, nine that were certain: the mean over records would be 500.5.
    score = Perplexity().compute(scored(TokenScores(1, math.log(1000), 0), TokenScores(9, 0.0, 9)))
    assert score.value == pytest.approx(1000 ** (1 / 10))
    assert score.details == {"tokens": 10.0, "nll_per_token": pytest.approx(math.log(1000) / 10)}


def test_accuracy_pools_tokens_and_is_no_mean_of_records():
    score = TokenAccuracy().compute(scored(TokenScores(1, 0.0, 0), TokenScores(9, 0.0, 9)))
    assert score.value == 0.9
    assert score.details == {"tokens": 10.0, "correct": 9.0}


def test_a_hopeless_model_has_infinite_perplexity():
    score = Perplexity().compute(scored(TokenScores(1, 800.0, 0)))
    assert score.value == math.inf
    assert score.details["nll_per_token"] == 800.0


def test_perplexity_is_the_only_one_of_which_less_is_better():
    assert TokenAccuracy().higher_is_better
    assert not Perplexity().higher_is_better


@settings(max_examples=40)
@given(st.lists(token_scores, min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_the_order_of_records_does_not_matter(tokens, random):
    corpus = scored(*tokens)
    accuracy, perplexity = TokenAccuracy().compute(corpus), Perplexity().compute(corpus)
    assert 0.0 <= accuracy.value <= 1.0
    assert perplexity.value >= 1.0
    random.shuffle(corpus)
    assert TokenAccuracy().compute(corpus) == accuracy
    assert Perplexity().compute(corpus) == perplexity


@settings(max_examples=40)
@given(st.lists(token_scores, min_size=2, max_size=10))
def test_records_count_like_one_long_record(tokens):
    whole = TokenScores(
        sum(scores.count for scores in tokens),
        math.fsum(scores.nll for scores in tokens),
        sum(scores.correct for scores in tokens),
    )
    assert Perplexity().compute(scored(*tokens)) == Perplexity().compute(scored(whole))
    assert TokenAccuracy().compute(scored(*tokens)) == TokenAccuracy().compute(scored(whole))


@pytest.mark.parametrize(
    ("metric", "name"), [(TokenAccuracy(), "accuracy"), (Perplexity(), "perplexity")]
)
def test_records_without_token_scores_are_refused(metric, name):
    with pytest.raises(DataError) as caught:
        metric.compute(scored(TokenScores(1, 0.0, 1), None, None))
    assert caught.value.render() == (
        f"record r1: there are no token scores, which {name} is made of, "
        "expected token_count, token_nll and token_correct\n"
        "  without token scores: 2 of 3 records\n"
        "  `omniflow generate` records them beside each prediction\n"
        "  for t2t, `omniflow evaluate --checkpoint RUN` computes them"
    )


@pytest.mark.parametrize("metric", [TokenAccuracy(), Perplexity()])
def test_scores_that_are_no_numbers_and_no_tokens_are_refused(metric):
    with pytest.raises(DataError, match="record r1: the negative log-likelihood is nan"):
        metric.compute(scored(TokenScores(1, 0.0, 1), TokenScores(1, math.nan, 0)))
    with pytest.raises(DataError, match="there is no reference token to score"):
        metric.compute(scored(TokenScores(0, 0.0, 0)))
    with pytest.raises(DataError, match="there is no reference token to score"):
        metric.compute([])
