"""Runs that end when evaluations no longer get better."""

import pytest

from omniflow.draft import Draft
from omniflow.errors import ConfigError, TrainingError
from omniflow.recipe import TrainingOptions
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train


class Ends(Reporter):
    def __init__(self):
        self.told = []

    def stopped_early(self, step, best):
        self.told.append((step, best["step"]))


@pytest.fixture
def recipe(short_recipe):
    # So large a rate makes every evaluation worse than the first.
    return lambda **training: short_recipe(
        lr=0.3, warmup_steps=0, eval_interval=2, log_interval=5, max_steps=40, epochs=20, **training
    )


def test_a_run_ends_after_so_many_evaluations_without_a_better_one(
    recipe, runs, small_registry, tmp_path
):
    ends = Ends()
    result = train(
        recipe(early_stopping=3),
        output_dir=tmp_path / "run",
        registry=small_registry,
        reporter=ends,
    )
    lines = runs.metrics(tmp_path / "run")
    evaluated = [line for line in lines if line["split"] == "validation"]
    since = [line["since_best"] for line in evaluated]
    best = max(place for place, count in enumerate(since) if count == 0)
    assert since[best:] == [0, 1, 2, 3]
    assert all(line["ppl"] >= evaluated[best]["ppl"] for line in evaluated)
    assert result.is_stopped_early
    assert result.steps == evaluated[-1]["step"] < 40
    assert ends.told == [(result.steps, evaluated[best]["step"])]
    assert [line["step"] for line in lines if line["split"] == "train"][-1] == result.steps
    for name in ("best", "final", "latest"):
        assert (tmp_path / "run" / name / "model.safetensors").is_file()
    assert (tmp_path / "run/latest").resolve().name == f"step-{result.steps}"


def test_patience_is_counted_on_across_a_stop(recipe, runs, small_registry, tmp_path):
    whole = train(recipe(early_stopping=3), output_dir=tmp_path / "whole", registry=small_registry)
    with pytest.raises(InterruptedRunError):
        train(
            recipe(early_stopping=3), output_dir=tmp_path / "cut", registry=small_registry,
            reporter=runs.StopAt(whole.steps - 1),
        )  # fmt: skip
    ends = Ends()
    for _ in range(2):
        # Resumed once more, a run that has ended ends at once.
        rest = train(
            recipe(early_stopping=3), output_dir=tmp_path / "cut", registry=small_registry,
            resume=True, reporter=ends,
        )  # fmt: skip
        assert rest.steps == whole.steps
    assert len(ends.told) == 2
    runs.assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("patience", [None, 0])
def test_without_patience_all_steps_are_taken(patience):
    assert not TrainingOptions(early_stopping=patience).early_stopping


def test_negative_patience_is_refused(registry):
    draft = Draft.from_mapping({"training": {"early_stopping": -1}})
    with pytest.raises(ConfigError, match=r"training.early_stopping is -1, expected a whole"):
        resolve(draft, registry)


def test_an_evaluation_that_is_no_number_ends_the_run_with_what_is_kept(
    short_recipe, small_registry, tmp_path
):
    wild = short_recipe(lr=0.99, warmup_steps=0, max_steps=9, eval_interval=60, log_interval=60)
    with pytest.raises(TrainingError, match=r"evaluation after step 9 is not finite \(ppl: inf"):
        train(wild, output_dir=tmp_path / "run", registry=small_registry)
