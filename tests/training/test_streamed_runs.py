"""Runs on streams and on texts grouped by length, stopped and resumed in the middle of an epoch."""

import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from omniflow.draft import Draft
from omniflow.errors import ConfigError, UnknownLengthError
from omniflow.resolve import resolve
from omniflow.training.filling import fill_cache
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.preflight_data import check_data
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train


class Stopper(Reporter):
    """Sends this process a signal after a step."""

    def __init__(self, step):
        self.step = step

    def stepped(self, step):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def recipe(registry, random_backbone, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"line {n} {'la ' * (n % 9)}\n" for n in range(60)))

    def make(streaming, dataset=None, **training):
        text = {"name": "text", "path": str(path), "streaming": streaming, "test_share": 0.0}
        options = {
            "batch_size": 4, "samples": 0, "max_steps": 20, "log_interval": 3, "eval_interval": 8,
            "save_interval": 7, "lr": 1e-2, "shuffle_block": 16, **training,
        }  # fmt: skip
        sections = {
            "backbone": {"name": "folder", "path": str(random_backbone)},
            "head": {"name": "mlp", "hidden_dim": 16},
            "refiner": "none",
            "dataset": dataset or {**text, "validation_share": 0.2},
            "training": options,
        }
        return resolve(Draft.from_mapping(sections), registry)

    return make


def outcome(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "samples_per_s"}
    figures = [{key: value for key, value in line.items() if key not in clock} for line in lines]
    return figures, load_file(folder / "final" / "model.safetensors")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_grouped_run_is_resumed_in_the_middle_of_an_epoch(recipe, registry, tmp_path, streaming):
    # An epoch is 12 steps.
    settled = recipe(streaming, group_by_length=True)
    train(settled, output_dir=tmp_path / "whole", registry=registry)
    with pytest.raises(InterruptedRunError):
        train(settled, output_dir=tmp_path / "cut", registry=registry, reporter=Stopper(15))
    train(settled, output_dir=tmp_path / "cut", registry=registry, resume=True)
    figures, weights = outcome(tmp_path / "whole")
    cut_figures, cut_weights = outcome(tmp_path / "cut")
    assert figures == cut_figures
    assert all(torch.equal(weights[name], cut_weights[name]) for name in weights)
    logged = [line for line in figures if line["split"] == "train"]
    assert len(logged) == 7
    assert all(("epoch" in line) != streaming for line in logged)


def test_a_streamed_run_needs_a_number_of_steps(recipe, registry, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.max_steps is None, expected a number of ste"):
        train(recipe(True, max_steps=None), output_dir=tmp_path / "run", registry=registry)
    assert not (tmp_path / "run").exists()


def test_streamed_scenes_go_on_without_end(recipe, registry, tmp_path):
    scenes = {"name": "scenes", "streaming": True, "size": 3}
    settled = recipe(True, scenes, max_steps=3, eval_batches=2)
    train(settled, output_dir=tmp_path / "run", registry=registry)
    figures, _ = outcome(tmp_path / "run")
    assert figures[-1]["step"] == 3


def test_a_stream_beside_another_dataset_needs_a_weight(recipe, registry, tmp_path):
    both = [{"name": "scenes", "streaming": True}, {"name": "scenes", "size": 3}]
    with pytest.raises(ConfigError, match=r"dataset\.scenes-0\.weight is None, expected a weight"):
        train(recipe(True, both), output_dir=tmp_path / "run", registry=registry)


def test_what_needs_the_length_of_a_stream_says_so(recipe, registry):
    with pytest.raises(UnknownLengthError, match=r"lines\.txt: it is streamed.*streaming: false"):
        fill_cache(recipe(True), registry=registry)


def test_the_first_records_of_a_stream_are_looked_at(recipe, registry):
    from omniflow.objectives.text_decoder import TextDecoderObjective

    report = check_data(recipe(True), TextDecoderObjective(), registry)
    train_check = report.checks[0]
    assert (train_check.size, train_check.read, train_check.failed) == (None, 8, 0)
    assert train_check.brought == {"text": 8}
    assert not report.findings
