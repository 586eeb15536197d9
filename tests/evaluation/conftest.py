"""Folders of runs as training, generating and evaluating leave them, in a few milliseconds."""

import json
from dataclasses import replace

import pytest
import yaml

from omniflow.evaluation.predictions import PredictionFile, read_predictions, write_predictions
from omniflow.evaluation.results import write_results
from omniflow.evaluation.scoring import evaluate_predictions
from omniflow.interfaces.metric import Prediction
from omniflow.metrics.exact_match import ExactMatch
from omniflow.metrics.length_ratio import LengthRatio
from omniflow.recipe import Choice

RECIPE = {
    "format": "omniflow.recipe/1",
    "backbone": {"name": "tiny"},
    "head": {"name": "mlp", "hidden_dim": 64},
    "refiner": {"name": "none"},
    "objective": {"name": "text-decoder", "weights": {"ce": 1.0}},
    "encoder": [],
    "dataset": [{"name": "scenes", "size": 100}],
    "training": {"lr": 0.001, "seed": 0},
}

METRICS = {"exact-match": ExactMatch(), "length-ratio": LengthRatio()}


def _log(scale, codes):
    lines = []
    for step in range(0, 60, 10):
        loss = scale * 9 / (1 + step)
        if step:
            extra = {"code_perplexity": 10.0 + step, "dead_codes": 60 - step} if codes else {}
            lines.append({"step": step, "split": "train", "loss": loss, "seconds": 2.5, **extra})
        lines.append({"step": step, "split": "validation", "ppl": 1 + loss, "seconds": 1.0})
    return lines


@pytest.fixture(scope="session")
def make_predictions():
    """Predictions of which a share is right, by position."""

    def make(count=40, *, right=lambda place: True, prefix="r", made=None):
        records = []
        for place in range(count):
            wanted = f"a red circle above square {place}"
            text = wanted if right(place) else "a blue star"
            if made is not None:
                text = made(place, text)
            records.append(Prediction(f"{prefix}{place}", "t2t", text, (wanted,)))
        return PredictionFile("some/model", "t2t", tuple(records))

    return make


@pytest.fixture(scope="session")
def evaluated():
    """Write the figures of a predictions.json beside it."""

    def write(path, target):
        choices = {name: Choice(name) for name in METRICS}
        evaluation = evaluate_predictions(
            read_predictions(path), METRICS, choices=choices, resamples=100, path=path
        )
        write_results(target, evaluation)
        return target

    return write


@pytest.fixture(scope="session")
def make_run(evaluated):
    """A run's folder."""

    def make(folder, predictions=None, *, scale=1.0, codes=False, with_results=True, **head):
        folder.mkdir(parents=True)
        recipe = {**RECIPE, "head": {**RECIPE["head"], **head}}
        if codes:
            recipe["head"] |= {"name": "vq", "codebook_size": 64}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
        lines = "".join(json.dumps(line) + "\n" for line in _log(scale, codes))
        (folder / "metrics.jsonl").write_text(lines)
        (folder / "best").mkdir()
        config = {"parameters": {"backbone": 900, "head": 90, "refiner": 10}, "trainable": 100}
        (folder / "best" / "config.json").write_text(json.dumps(config))
        if predictions is not None:
            write_predictions(folder / "predictions.json", predictions)
            if with_results:
                evaluated(folder / "predictions.json", folder / "eval_results.json")
        return folder

    return make


@pytest.fixture(scope="session")
def two_runs(make_run, make_predictions, tmp_path_factory):
    """One that is right half of the time, and one that nearly always is."""
    root = tmp_path_factory.mktemp("runs")
    half = make_run(root / "half", make_predictions(right=lambda place: place % 2 == 0))
    most = make_predictions(right=lambda place: place % 20 != 1)
    return half, make_run(root / "most", most, scale=0.5, codes=True, hidden_dim=32)


@pytest.fixture(scope="session")
def renamed():
    """Predictions with other ids."""

    def rename(file, prefix):
        records = tuple(replace(one, id=f"{prefix}{one.id}") for one in file.records)
        return replace(file, records=records)

    return rename
