"""eval_results.json: every figure with its signature, as plain JSON."""

import json
import math

import pytest

from omniflow.errors import DataError, UsageError
from omniflow.evaluation.predictions import PredictionFile, read_predictions, write_predictions
from omniflow.evaluation.scoring import Evaluation, evaluate_predictions, write_results
from omniflow.interfaces.metric import Metric, Prediction, Score, TokenScores
from omniflow.metrics.bleu import BLEU
from omniflow.metrics.perplexity import Perplexity
from omniflow.metrics.rouge_l import RougeL

TEXT = "a red circle left of a blue square"
SCORED = PredictionFile(
    model="runs/7",
    task="i2t",
    records=(
        Prediction("a", "i2t", TEXT, (TEXT,), TokenScores(9, 0.0, 9)),
        Prediction("b", "i2t", TEXT, ("nothing", TEXT), TokenScores(1, math.log(1000), 0)),
    ),
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
    assert list(evaluation.scores) == ["rouge", "bleu", "ppl", "length"]
    assert evaluation.scores["rouge"].value == 1.0
    assert evaluation.scores["bleu"].value == 1.0
    assert evaluation.scores["ppl"].value == pytest.approx(1000**0.1)
    assert evaluation.scores["length"].value == len(TEXT)


def test_the_results_file_looks_as_documented(tmp_path):
    path = tmp_path / "out" / "eval_results.json"
    evaluation = evaluate_predictions(SCORED, {"perplexity": Perplexity(), "length": Length()})
    write_results(path, evaluation)
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "format": "omniflow.evaluation/1",
        "model": "runs/7",
        "task": "i2t",
        "samples": 2,
        "metrics": {
            "perplexity": {
                "value": pytest.approx(1000**0.1),
                "samples": 2,
                "signature": {
                    "implementation": "omniflow",
                    "measure": "exp(sum of nll / all tokens), teacher forcing",
                    "tokens": "end of text counted, padding and BOS not",
                },
                "details": {"tokens": 10.0, "nll_per_token": pytest.approx(math.log(1000) / 10)},
            },
            "length": {
                "value": float(len(TEXT)),
                "samples": 2,
                "signature": {"unit": "characters"},
                "details": {},
            },
        },
    }


def test_figures_are_the_same_after_a_trip_through_the_file(tmp_path):
    metrics = {"bleu": BLEU(), "rouge": RougeL(), "perplexity": Perplexity()}
    write_predictions(tmp_path / "predictions.json", SCORED)
    again = read_predictions(tmp_path / "predictions.json")
    assert evaluate_predictions(again, metrics) == evaluate_predictions(SCORED, metrics)


def test_an_infinite_figure_is_null_in_the_file(tmp_path):
    scores = {"perplexity": Score(math.inf, {}, {"nll_per_token": 800.0, "worst": math.nan})}
    write_results(tmp_path / "results.json", Evaluation(None, None, 1, scores))
    written = json.loads((tmp_path / "results.json").read_text())["metrics"]["perplexity"]
    assert written["value"] is None
    assert written["details"] == {"nll_per_token": 800.0, "worst": None}


def test_figures_of_numpy_become_plain_numbers(tmp_path):
    import numpy

    scores = {"x": Score(numpy.float32(0.5), {}, {"count": numpy.int64(3)})}
    write_results(tmp_path / "results.json", Evaluation(None, None, 1, scores))
    written = json.loads((tmp_path / "results.json").read_text())["metrics"]["x"]
    assert (written["value"], written["details"]) == (0.5, {"count": 3.0})


def test_no_metric_and_a_record_that_lacks_what_one_reads_are_refused():
    with pytest.raises(UsageError, match="there is no metric to compute"):
        evaluate_predictions(SCORED, {})
    untold = PredictionFile(None, None, (Prediction("a", "i2t", "x", ("x",)),))
    with pytest.raises(DataError, match="record a: there are no token scores"):
        evaluate_predictions(untold, {"bleu": BLEU(), "perplexity": Perplexity()})
