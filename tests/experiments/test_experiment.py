"""Whole experiments: two recipes with two seeds of two steps each."""

import json
import os
import shutil
import signal
from contextlib import contextmanager

import pytest
import torch
import yaml
from safetensors.torch import load_file

from omniflow.draft import Draft
from omniflow.errors import UsageError
from omniflow.evaluation.predictions import read_predictions
from omniflow.evaluation.results import read_results
from omniflow.experiments.carry_out import FailedExperimentError, run_experiment
from omniflow.experiments.options import ExperimentOptions
from omniflow.experiments.watcher import Watcher
from omniflow.plugins import load_plugins
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.reporter import Reporter

SEEDS = (0, 3)
OPTIONS = ExperimentOptions(
    limit=4, steps=1, noise_levels=(0.5, 0), metrics=("bleu", "rouge", "accuracy"), resamples=40
)


class Listening(Watcher):
    """Notes which runs begin; stops the first one after a step, if asked to."""

    def __init__(self, stop_at=None):
        self.titles = []
        self.stop_at = stop_at

    def begun(self, run):
        self.titles.append(run.title)

    @contextmanager
    def training(self, folder):
        stop_at = self.stop_at

        class Stopping(Reporter):
            def stepped(self, step):
                if step == stop_at:
                    os.kill(os.getpid(), signal.SIGTERM)

        yield Stopping()


@pytest.fixture(scope="module")
def recipes(random_backbone):
    registry = load_plugins().registry

    def made(**head):
        values = {
            "backbone": {"name": "folder", "path": str(random_backbone)},
            "head": {"features": "x0", "hidden_dim": 8, **head},
            "dataset": {"name": "scenes", "size": 12},
            "objective": {"name": "text-decoder", "max_length": 16},
            "training": {
                "batch_size": 4, "max_steps": 2, "eval_batches": 1, "device": "cpu", "lr": 0.01,
            },
        }  # fmt: skip
        return resolve(Draft.from_mapping(values), registry)

    return {"plain": made(name="mlp"), "coded": made(name="vq", codebook_size=8)}


def carried_out(recipes, folder, **more):
    arguments = {"options": OPTIONS, **more}
    return run_experiment(recipes, SEEDS, folder, registry=load_plugins().registry, **arguments)


@pytest.fixture(scope="module")
def finished(recipes, tmp_path_factory):
    """The folder of an experiment that has ended well; not to be changed."""
    folder = tmp_path_factory.mktemp("experiment") / "e"
    outcome = carried_out(recipes, folder)
    assert outcome.failures == ()
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "copy", symlinks=True)


def results(folder):
    return json.loads((folder / "results.json").read_text())


def weights(folder):
    return load_file(folder / "final" / "model.safetensors")


def same(left, right):
    assert left.keys() == right.keys()
    return all(torch.equal(left[name], right[name]) for name in left)


def test_every_recipe_is_trained_with_every_seed_and_tried_on_the_same_records(finished):
    ids = set()
    for name in ("plain", "coded"):
        for seed in SEEDS:
            run = finished / name / f"seed-{seed}"
            assert yaml.safe_load((run / "recipe.yaml").read_text())["training"]["seed"] == seed
            ids.add(
                tuple(record.id for record in read_predictions(run / "predictions.json").records)
            )
    assert ids == {("test-0", "test-1", "test-2", "test-3")}
    assert not same(weights(finished / "plain/seed-0"), weights(finished / "plain/seed-3"))


def test_means_are_those_of_the_single_results(finished):
    noisy, content = results(finished)["levels"]
    assert (noisy["noise_level"], content["noise_level"]) == (0.5, 0)
    for level, name in ((noisy, "eval_results"), (content, "eval_results-noise-0")):
        for recipe in level["recipes"]:
            assert recipe["seeds"] == list(SEEDS)
            for metric in OPTIONS.metrics:
                folders = [finished / recipe["name"] / f"seed-{seed}" for seed in SEEDS]
                files = [read_results(folder / f"{name}.json") for folder in folders]
                values = [file.figures[metric].value for file in files]
                assert recipe["metrics"][metric]["value"] == pytest.approx(sum(values) / 2)
    [rouge] = [one for one in content["differences"] if one["metric"] == "rouge"]
    means = [recipe["metrics"]["rouge"]["value"] for recipe in content["recipes"]]
    assert rouge["value"] == pytest.approx(means[1] - means[0])
    assert results(finished)["failed"] == []
    assert {run["name"] for run in content["runs"]} == {
        f"{name}, seed {seed}" for name in ("plain", "coded") for seed in SEEDS
    }


def test_the_page_and_the_markdown_hold_the_table(finished):
    for name in ("report.html", "results.md"):
        text = (finished / name).read_text()
        assert "noise level 0.5" in text
        assert "coded less plain" in text
    assert "| coded | 2 |" in (finished / "results.md").read_text()


def test_what_is_finished_is_not_done_again(recipes, copied):
    watcher = Listening()
    carried_out(recipes, copied, watcher=watcher)
    assert watcher.titles == []


def test_other_records_are_tried_out_without_training_again(recipes, copied):
    log = copied / "coded/seed-3/metrics.jsonl"
    before = log.stat().st_mtime_ns, log.read_text()
    options = ExperimentOptions(limit=2, steps=1, metrics=("rouge",))
    run_experiment(
        {"coded": recipes["coded"]}, [3], copied,
        registry=load_plugins().registry, options=options,
    )  # fmt: skip
    assert (log.stat().st_mtime_ns, log.read_text()) == before
    level = results(copied)["levels"][0]
    assert level["records"] == 2
    assert len(read_predictions(copied / "coded/seed-3/predictions.json").records) == 2
    assert level["recipes"][0]["metrics"]["rouge"]["deviation"] is None


def test_a_run_that_was_stopped_goes_on_and_comes_to_the_same(recipes, finished, copied):
    run = copied / "plain/seed-0"
    shutil.rmtree(run)
    with pytest.raises(InterruptedRunError):
        carried_out(recipes, copied, watcher=Listening(stop_at=1))
    assert not (run / "final").exists()
    watcher = Listening()
    carried_out(recipes, copied, watcher=watcher)
    assert watcher.titles == ["plain, seed 0"]
    assert same(weights(run), weights(finished / "plain/seed-0"))
    made = [
        read_predictions(f / "plain/seed-0/predictions.json").records for f in (copied, finished)
    ]
    assert made[0] == made[1]


def test_runs_in_processes_of_their_own_come_to_the_same(recipes, finished, copied, monkeypatch):
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    run = copied / "coded/seed-3"
    shutil.rmtree(run)
    outcome = carried_out(recipes, copied, jobs=2)
    assert outcome.failures == ()
    assert same(weights(run), weights(finished / "coded/seed-3"))


def test_a_changed_recipe_is_refused_and_what_differs_is_told(recipes, copied):
    draft = Draft.from_mapping(recipes["coded"].to_dict())
    changed = draft.with_setting("head.codebook_size", 9).with_setting("training.max_steps", 5)
    other = {**recipes, "coded": resolve(changed, load_plugins().registry)}
    before = results(copied)
    with pytest.raises(UsageError) as caught:
        carried_out(other, copied)
    assert caught.value.notes == (
        "coded: head.codebook_size: 8 before, 9 now", "coded: training.max_steps: 2 before, 5 now",
    )  # fmt: skip
    assert results(copied) == before


def test_a_failing_run_is_told_and_the_others_are_kept(recipes, copied):
    draft = Draft.from_mapping(recipes["plain"].to_dict())
    exploding = draft.with_setting("objective.weights.mse", 1e39)
    registry = load_plugins().registry
    outcome = carried_out({**recipes, "exploding": resolve(exploding, registry)}, copied)
    assert [failure.title for failure in outcome.failures] == [
        "exploding, seed 0", "exploding, seed 3",
    ]  # fmt: skip
    assert "not finite" in outcome.failures[0].problem
    content = results(copied)
    assert [one["name"] for one in content["levels"][0]["recipes"]] == ["plain", "coded"]
    assert content["failed"][1]["recipe"] == "exploding"
    assert "not finite" in (copied / "report.html").read_text()


def test_an_experiment_of_which_nothing_succeeds_says_why(recipes, tmp_path):
    draft = Draft.from_mapping(recipes["coded"].to_dict()).with_setting("head.codebook_size", 1)
    broken = {"broken": resolve(draft, load_plugins().registry)}
    with pytest.raises(FailedExperimentError, match="codebook_size is 1"):
        carried_out(broken, tmp_path / "e")


def test_a_folder_that_holds_something_else_is_left_alone(recipes, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="something else than an experiment"):
        carried_out(recipes, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
