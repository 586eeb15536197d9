"""METEOR: published figures with and without WordNet, limits, and what it refuses."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.errors import ConfigError, DataError, UsageError
from omniflow.interfaces.metric import Prediction
from omniflow.metrics.meteor import METEOR, METEORNoSynonyms

# The reference figures are printed with six decimals.
PRINTED = 1e-6

LICENSE = "  1 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.  \n"


def install_wordnet(nltk_data: Path) -> Path:
    """A WordNet of one synset in Princeton's format: child, kid, youngster."""
    folder = nltk_data / "corpora" / "wordnet"
    folder.mkdir(parents=True)
    files = dict.fromkeys(
        [
            "cntlist.rev",
            *(f"{part}.exc" for part in ("adj", "adv", "noun", "verb")),
            *(f"index.{part}" for part in ("adj", "adv", "noun", "verb")),
        ],
        "",
    )
    files |= {f"data.{part}": LICENSE for part in ("adj", "adv", "noun", "verb")}
    files["lexnames"] = "".join(f"{number:02d}\tlexname.{number}\t1\n" for number in range(45))
    # A synset is found by the byte at which its line starts, and says so itself.
    offset = len(LICENSE)
    words = ("child", "kid", "youngster")
    spelled = " ".join(f"{word} 0" for word in words)
    files["data.noun"] += f"{offset:08d} 18 n {len(words):02x} {spelled} 000 | a young person  \n"
    files["index.noun"] = "".join(f"{word} n 1 0 1 1 {offset:08d}  \n" for word in words)
    files["index.sense"] = "".join(f"{word}%1:18:00:: {offset:08d} 1 1\n" for word in words)
    files["noun.exc"] = "children child\n"
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for made in (folder.parent, folder):
        made.chmod(0o755)  # nltk reads no folder that others may write to
    return folder


def test_without_wordnet_it_gives_the_published_figures(
    nltk_data, both_references, first_reference
):
    one_by_one = [METEOR().compute([record]).value for record in both_references]
    assert one_by_one == pytest.approx([0.713139, 0.891854, 0.495556], abs=PRINTED)
    assert METEOR().compute(both_references).value == pytest.approx(0.700183, abs=PRINTED)
    one_by_one = [METEOR().compute([record]).value for record in first_reference]
    assert one_by_one == pytest.approx([0.713139, 0.281690, 0.484436], abs=PRINTED)


def test_with_wordnet_it_gives_the_published_figures(nltk_data, both_references, first_reference):
    # Of the whole WordNet 3.0, only child and kid make a difference to these captions.
    install_wordnet(nltk_data)
    assert METEOR().compute(both_references).value == pytest.approx(0.700183, abs=PRINTED)
    one_by_one = [METEOR().compute([record]).value for record in first_reference]
    assert one_by_one == pytest.approx([0.713139, 0.523944, 0.484436], abs=PRINTED)
    assert METEOR().compute(first_reference).value == pytest.approx(0.573840, abs=PRINTED)


def test_its_signature_says_whether_wordnet_was_used(nltk_data, both_references):
    import nltk

    assert METEOR().compute(both_references).signature == {
        "implementation": "nltk",
        "version": nltk.__version__,
        "parameters": "alpha=0.9 beta=3.0 gamma=0.5",
        "references": "best",
        "tokenizer": "nltk word_tokenize, one line, lower case",
        "stemmer": "porter",
        "wordnet": "none",
    }
    install_wordnet(nltk_data)
    assert METEOR().compute(both_references).signature["wordnet"] == "3.0"
    assert METEOR(synonyms="wordnet").compute(both_references).signature["wordnet"] == "3.0"
    assert METEOR(synonyms="none").compute(both_references).signature["wordnet"] == "none"


def test_without_wordnet_it_is_reported_under_another_name(nltk_data, both_references):
    score = METEOR().compute(both_references)
    assert score.name == "meteor-no-synonyms"
    assert "omniflow download data wordnet installs it" in score.notes[0]
    # Whoever asks for it so needs no note.
    assert METEORNoSynonyms().compute(both_references).notes == []
    install_wordnet(nltk_data)
    score = METEOR().compute(both_references)
    assert (score.name, score.notes) == (None, [])


def test_synonyms_can_be_left_out_although_wordnet_is_there(nltk_data, records):
    install_wordnet(nltk_data)
    corpus = records(["youngster"], [["kid"]])
    assert METEOR().compute(corpus).value == 0.5
    assert METEOR(synonyms="none").compute(corpus).value == 0.0


def test_insisting_on_wordnet_without_data_is_refused(nltk_data, both_references):
    with pytest.raises(UsageError) as caught:
        METEOR(synonyms="wordnet").compute(both_references)
    message = caught.value.render()
    assert "nltk finds no WordNet data" in message
    assert "omniflow download data wordnet" in message


def test_a_damaged_wordnet_is_reported_and_not_passed_over(nltk_data, both_references):
    (install_wordnet(nltk_data) / "index.noun").write_text("child n many 0 1 1 00000080\n")
    with pytest.raises(UsageError, match=r"WordNet data is damaged \(file index.noun, line 1"):
        METEOR().compute(both_references)


@pytest.mark.filterwarnings("ignore:No WordNet synset found")
def test_a_wordnet_with_windows_line_ends_is_reported(nltk_data, both_references):
    data = install_wordnet(nltk_data) / "data.noun"
    data.write_bytes(data.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(UsageError, match="its index points between the lines of its data"):
        METEOR().compute(both_references)


def test_a_perfect_prediction_pays_only_for_being_one_chunk(nltk_data, records):
    text = "a red circle left of a blue square"
    value = METEOR().compute(records([text], [["something else", text]])).value
    assert value == pytest.approx(1 - 0.5 / 8**3)


def test_full_stops_and_case_are_no_part_of_a_word(nltk_data, records):
    assert METEOR().compute(records(["A circle."], [["a circle ."]])).value == pytest.approx(
        1 - 0.5 / 3**3
    )


def test_texts_without_words_score_zero(nltk_data, records):
    assert METEOR().compute(records([""], [["a red circle"]])).value == 0.0
    assert METEOR().compute(records([""], [[""]])).value == 0.0
    assert METEOR().compute(records(["a red circle"], [[""]])).value == 0.0


def test_words_of_other_scripts_match(nltk_data, records):
    corpus = records(["ein grüner Kreis über 圓圈"], [["ein grüner Kreis über 圓圈"]])
    assert METEOR().compute(corpus).value == pytest.approx(1 - 0.5 / 5**3)


@settings(deadline=None, max_examples=30)  # the first example pays for importing nltk
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
    metric = METEOR(synonyms="none")
    value = metric.compute(predictions).value
    assert 0.0 <= value <= 1.0
    random.shuffle(predictions)
    assert metric.compute(predictions).value == value


def test_an_unknown_source_of_synonyms_is_refused():
    with pytest.raises(ConfigError) as caught:
        METEOR(synonyms="wordnets")
    assert caught.value.render().startswith(
        "synonyms is 'wordnets', expected one of auto, wordnet, none\n  did you mean: wordnet"
    )


def test_no_prediction_and_no_reference_are_refused(nltk_data, records):
    with pytest.raises(DataError, match="there is no prediction to score"):
        METEOR().compute([])
    with pytest.raises(DataError, match="record 0: there is nothing to compare"):
        METEOR().compute(records(["a"], [[]]))


def test_without_nltk_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk", None)
    with pytest.raises(UsageError, match=r"(?s)needs the package nltk.*omniflow-zoo\[eval\]"):
        METEOR()
