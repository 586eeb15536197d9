"""ROUGE-L: published figures, limits, and what it refuses."""

import sys
from importlib.metadata import version

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.errors import DataError, UsageError
from omniflow.interfaces.metric import Prediction
from omniflow.metrics.rouge_l import RougeL

# The reference figures are printed with six decimals.
PRINTED = 1e-6


@pytest.mark.parametrize(
    ("use_stemmer", "both", "first"), [(False, 0.759546, 0.579154), (True, 0.833849, 0.697902)]
)
def test_it_gives_the_published_figures(use_stemmer, both, first, both_references, first_reference):
    metric = RougeL(use_stemmer=use_stemmer)
    assert metric.compute(both_references).value == pytest.approx(both, abs=PRINTED)
    assert metric.compute(first_reference).value == pytest.approx(first, abs=PRINTED)


def test_it_gives_the_published_figure_of_each_record(both_references, first_reference):
    one_by_one = [RougeL().compute([record]).value for record in both_references]
    assert one_by_one == pytest.approx([0.705882, 0.941176, 0.631579], abs=PRINTED)
    one_by_one = [RougeL().compute([record]).value for record in first_reference]
    assert one_by_one == pytest.approx([0.705882, 0.4, 0.631579], abs=PRINTED)


def test_it_is_the_harmonic_mean_of_what_its_details_say(records):
    # Four of the five words come in the order of the reference, which has eight.
    score = RougeL().compute(
        records(["a red circle blue of"], [["a red circle left of a blue box"]])
    )
    assert score.details["precision"] == pytest.approx(4 / 5)
    assert score.details["recall"] == pytest.approx(4 / 8)
    assert score.value == pytest.approx(2 * 0.8 * 0.5 / (0.8 + 0.5))


def test_a_prediction_equal_to_a_reference_scores_one(records):
    corpus = records(["A red circle!", "x"], [["none", "a red circle"], ["x"]])
    assert RougeL().compute(corpus).value == 1.0


def test_texts_without_words_score_zero(records):
    assert RougeL().compute(records([""], [["a red circle"]])).value == 0.0
    assert RougeL().compute(records([""], [[""]])).value == 0.0
    assert RougeL().compute(records(["a red circle"], [[""]])).value == 0.0


def test_references_in_another_script_are_counted_and_not_hidden(records):
    corpus = records(["紅色圓圈", "a circle"], [["紅色圓圈"], ["a circle", "圓圈"]])
    score = RougeL().compute(corpus)
    assert score.value == 0.5
    assert score.details["wordless_references"] == 1


def test_its_signature_repeats_the_settings(both_references):
    assert RougeL(use_stemmer=True).compute(both_references).signature == {
        "implementation": "rouge_score",
        "version": version("rouge_score"),
        "measure": "rougeL F1",
        "references": "best",
        "tokenizer": "rouge_score default: lower case, runs of a-z and 0-9",
        "stemmer": "porter",
    }
    assert RougeL().compute(both_references).signature["stemmer"] == "none"


@settings(deadline=None, max_examples=60)  # the first example pays for importing rouge_score
@given(
    corpus=st.lists(
        st.tuples(st.text(max_size=20), st.lists(st.text(max_size=20), min_size=1, max_size=3)),
        min_size=1,
        max_size=6,
    ),
    random=st.randoms(use_true_random=False),
)
def test_it_stays_between_zero_and_one_in_any_order(corpus, random):
    predictions = [
        Prediction(str(number), "i2t", text, tuple(references))
        for number, (text, references) in enumerate(corpus)
    ]
    value = RougeL().compute(predictions).value
    assert 0.0 <= value <= 1.0
    random.shuffle(predictions)
    assert RougeL().compute(predictions).value == value


def test_no_prediction_and_no_reference_are_refused(records):
    with pytest.raises(DataError, match="there is no prediction to score"):
        RougeL().compute([])
    with pytest.raises(DataError, match="record 0: there is nothing to compare"):
        RougeL().compute(records(["a"], [[]]))


def test_without_rouge_score_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rouge_score", None)
    with pytest.raises(
        UsageError, match=r"(?s)needs the package rouge_score.*omniflow-zoo\[eval\]"
    ):
        RougeL()
