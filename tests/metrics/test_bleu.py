"""BLEU: published figures, limits, and what it refuses."""

import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.errors import ConfigError, DataError, UsageError
from omniflow.interfaces.metric import Prediction
from omniflow.metrics.bleu import BLEU

# The reference figures are printed with six decimals on a scale of 0 to 100.
PRINTED = 1e-8

texts = st.lists(st.sampled_from(["a", "red", "circle", "über", "紅色", "."]), max_size=8).map(
    " ".join
)
corpora = st.lists(st.tuples(texts, st.lists(texts, min_size=1, max_size=3)), min_size=1)


def test_it_gives_the_published_figure_for_several_references(both_references):
    score = BLEU().compute(both_references)
    assert score.value == pytest.approx(0.39811015, abs=PRINTED)
    # Printed with one decimal: 100.0/63.6/31.6/12.5.
    precisions = [score.details[f"precision_{order}"] for order in (1, 2, 3, 4)]
    assert precisions == pytest.approx([1.0, 0.636, 0.316, 0.125], abs=5e-4)
    assert score.details["brevity_penalty"] == 1.0
    assert score.details["prediction_tokens"] == score.details["reference_tokens"] == 25


def test_it_gives_the_published_figure_for_one_reference(first_reference):
    assert BLEU().compute(first_reference).value == pytest.approx(0.11757824, abs=PRINTED)
    assert BLEU(smoothing="none").compute(first_reference).value == 0.0


def test_it_agrees_with_nltk_where_every_order_has_a_match(both_references):
    from nltk.translate.bleu_score import corpus_bleu

    independent = corpus_bleu(
        [[text.split() for text in record.references] for record in both_references],
        [record.prediction.split() for record in both_references],
    )
    assert independent == pytest.approx(0.3981101537, abs=1e-10)
    # Two implementations of one formula: rounding of a few operations.
    assert BLEU().compute(both_references).value == pytest.approx(independent, rel=1e-12)


@pytest.mark.parametrize(
    ("corpus", "expected"),
    [
        ("both_references", (1.0, 0.797724, 0.585735, 0.398110)),
        # The fourth order has no match; the caption tools do not smooth it.
        ("first_reference", (0.576474, 0.354795, 0.185329)),
    ],
)
def test_its_details_give_the_lower_orders_of_the_caption_tools(corpus, expected, request):
    details = BLEU().compute(request.getfixturevalue(corpus)).details
    precisions = [details[f"precision_{order}"] for order in range(1, len(expected) + 1)]
    cumulative = [
        details["brevity_penalty"] * math.prod(precisions[:order]) ** (1 / order)
        for order in range(1, len(expected) + 1)
    ]
    assert cumulative == pytest.approx(expected, abs=1e-6)  # printed with six decimals


@pytest.mark.parametrize(("number", "expected"), [(0, 0.275687), (1, 0.691442), (2, 0.277762)])
def test_a_corpus_of_one_record_is_sentence_bleu(both_references, number, expected):
    value = BLEU().compute([both_references[number]]).value
    assert value == pytest.approx(expected, abs=1e-6)  # printed with four decimals of 100


def test_the_figure_of_a_record_is_sacrebleus_sentence_bleu(both_references, records):
    import sacrebleu

    corpus = [*both_references, *records(["a red", ""], [["a red box", "red"], ["a"]])]
    expected = [
        sacrebleu.sentence_bleu(record.prediction, list(record.references)).score / 100
        for record in corpus
    ]
    values = BLEU().compute(corpus).records.values.tolist()
    assert values == pytest.approx(expected, abs=1e-12)
    assert values[3] > 0.5


def test_a_script_without_spaces_is_split_when_told_and_noted_when_not(records):
    corpus = records(["紅色圓圈在上"], [["紅色圓圈在下"]])
    score = BLEU().compute(corpus)
    assert score.value == 0.0
    assert score.notes[0].startswith("1 of 1 records have references in a script without spaces")
    for tokenizer in ("zh", "char"):
        score = BLEU(tokenizer=tokenizer).compute(corpus)
        assert score.details["precision_1"] == pytest.approx(5 / 6)
        assert score.notes == []


def test_a_prediction_equal_to_a_reference_scores_exactly_one(records):
    corpus = records(
        ["a red circle left of a blue square", "ein gelbes Dreieck über einem grünen Kreis"],
        [
            ["something else", "a red circle left of a blue square"],
            ["ein gelbes Dreieck über einem grünen Kreis"],
        ],
    )
    assert BLEU().compute(corpus).value == 1.0


def test_texts_without_words_score_zero(records):
    assert BLEU().compute(records([""], [["a red circle on white"]])).value == 0.0
    assert BLEU().compute(records([""], [[""]])).value == 0.0
    assert BLEU().compute(records(["a red circle on white"], [[""]])).value == 0.0


def test_an_empty_prediction_lengthens_only_the_references(records):
    text = "a red circle left of a blue square"
    details = BLEU().compute(records([text, ""], [[text], [text]])).details
    assert details["prediction_tokens"] == 8
    assert details["reference_tokens"] == 16
    assert details["brevity_penalty"] == pytest.approx(math.exp(1 - 16 / 8))


def test_case_counts_unless_told_otherwise(records):
    corpus = records(["A Red Circle On White"], [["a red circle on white"]])
    assert BLEU().compute(corpus).value == 0.0
    assert BLEU(lowercase=True).compute(corpus).value == 1.0


def test_records_may_have_different_numbers_of_references(records):
    text = "a red circle on white"
    score = BLEU().compute(records([text, text], [["another thing", text], [text]]))
    assert score.value == 1.0
    assert "nrefs:var" in score.signature["settings"]


def test_its_signature_repeats_the_settings(both_references):
    import sacrebleu

    assert BLEU().compute(both_references).signature == {
        "implementation": "sacrebleu",
        "version": sacrebleu.__version__,
        "settings": f"nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}",
        "max_order": "4",
    }
    settings_of_others = BLEU(lowercase=True, smoothing="floor").compute(both_references).signature
    assert "case:lc|eff:no|tok:13a|smooth:floor[0.10]" in settings_of_others["settings"]


@pytest.mark.parametrize("smoothing", ["exp", "floor", "add-k", "none"])
@settings(deadline=None, max_examples=40)  # the first example pays for importing sacrebleu
@given(corpus=corpora, random=st.randoms(use_true_random=False))
def test_it_stays_between_zero_and_one_in_any_order(smoothing, corpus, random):
    predictions = [
        Prediction(str(number), "i2t", text, tuple(references))
        for number, (text, references) in enumerate(corpus)
    ]
    metric = BLEU(smoothing=smoothing)
    value = metric.compute(predictions).value
    assert 0.0 <= value <= 1.0
    random.shuffle(predictions)
    assert metric.compute(predictions).value == value


def test_an_unknown_smoothing_is_refused():
    with pytest.raises(ConfigError) as caught:
        BLEU(smoothing="flor")
    assert caught.value.render() == (
        "smoothing is 'flor', expected one of exp, floor, add-k, none\n  did you mean: floor"
    )


def test_no_prediction_and_no_reference_are_refused(records):
    with pytest.raises(DataError, match="there is no prediction to score"):
        BLEU().compute([])
    with pytest.raises(DataError, match="record 1: there is nothing to compare"):
        BLEU().compute(records(["a", "b"], [["a"], []]))


def test_without_sacrebleu_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(UsageError) as caught:
        BLEU()
    assert caught.value.render() == (
        "metric bleu needs the package sacrebleu, which is not installed\n"
        '  install it with: pip install "omniflow-zoo[eval]"'
    )
