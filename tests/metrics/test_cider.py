"""CIDEr-D: published figures and limits."""

import pytest

from omniflow.errors import DataError
from omniflow.metrics.cider import CIDErD

# The reference figures are printed with six decimals.
PRINTED = 1e-6


def test_it_gives_the_published_figures(both_references, first_reference):
    assert CIDErD().compute(both_references).value == pytest.approx(2.772348, abs=PRINTED)
    assert CIDErD().compute(first_reference).value == pytest.approx(2.134432, abs=PRINTED)


def test_a_perfect_prediction_among_others_scores_ten(records):
    texts = ["a red circle on white", "two blue boxes side by side", "one green star above all"]
    values = CIDErD().compute(records(texts, [[text] for text in texts])).records.values
    assert values.tolist() == pytest.approx([10.0] * 3)


def test_other_words_and_other_lengths_lower_it(records):
    others = ["two blue boxes side by side", "one green star above all of them"]
    wanted = ["a small red circle on white", *others]

    def value(text):
        return (
            CIDErD().compute(records([text, *others], [[one] for one in wanted])).records.values[0]
        )

    whole, part, doubled = (
        value(text)
        for text in (
            "a small red circle on white",
            "a small red circle on",
            " ".join([wanted[0]] * 2),
        )
    )
    assert 0 < part < whole == pytest.approx(10.0)
    assert 0 < doubled < whole
    assert value("nothing alike") == 0.0


def test_one_record_alone_scores_nothing_and_says_why(records):
    score = CIDErD().compute(records(["a red circle"], [["a red circle"]]))
    assert score.value == 0.0
    assert score.notes == ["CIDEr-D of a single record is always 0: no n-gram is rare"]


def test_texts_without_words_and_other_scripts_are_no_trouble(records):
    corpus = records(["", "紅色圓圈", "!"], [["a"], ["紅色圓圈", "🐶"], [""]])
    values = CIDErD().compute(corpus).records.values.tolist()
    assert values[0] == values[2] == 0.0
    assert values[1] == pytest.approx(5.0)
    with pytest.raises(DataError, match="there is no prediction to score"):
        CIDErD().compute([])


def test_its_signature_says_how_it_came_about(both_references):
    signature = CIDErD(tokenizer="spaces").compute(both_references).signature
    assert signature["measure"] == "CIDEr-D, 1 to 4 words, as pycocoevalcap 1.2"
    assert signature["parameters"] == "n=4 sigma=6 scale=10"
    assert signature["tokenizer"] == "split at spaces"
