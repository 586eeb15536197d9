import json

import pytest

from omniflow.evaluation.predictions import PredictionFile, write_predictions
from omniflow.interfaces import Prediction, TokenScores

TEXT = "a small red circle above a large blue square"


@pytest.fixture(autouse=True)
def no_wordnet(monkeypatch):
    """Whatever nltk finds on this machine, tests know no synonyms."""
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])


@pytest.fixture
def predictions(tmp_path):
    tokens = TokenScores(count=10, nll=0.0, correct=5)
    records = (Prediction("1", "t2t", TEXT, (TEXT,), tokens),)
    write_predictions(tmp_path / "predictions.json", PredictionFile("runs/a", "t2t", records))
    return tmp_path / "predictions.json"


def test_text_metrics_are_scored_and_token_metrics_where_there_are_token_scores(
    omniflow, predictions
):
    outcome = omniflow("evaluate", predictions)
    assert outcome.code == 0
    figures = dict(line.split() for line in outcome.out.splitlines())
    assert list(figures) == ["bleu", "rouge", "meteor-no-synonyms", "accuracy", "perplexity"]
    assert figures["bleu"] == figures["rouge"] == figures["perplexity"] == "1.0000"
    assert figures["accuracy"] == "0.5000"


def test_token_metrics_are_left_out_where_there_are_no_token_scores(omniflow, tmp_path):
    (tmp_path / "p.json").write_text(
        json.dumps([{"id": "1", "prediction": TEXT, "references": [TEXT]}])
    )
    lines = omniflow("evaluate", "p.json").out.splitlines()
    assert [line.split()[0] for line in lines] == ["bleu", "rouge", "meteor-no-synonyms"]


def test_the_results_file_and_the_json_on_stdout_are_the_same(omniflow, predictions, tmp_path):
    outcome = omniflow(
        "evaluate", predictions, "--metrics", "rouge, bleu,rouge", "--output-json", "e.json",
        "--json",
    )  # fmt: skip
    printed = json.loads(outcome.out)
    assert printed == json.loads((tmp_path / "e.json").read_text())
    assert list(printed["metrics"]) == ["rouge", "bleu"]
    assert printed["model"] == "runs/a"
    assert printed["samples"] == 1
    assert "implementation" in printed["metrics"]["bleu"]["signature"]
