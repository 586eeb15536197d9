import json

import pytest

from omniflow import load as omniflow_load
from omniflow.datasets.scenes import ScenesDataset
from omniflow.evaluation.predictions import PredictionFile, write_predictions
from omniflow.generation.predict import generate_predictions
from omniflow.interfaces import Dataset, Prediction, Sample, TokenScores
from omniflow.tasks import Task

TEXT = "a small red circle above a large blue square"


class StoredTexts(Dataset):
    """Texts that stand in a list."""

    def __init__(self, texts):
        self.texts = texts

    def __len__(self):
        return len(self.texts)

    def __getitem__(self, index):
        return Sample(str(index), text=self.texts[index])


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


def test_options_of_a_metric_are_set_by_its_name(omniflow, tmp_path):
    (tmp_path / "p.json").write_text(
        json.dumps(
            [
                {"id": str(n), "prediction": f"{n} 紅色圓圈🐶", "references": ["紅色圓圈🐶"]}
                for n in (1, 2)
            ]
        )
    )
    outcome = omniflow("evaluate", "p.json", "--metrics", "bleu,exact-match")
    assert "bleu         0.0000  0.0000 to 0.0000" in outcome.out
    assert "note: bleu: 2 of 2 records have references in a script without spaces" in outcome.err
    outcome = omniflow(
        "evaluate", "p.json", "--metrics", "bleu", "--set", "bleu.tokenizer=zh",
        "--resamples", "50", "--seed", "3", "--no-records", "--json",
    )  # fmt: skip
    printed = json.loads(outcome.out)
    figure = printed["metrics"]["bleu"]
    assert figure["value"] > 0.5
    assert figure["component"] == "bleu"
    assert figure["options"] == {"lowercase": False, "smoothing": "exp", "tokenizer": "zh"}
    assert (figure["interval"]["resamples"], figure["interval"]["seed"]) == (50, 3)
    assert "records" not in printed
    assert outcome.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "blue"], "--metrics: no metric is called 'blue'\n  did you mean: bleu"),
        (["--metrics", "bleu", "--set", "rouge.use_stemmer=true"],
         "--set: no metric to be computed is called 'rouge'"),
        (["--metrics", "bleu", "--set", "tokenizer=zh"], "'tokenizer' names no option"),
        (["--metrics", "bleu", "--set", "bleu.tokeniser=zh"],
         "--set: no option of metric bleu is called 'tokeniser'\n  did you mean: tokenizer"),
        (["--metrics", "bleu", "--set", "bleu.tokenizer=ja"],
         "--set: option tokenizer of metric bleu is 'ja', expected 13a | intl | zh | char | none"),
        (["--metrics", "clip-score", "--set", "clip-score.path=./none"],
         "./none: there is no such folder"),
        (["--resamples", "7"], "--resamples: resamples is 7, expected 0 for no interval, or 40"),
        (["--metrics", ","], "there is no metric to compute"),
        (["--checkpoint", "none"], "none"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_exit_code_two(omniflow, predictions, arguments, message):
    outcome = omniflow("evaluate", predictions, *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert "Traceback" not in outcome.err
    assert outcome.out == ""


def test_pictures_are_scored_by_what_they_show(omniflow, tmp_path):
    dataset = ScenesDataset(split="test", size=3, seed=2)
    (tmp_path / "made").mkdir()
    records = []
    for number in range(3):
        sample = dataset[number]
        sample.image.save(tmp_path / "made" / f"{number}.png")
        records.append(
            {"id": sample.id, "task": "t2i", "image": f"{number}.png", "references": [sample.text]}
        )
    content = {"format": "omniflow.media/1", "model": "m", "task": "t2i", "records": records}
    (tmp_path / "made" / "manifest.json").write_text(json.dumps(content))
    assert omniflow("evaluate", "made", "--metrics", "scenes").out.split()[1] == "1.0000"
    refused = omniflow("evaluate", "made", "--metrics", "bleu")
    assert refused.code == 2
    assert "its task t2i makes no text, expected a metric of pictures or sounds" in refused.err


def test_a_checkpoint_rates_the_references(omniflow, saved_model, tmp_path):
    texts = ["a red circle", "a small blue square left of a star"]
    (tmp_path / "p.json").write_text(
        json.dumps([{"id": t, "prediction": "x", "references": [t]} for t in texts])
    )
    outcome = omniflow(
        "evaluate", "p.json", "--checkpoint", saved_model, "--device", "cpu", "--json",
        "--metrics", "accuracy,perplexity", "--batch-size", "1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    metrics = json.loads(outcome.out)["metrics"]
    assert metrics["perplexity"]["value"] > 1
    model = omniflow_load(saved_model).eval()
    dataset = StoredTexts(texts)
    expected = [one.tokens for one in generate_predictions(model, dataset, task=Task.parse("t2t"))]
    count, nll = sum(one.count for one in expected), sum(one.nll for one in expected)
    assert metrics["perplexity"]["details"]["tokens"] == count
    # One text at a time and two at a time take different matrix kernels.
    assert metrics["perplexity"]["details"]["nll_per_token"] == pytest.approx(nll / count, rel=1e-4)


def test_a_checkpoint_cannot_rate_what_is_not_in_the_file(omniflow, saved_model, tmp_path):
    record = {"id": "7", "task": "i2t", "prediction": "x", "references": ["a"]}
    (tmp_path / "p.json").write_text(json.dumps([record]))
    outcome = omniflow("evaluate", "p.json", "--checkpoint", saved_model)
    assert outcome.code == 2
    assert "record 7: its task i2t is given what a prediction file does not hold" in outcome.err
