"""eval_results.json: every figure with its signature, as plain JSON."""

import hashlib
import json
import math
from pathlib import Path

import pytest

from omniflow.errors import DataError, UsageError
from omniflow.evaluation.predictions import PredictionFile, read_predictions, write_predictions
from omniflow.evaluation.results import Evaluation, Figure, read_results, write_results
from omniflow.evaluation.scoring import evaluate_predictions
from omniflow.interfaces.metric import Metric, Prediction, Score, TokenScores
from omniflow.metrics.bleu import BLEU
from omniflow.metrics.perplexity import Perplexity
from omniflow.metrics.rouge_l import RougeL
from omniflow.recipe import Choice
from omniflow.version import __version__

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")

TEXT = "a red circle left of a blue square"
SCORED = PredictionFile(
    model="runs/7",
    task="i2t",
    records=(
        Prediction("a", "i2t", TEXT, (TEXT,), TokenScores(9, 0.0, 9)),
        Prediction("b", "i2t", TEXT, ("nothing", TEXT), TokenScores(1, math.log(1000), 0)),
    ),
    dataset="scenes",
)


class Length(Metric):
    """A stranger's metric: mean characters of the predictions."""

    def compute(self, predictions):
        lengths = [len(prediction.prediction) for prediction in predictions]
        return Score(value=sum(lengths) / len(lengths), signature={"unit": "characters"})


def test_every_metric_scores_all_records_under_its_name():
    metrics = {"rouge": RougeL(), "bleu": BLEU(), "ppl": Perplexity(), "length": Length()}
    evaluation = evaluate_predictions(SCORED, metrics)
    assert (evaluation.model, evaluation.task, evaluation.samples) == ("runs/7", "i2t", 2)
    assert list(evaluation.figures) == ["rouge", "bleu", "ppl", "length"]
    assert evaluation.figures["rouge"].value == 1.0
    assert evaluation.figures["bleu"].value == 1.0
    assert evaluation.figures["ppl"].value == pytest.approx(1000**0.1)
    assert evaluation.figures["length"].value == len(TEXT)


def test_the_results_file_looks_as_documented(tmp_path):
    path = tmp_path / "out" / "eval_results.json"
    write_predictions(tmp_path / "p.json", SCORED)
    evaluation = evaluate_predictions(
        SCORED,
        {"perplexity": Perplexity(), "length": Length()},
        choices={"perplexity": Choice("perplexity", {})},
        path=tmp_path / "p.json",
    )
    write_results(path, evaluation)
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written == {
        "format": "omniflow.evaluation/1",
        "model": "runs/7",
        "task": "i2t",
        "dataset": "scenes",
        "split": None,
        "samples": 2,
        "predictions": {
            "path": str(tmp_path / "p.json"),
            "sha256": hashlib.sha256((tmp_path / "p.json").read_bytes()).hexdigest(),
        },
        "metrics": {
            "perplexity": {
                "value": pytest.approx(1000**0.1),
                "samples": 2,
                "higher_is_better": False,
                "interval": {
                    "low": 1.0,
                    "high": pytest.approx(1000),
                    "level": 0.95,
                    "method": "percentile bootstrap over records",
                    "resamples": 1000,
                    "seed": 0,
                },
                "component": "perplexity",
                "options": {},
                "signature": {
                    "implementation": "omniflow",
                    "version": __version__,
                    "measure": "exp(sum of nll / all tokens), teacher forcing",
                    "tokens": "end of text counted, padding and BOS not",
                },
                "details": {"tokens": 10.0, "nll_per_token": pytest.approx(math.log(1000) / 10)},
                "notes": [],
            },
            "length": {
                "value": float(len(TEXT)),
                "samples": 2,
                "higher_is_better": True,
                "interval": {
                    "low": float(len(TEXT)),
                    "high": float(len(TEXT)),
                    "level": 0.95,
                    "method": "percentile bootstrap over records, recomputed",
                    "resamples": 100,
                    "seed": 0,
                },
                "component": None,
                "options": None,
                "signature": {"unit": "characters"},
                "details": {},
                "notes": [],
            },
        },
        "records": {
            "ids": ["a", "b"],
            "values": {"perplexity": [1.0, pytest.approx(1000)]},
            "statistics": {"perplexity": [[0.0, 9.0], [math.log(1000), 1.0]]},
        },
    }
    # Keys of the documentation, in its order.
    for keys in (written, written["metrics"]["perplexity"], written["records"]):
        assert all(f'"{key}"' in PAGE for key in keys)
    assert read_results(path) == evaluation


def test_figures_of_records_can_be_left_out(tmp_path):
    write_results(tmp_path / "r.json", evaluate_predictions(SCORED, {"bleu": BLEU()}),
                  with_records=False)  # fmt: skip
    assert "records" not in json.loads((tmp_path / "r.json").read_text())
    assert read_results(tmp_path / "r.json").ids == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "format is None, expected 'omniflow.evaluation/1'"),
        ('{"format": "omniflow.predictions/1"}', "format is 'omniflow.predictions/1'"),
        ('{"format": "omniflow.evaluation/1"}', "the file is damaged (KeyError: 'model')"),
        (None, "the file cannot be read"),
    ],
)
def test_a_file_that_is_no_result_is_refused(content, message, tmp_path):
    if content is not None:
        (tmp_path / "r.json").write_text(content)
    with pytest.raises(DataError) as caught:
        read_results(tmp_path / "r.json")
    assert message in caught.value.render()


def test_figures_are_the_same_after_a_trip_through_the_file(tmp_path):
    metrics = {"bleu": BLEU(), "rouge": RougeL(), "perplexity": Perplexity()}
    write_predictions(tmp_path / "predictions.json", SCORED)
    again = read_predictions(tmp_path / "predictions.json")
    assert evaluate_predictions(again, metrics) == evaluate_predictions(SCORED, metrics)


def test_an_infinite_figure_is_null_in_the_file(tmp_path):
    details = {"nll_per_token": 800.0, "worst": math.nan}
    figures = {"perplexity": Figure(math.inf, 1, {}, details=details)}
    write_results(tmp_path / "results.json", Evaluation(None, None, 1, figures))
    written = json.loads((tmp_path / "results.json").read_text())["metrics"]["perplexity"]
    assert written["value"] is None
    assert written["details"] == {"nll_per_token": 800.0, "worst": None}


def test_figures_of_numpy_become_plain_numbers(tmp_path):
    import numpy

    figures = {"x": Figure(numpy.float32(0.5), 1, {}, details={"count": numpy.int64(3)})}
    write_results(tmp_path / "results.json", Evaluation(None, None, 1, figures))
    written = json.loads((tmp_path / "results.json").read_text())["metrics"]["x"]
    assert (written["value"], written["details"]) == (0.5, {"count": 3.0})


def test_no_metric_and_a_record_that_lacks_what_one_reads_are_refused():
    with pytest.raises(UsageError, match="there is no metric to compute"):
        evaluate_predictions(SCORED, {})
    untold = PredictionFile(None, None, (Prediction("a", "i2t", "x", ("x",)),))
    with pytest.raises(DataError, match="record a: there are no token scores"):
        evaluate_predictions(untold, {"bleu": BLEU(), "perplexity": Perplexity()})
