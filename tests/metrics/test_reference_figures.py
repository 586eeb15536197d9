"""240 predictions scored by sacrebleu, rouge_score, nltk and pycocoevalcap in another environment.

See `data/make_sentence_pairs.py` and `data/make_reference_figures.py` for where they come from.
"""

import json
import shutil
from pathlib import Path

import pytest

from omniflow.metrics.bleu import BLEU
from omniflow.metrics.cider import CIDErD
from omniflow.metrics.meteor import METEOR, METEORNoSynonyms
from omniflow.metrics.rouge_1 import Rouge1
from omniflow.metrics.rouge_2 import Rouge2
from omniflow.metrics.rouge_l import RougeL

DATA = Path(__file__).parent / "data"

# What is compared is computed in the same way, so that only rounding may differ.
CLOSE = 1e-9


@pytest.fixture(scope="module")
def figures():
    return json.loads((DATA / "reference_figures.json").read_text())


@pytest.fixture(scope="module")
def read_pairs():
    return json.loads((DATA / "sentence_pairs.json").read_text(encoding="utf-8"))


@pytest.fixture
def pairs(read_pairs, records):
    return records(
        [pair["prediction"] for pair in read_pairs], [pair["references"] for pair in read_pairs]
    )


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("bleu", BLEU()),
        ("bleu_lowercase_floor", BLEU(lowercase=True, smoothing="floor")),
    ],
)
def test_bleu_is_that_of_sacrebleu(name, metric, pairs, figures):
    score = metric.compute(pairs)
    assert len(pairs) >= 200
    assert score.value == pytest.approx(figures[name]["score"] / 100, abs=CLOSE)
    assert score.signature["settings"] == figures[name]["signature"]


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("rouge1", Rouge1()),
        ("rouge2", Rouge2()),
        ("rougeL", RougeL()),
        ("rougeL_stemmer", RougeL(use_stemmer=True)),
        ("meteor_no_synonyms", METEORNoSynonyms()),
    ],
)
def test_every_record_has_the_figure_of_the_reference(name, metric, pairs, figures):
    score = metric.compute(pairs)
    assert score.records.values.tolist() == pytest.approx(figures[name], abs=CLOSE)
    assert score.value == pytest.approx(sum(figures[name]) / len(pairs), abs=CLOSE)


def test_meteor_with_wordnet_is_that_of_nltk(nltk_data, pairs, figures):
    # The part of WordNet 3.0 that these words need, zipped as nltk's own download is.
    (nltk_data / "corpora").mkdir(mode=0o755)
    shutil.copy(DATA / "wordnet_extract.zip", nltk_data / "corpora" / "wordnet.zip")
    score = METEOR().compute(pairs)
    assert score.signature["wordnet"] == "3.0"
    assert score.name is None
    values = score.records.values.tolist()
    assert values == pytest.approx(figures["meteor_wordnet"], abs=CLOSE)
    synonyms = sum(
        with_them > without
        for with_them, without in zip(values, figures["meteor_no_synonyms"], strict=True)
    )
    assert synonyms >= 20


def plain(text):
    """As the reference figures' texts were tokenised, for want of Stanford's program."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def test_cider_is_that_of_the_caption_tools(read_pairs, records, figures):
    pairs = records(
        [plain(pair["prediction"]) for pair in read_pairs],
        [[plain(text) for text in pair["references"]] for pair in read_pairs],
    )
    score = CIDErD(tokenizer="spaces").compute(pairs)
    assert score.value == pytest.approx(figures["cider_corpus"], abs=CLOSE)
    assert score.records.values.tolist() == pytest.approx(figures["cider"], abs=CLOSE)
