"""Whole runs that train the transformer: what is saved, averaged, and taken up again."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

import omniflow
from omniflow.draft import Draft
from omniflow.errors import CheckpointError
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train


class StopAt(Reporter):
    def __init__(self, step):
        self.step = step

    def stepped(self, step):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def registry(registry, small_backbone):
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    return registry


@pytest.fixture
def recipe(registry):
    def make(**training):
        options = {
            "batch_size": 4, "samples": 0, "max_steps": 8, "log_interval": 3, "eval_interval": 4,
            "save_interval": 3, "lr": 1e-2, "eval_batches": 1, **training,
        }  # fmt: skip
        draft = Draft.from_mapping(
            {
                "backbone": "small",
                "objective": {"name": "flow", "absent_noise_share": 0.3},
                "dataset": {"name": "scenes", "size": 12},
                "training": options,
            }
        )
        return resolve(draft, registry)

    return make


def tensors(path):
    return load_file(path / "model.safetensors")


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "samples_per_s"}
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def test_the_objective_suggests_its_head_and_average_and_what_is_said_wins(registry):
    said = {"backbone": "small", "objective": "flow"}
    suggested = resolve(Draft.from_mapping(said), registry)
    assert (suggested.head.name, suggested.refiner.name) == ("linear", "none")
    assert suggested.head.options["features"] == "hidden"
    assert suggested.training.ema_decay == 0.999
    other = {**said, "head": {"name": "mlp", "hidden_dim": 8}, "training": {"ema_decay": 0.0}}
    chosen = resolve(Draft.from_mapping(other), registry)
    assert chosen.head.name == "mlp"
    assert chosen.training.ema_decay == 0.0
    assert resolve(Draft.from_mapping({"backbone": "small"}), registry).head.name == "mlp"


@pytest.mark.parametrize("stop_at", [2, 3, 5])
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(recipe, registry, tmp_path, stop_at):
    train(recipe(), output_dir=tmp_path / "whole", registry=registry)
    with pytest.raises(InterruptedRunError):
        train(recipe(), output_dir=tmp_path / "cut", registry=registry, reporter=StopAt(stop_at))
    train(recipe(), output_dir=tmp_path / "cut", registry=registry, resume=True)
    for name in ("final", "best", "latest"):
        assert_same(tensors(tmp_path / "whole" / name), tensors(tmp_path / "cut" / name))
    whole, cut = (tmp_path / name / "latest/training_state" for name in ("whole", "cut"))
    assert_same(load_file(whole / "tensors.safetensors"), load_file(cut / "tensors.safetensors"))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_a_run_saves_the_transformer_and_it_loads_to_the_bit(recipe, registry, tmp_path):
    result = train(recipe(), output_dir=tmp_path / "run", registry=registry)
    saved = tensors(tmp_path / "run/final")
    assert {name.split(".")[0] for name in saved} == {"transformer", "head"}
    assert not any(name.endswith("pos_embed.pos_embed") for name in saved)
    assert not any("table" in name or "lm_head" in name for name in saved)
    config = json.loads((tmp_path / "run/final/config.json").read_text())
    assert config["trains_backbone"] is True
    model = omniflow.load(tmp_path / "run/final", registry=registry)
    for name, parameter in model.backbone.transformer.named_parameters():
        assert torch.equal(parameter, saved[f"transformer.{name}"])
    assert result.trainable == sum(
        tensor.numel() for name, tensor in saved.items() if "text_output" not in name
    )
    card = (tmp_path / "run/final/README.md").read_text()
    assert "the trained transformer of `small`" in card


def test_final_holds_the_average_and_checkpoints_the_weights(recipe, registry, tmp_path):
    train(recipe(), output_dir=tmp_path / "run", registry=registry)
    final, latest = tensors(tmp_path / "run/final"), tensors(tmp_path / "run/latest")
    state = load_file(tmp_path / "run/latest/training_state/tensors.safetensors")
    averaged = {name.removeprefix("ema."): t for name, t in state.items() if name[:4] == "ema."}
    assert averaged.keys() < final.keys()
    for name, tensor in averaged.items():
        assert torch.equal(final[name], tensor), name
    assert any(not torch.equal(final[name], latest[name]) for name in averaged)


def test_without_an_average_final_is_the_last_checkpoint(recipe, registry, tmp_path):
    train(recipe(ema_decay=0.0), output_dir=tmp_path / "run", registry=registry)
    assert_same(tensors(tmp_path / "run/final"), tensors(tmp_path / "run/latest"))
    state = load_file(tmp_path / "run/latest/training_state/tensors.safetensors")
    assert not any(name.startswith("ema.") for name in state)


def test_resuming_with_an_average_that_was_not_kept_is_refused(recipe, registry, tmp_path):
    train(recipe(ema_decay=0.0), output_dir=tmp_path / "run", registry=registry)
    with pytest.raises(CheckpointError, match=r"expected a checkpoint .*training\.ema_decay"):
        train(recipe(max_steps=9), output_dir=tmp_path / "run", registry=registry, resume=True)


def test_a_term_is_averaged_over_the_steps_that_had_it(recipe, registry, tmp_path):
    train(recipe(log_interval=1), output_dir=tmp_path / "single", registry=registry)
    train(recipe(log_interval=8), output_dir=tmp_path / "together", registry=registry)
    single = [line for line in metrics(tmp_path / "single") if line["split"] == "train"]
    (together,) = (line for line in metrics(tmp_path / "together") if line["split"] == "train")
    for name in ("image", "audio", "text", "direction", "loss"):
        values = [line[name] for line in single if name in line]
        assert 0 < len(values) <= 8
        assert together[name] == pytest.approx(sum(values) / len(values), rel=1e-5)
    assert sum("image" in line for line in single) < 8
