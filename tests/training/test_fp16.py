"""Half precision with a scaled loss: steps that overflow are skipped, and counted."""

import json

import pytest
import torch
from safetensors.torch import load_file

from omniflow.errors import TrainingError
from omniflow.training import updates
from omniflow.training.device import autocast
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.trainer import train


def state(folder):
    return json.loads((folder / "latest/training_state/state.json").read_text())


@pytest.fixture
def scaled(monkeypatch):
    """Runs whose loss is scaled by this much at first, and by less or more soon."""

    def start_at(scale, growth_interval=2):
        monkeypatch.setattr(
            updates.torch.amp, "GradScaler",
            lambda device, enabled: torch.GradScaler(
                device, init_scale=scale, growth_interval=growth_interval, enabled=enabled
            ),
        )  # fmt: skip

    return start_at


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16),
     ("auto", torch.float32)],
)  # fmt: skip
def test_a_precision_is_what_products_are_made_in(precision, dtype):
    ones = torch.ones(2, 2)
    with autocast(torch.device("cpu"), precision):
        assert (ones @ ones).dtype == dtype


@pytest.mark.parametrize("objective", ["text-decoder", "flow"])
def test_fp16_trains_as_fp32_does_but_for_rounding(
    short_recipe, runs, small_registry, tmp_path, objective
):
    losses = {}
    for precision in ("fp32", "fp16"):
        folder = tmp_path / precision
        recipe = short_recipe(objective, precision=precision, lr=1e-4)
        train(recipe, output_dir=folder, registry=small_registry)
        lines = [line for line in runs.metrics(folder) if line["split"] == "train"]
        losses[precision] = [line["loss"] for line in lines]
        norms = [line["grad_norm"] for line in lines]
        skipped = [line.get("skipped_steps") for line in lines]
    # Half precision has eleven bits.
    assert losses["fp16"] == pytest.approx(losses["fp32"], rel=2e-2)
    assert losses["fp16"] != losses["fp32"]
    # The first scale may be too large; of six steps most are taken.
    assert sum(skipped) <= 2
    assert all(norm > 0 for norm in norms)
    weights = load_file(tmp_path / "fp16/final/model.safetensors")
    assert all(w.dtype == torch.float32 for w in weights.values() if w.is_floating_point())


def test_a_step_that_overflows_is_skipped_and_counted(
    short_recipe, runs, small_registry, tmp_path, scaled
):
    scaled(2.0**40, growth_interval=100)
    recipe = short_recipe(precision="fp16", max_steps=2, log_interval=2, eval_interval=2)
    before = train(short_recipe(max_steps=1), output_dir=tmp_path / "one", registry=small_registry)
    train(recipe, output_dir=tmp_path / "run", registry=small_registry)
    [line] = [line for line in runs.metrics(tmp_path / "run") if line["split"] == "train"]
    assert line["skipped_steps"] == 2
    assert line["grad_norm"] == 0
    assert state(tmp_path / "run")["scaler"]["scale"] == 2.0**38
    evaluated = [at for at in runs.metrics(tmp_path / "run") if at["split"] == "validation"]
    assert evaluated[0]["step"] == 0
    assert before.first["mse"] == pytest.approx(evaluated[0]["mse"], rel=1e-2)


def test_the_scale_goes_on_where_it_was(short_recipe, runs, small_registry, tmp_path, scaled):
    scaled(2.0**17)
    recipe = short_recipe(precision="fp16")
    train(recipe, output_dir=tmp_path / "whole", registry=small_registry)
    with pytest.raises(InterruptedRunError):
        train(recipe, output_dir=tmp_path / "cut", registry=small_registry, reporter=runs.StopAt(3))
    assert state(tmp_path / "cut")["scaler"]["_growth_tracker"] == 1
    train(recipe, output_dir=tmp_path / "cut", registry=small_registry, resume=True)
    runs.assert_same(tmp_path / "whole", tmp_path / "cut")
    assert state(tmp_path / "whole")["scaler"] == state(tmp_path / "cut")["scaler"]
    assert state(tmp_path / "cut")["scaler"]["scale"] == 2.0**20


def test_a_run_in_which_every_step_overflows_ends_with_advice(
    short_recipe, small_registry, tmp_path, scaled, monkeypatch
):
    scaled(2.0**40)
    monkeypatch.setattr(updates, "SMALLEST_SCALE", 2.0**39)
    with pytest.raises(TrainingError, match="gradients overflow in fp16 at step 2") as caught:
        train(short_recipe(precision="fp16"), output_dir=tmp_path / "run", registry=small_registry)
    assert "--precision bf16" in str(caught.value)


def test_another_precision_may_be_resumed_with(short_recipe, small_registry, tmp_path):
    first = short_recipe(max_steps=2)
    train(first, output_dir=tmp_path / "run", registry=small_registry)
    rest = short_recipe(max_steps=4, precision="fp16")
    result = train(rest, output_dir=tmp_path / "run", registry=small_registry, resume=True)
    assert result.steps == 4
    assert state(tmp_path / "run")["scaler"]["_growth_tracker"] == 2
