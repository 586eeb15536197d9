"""`omniflow experiment`: what it is told, what it refuses, and how it ends."""

import json

import pytest

from omniflow.plugins import load_plugins
from omniflow_cli.experiment import _resolved, _settings_of
from omniflow_cli.experiment_recipes import name_of, named_recipes

FLAGS = {"setting": []}


@pytest.fixture(scope="module")
def small(random_backbone):
    return [
        "--backbone", random_backbone, "--set", "head.hidden_dim=8", "--set", "dataset.size=12",
        "--batch-size", "4", "--max-length", "16", "--max-steps", "1", "--device", "cpu",
        "--set", "training.eval_batches=1", "--limit", "2", "--steps", "1", "--jobs", "1",
        "--metrics", "rouge,accuracy", "--resamples", "40", "--noise-levels", "0",
        "--output-dir", "e",
    ]  # fmt: skip


def test_one_recipe_that_does_not_fit_is_told_and_the_other_is_carried_out(
    omniflow, small, tmp_path
):
    outcome = omniflow(
        "experiment", "baseline", "vq", "--seeds", "5", *small, "--set", "vq:head.codes=8", "--json"
    )
    assert outcome.code == 2
    assert "failed" in outcome.err
    assert "codes" in outcome.err
    content = json.loads(outcome.out)
    assert [recipe["name"] for recipe in content["levels"][0]["recipes"]] == ["baseline"]
    assert [failed["recipe"] for failed in content["failed"]] == ["vq"]
    assert (tmp_path / "e/baseline/seed-5/eval_results.json").is_file()
    again = omniflow(
        "experiment", "baseline", "vq", "--seeds", "5", *small, "--set", "vq:head.codebook_size=8"
    )
    assert again.code == 0, again.err
    assert "1 of them done before" in again.err
    assert "vq less baseline" in again.out
    assert "report.html" in again.err
    changed = omniflow("experiment", "baseline", "--seeds", "5", *small, "--lr", "0.5")
    assert changed.code == 2
    assert "baseline: training.lr: " in changed.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["baselin"], "did you mean: baseline"),
        (["vq", "vq"], "two recipes are called vq"),
        (["vq", "--seeds", "0,0"], "each once"),
        (["vq", "--seeds", "one"], "whole numbers separated by commas"),
        (["vq", "--jobs", "0"], "jobs is '0'"),
        (["vq", "--noise-levels", "0.5,2"], "--noise-levels: noise_levels is [0.5, 2.0]"),
        (["vq", "--noise-levels", "some"], "numbers separated by commas"),
        (["vq", "--metrics", "blue"], "did you mean: bleu"),
        (["vq", "--task", "t2i"], "makes image"),
        (["vq", "--set", "baseline:head.hidden_dim=8"], "there is no recipe baseline"),
        (["vq", "--set", "head.codes=8"], "codes"),
        ([], "RECIPE"),
    ],
)
def test_mistakes_are_told_before_anything_is_done(omniflow, tmp_path, arguments, told):
    outcome = omniflow("experiment", *arguments)
    assert outcome.code == 2
    assert told in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_on_tiny_runs_have_steps_of_their_own_unless_something_is_said():
    settled, failures = _resolved(named_recipes(["vq", "tiny-vq"]), FLAGS)
    assert failures == []
    assert settled["vq"].training.max_steps == 200
    assert settled["tiny-vq"].training.max_steps == 200
    settled, _ = _resolved(named_recipes(["vq"]), {"setting": ["training.epochs=2"]})
    assert settled["vq"].training.max_steps is None


def test_a_setting_may_be_for_one_recipe_alone():
    settings = ["training.lr=1e-4", "vq:head.codebook_size=8", "dataset.path=C:x"]
    assert _settings_of("vq", {"vq": None, "a": None}, settings) == [
        "training.lr=1e-4", "head.codebook_size=8", "dataset.path=C:x",
    ]  # fmt: skip
    assert _settings_of("a", {"vq": None, "a": None}, settings) == [
        "training.lr=1e-4", "dataset.path=C:x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "name"),
    [("vq", "vq"), ("mine/other.yaml", "other"), ("runs/a/recipe.yaml", "a"), ("runs/a", "a")],
)
def test_runs_go_by_the_name_of_their_recipe(said, name):
    assert name_of(said) == name


def test_the_four_experiments_and_their_tiny_variants_differ_in_head_and_refiner_alone():
    names = ["baseline", "head-plus-refiner", "vq", "vq-plus-refiner"]
    both = named_recipes([*names, *(f"tiny-{name}" for name in names)])
    settled, _ = _resolved(both, FLAGS)
    kinds = [("mlp", "none"), ("mlp", "mlp"), ("vq", "none"), ("vq", "mlp")]
    for prefix in ("", "tiny-"):
        recipes = [settled[prefix + name] for name in names]
        assert [(recipe.head.name, recipe.refiner.name) for recipe in recipes] == kinds
        assert {recipe.head.options["features"] for recipe in recipes} == {"x0"}
        for recipe in recipes[1:]:
            for section in ("backbone", "objective", "encoder", "dataset", "training"):
                assert getattr(recipe, section) == getattr(recipes[0], section)


def test_the_recipe_flow_trains_the_transformer():
    settled, _ = _resolved(named_recipes(["flow"]), FLAGS)
    assert settled["flow"].objective.name == "flow"
    assert load_plugins().registry.get("objective", "flow")
