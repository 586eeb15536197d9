"""Samples at evaluations and the run's page: what is written, and that it changes nothing else."""

import logging
import shutil

import pytest

from omniflow.errors import ConfigError
from omniflow.evaluation.run_samples import read_samples, sampled_steps
from omniflow.recipe import TrainingOptions
from omniflow.tasks import Task
from omniflow.training.allowance import Allowance
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.sampling import SamplesOfRun, shown_tasks
from omniflow.training.trainer import train


@pytest.fixture
def spelling(monkeypatch, small_backbone):
    """The small backbone with a decoder: a word that depends on the latents."""

    def generate_text(self, text_latents, *, max_new_tokens):
        return [f"word {float(latents.sum()):.4f}" for latents in text_latents]

    monkeypatch.setattr(small_backbone, "generate_text", generate_text)


@pytest.fixture
def always(monkeypatch):
    """Time is no matter."""
    monkeypatch.setattr(Allowance, "has_room", True)


def test_every_evaluation_leaves_samples_and_a_page(
    short_recipe, small_registry, tmp_path, spelling, always
):
    run = tmp_path / "run"
    train(short_recipe(samples=3), output_dir=run, registry=small_registry)
    assert sampled_steps(run) == [0, 3, 6]
    first, last = read_samples(run, 0), read_samples(run, 6)
    assert [one.id for one in first] == [f"validation-{number}" for number in range(3)]
    assert all(one.task == "t2t" and one.noise_level == 0.5 for one in first)
    assert all(one.given == {"text": one.reference} for one in first)
    assert all(one.made["text"].startswith("word ") for one in first)
    # The model has changed in between.
    assert first[0].made != last[0].made
    page = (run / "report.html").read_text()
    assert "Step 6 of 6." in page
    assert first[0].made["text"] in page
    assert last[2].made["text"] in page
    assert 'id="curves"' in page


def test_samples_change_nothing_of_a_run(
    short_recipe, small_registry, tmp_path, runs, spelling, always
):
    for name, count in (("with", 2), ("without", 0)):
        train(short_recipe(samples=count), output_dir=tmp_path / name, registry=small_registry)
    runs.assert_same(tmp_path / "with", tmp_path / "without")
    assert not (tmp_path / "without" / "samples").exists()
    assert (tmp_path / "without" / "report.html").is_file()


def test_a_resumed_run_has_the_samples_of_one_that_was_not_stopped(
    short_recipe, small_registry, tmp_path, runs, spelling, always
):
    recipe, whole, parts = short_recipe(samples=2), tmp_path / "whole", tmp_path / "parts"
    train(recipe, output_dir=whole, registry=small_registry)
    with pytest.raises(InterruptedRunError):
        train(recipe, output_dir=parts, registry=small_registry, reporter=runs.StopAt(4))
    # What is of steps that will be taken again, and what was being written, is gone afterwards.
    shutil.copy(parts / "samples" / "step-3.json", parts / "samples" / "step-5.json")
    (parts / "samples" / f".step-5.json.{'0' * 32}.tmp").write_text("half")
    train(recipe, output_dir=parts, registry=small_registry, resume=True)
    for run in (whole, parts):
        files = sorted(path.name for path in (run / "samples").iterdir())
        assert files == ["step-0.json", "step-3.json", "step-6.json"]
    for step in (0, 3, 6):
        assert read_samples(parts, step) == read_samples(whole, step)


def test_what_fails_is_told_once_and_the_run_goes_on(
    short_recipe, small_registry, small_backbone, tmp_path, monkeypatch, caplog, always
):
    def generate_text(self, text_latents, *, max_new_tokens):
        raise ZeroDivisionError("no words")

    monkeypatch.setattr(small_backbone, "generate_text", generate_text)
    run = tmp_path / "run"
    with caplog.at_level(logging.WARNING):
        recipe = short_recipe()
        monkeypatch.setattr("omniflow.training.sampling.write_report", lambda *_, **__: 1 / 0)
        result = train(recipe, output_dir=run, registry=small_registry)
    assert result.steps == 6
    told = [record.message for record in caplog.records]
    assert [line for line in told if "making samples" in line] == [
        "making samples failed in step 0: ZeroDivisionError: no words; the run goes on "
        "(training.samples=0 does without)"
    ]
    assert len([line for line in told if "writing report.html failed in step 0" in line]) == 1
    assert sampled_steps(run) == []


def test_given_pictures_are_written_beside_what_is_made_of_them(
    small_registry, short_recipe, tmp_path, spelling
):
    from omniflow.assembly import assemble
    from omniflow.assembly import construct_component as construct

    recipe = short_recipe("flow")
    model = assemble(recipe, small_registry, device="cpu")
    objective = construct(small_registry, "objective", recipe.objective)
    objective.tasks = {Task.parse("i2t"): 1.0}
    dataset = construct(small_registry, "dataset", recipe.dataset[0], split="validation")
    options = TrainingOptions(samples=2)
    SamplesOfRun(tmp_path, model, objective, dataset, options).take(7)
    first, _ = read_samples(tmp_path, 7)
    assert first.given == {"image": str(tmp_path / "samples" / "given-i2t-0.png")}
    assert first.made["text"].startswith("word ")
    assert first.reference == dataset[0].text
    assert first.noise_level is None
    assert (tmp_path / "samples" / "given-i2t-1.png").is_file()


def test_tasks_that_are_shown_make_different_things():
    weights = {Task.parse(name): 1.0 for name in ("t2i", "a2i", "i2t", "t2a", "2iat")}
    weights[Task.parse("a2t")] = 5.0
    weights[Task.parse("it2a")] = 0.0
    assert [str(task) for task in shown_tasks(weights)] == ["a2t", "t2i", "t2a"]


def test_an_allowance_keeps_to_its_share():
    now = [0.0]
    allowance = Allowance(0.1, lambda: now[0])
    assert allowance.has_room
    with allowance.taken():
        now[0] += 3
    now[0] = 59.0
    assert not allowance.has_room
    now[0] = 60.0  # 3 spent and 3 to come are a tenth of it
    assert allowance.has_room


def test_a_negative_count_is_refused():
    with pytest.raises(ConfigError, match="samples is -1, expected a whole number >= 0"):
        TrainingOptions(samples=-1)
