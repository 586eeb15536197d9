"""A run on three data sets of the Hub, mixed by weight: in proportion, and resumed in place."""

import json
import os
import signal
from collections import Counter

import pytest
import torch
from safetensors.torch import load_file

from omniflow.draft import Draft
from omniflow.objectives.flow import FlowObjective
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train
from omniflow_cli.weighted_names import with_weights

SAID = ["coco:2", "audiocaps:1", "wikitext:1"]
STEPS, BATCH = 12, 8


class WatchedFlow(FlowObjective):
    """Writes down what it is trained on."""

    seen = []  # noqa: RUF012

    def losses(self, model, batch):
        self.seen.append([(sample.id, str(task)) for sample, task in _tasks(batch)])
        return super().losses(model, batch)


class StopAt(Reporter):
    def __init__(self, step):
        self.step = step

    def stepped(self, step):
        if step == self.step:
            os.kill(os.getpid(), signal.SIGTERM)


def _tasks(batch):
    return sorted(
        (
            (batch.samples[position], part.plan.task)
            for part in batch.parts
            for position in part.positions
        ),
        key=lambda pair: pair[0].id,
    )


@pytest.fixture
def mixed(served, registry, small_backbone):
    """Trains on the mix; returns what was seen, step by step."""
    origin = Origin("tests", "0")
    registry.add([
        Component("backbone", "small", small_backbone, "Small", origin),
        Component("objective", "watched", WatchedFlow, "Watched", origin),
    ])  # fmt: skip

    def run(folder, *, stop=None, workers=0, resume=False):
        draft = Draft.from_mapping({
            "backbone": "small",
            "objective": {"name": "watched", "tasks": ["t2t", "t2i", "i2t", "t2a", "a2t"],
                          "joint_change_probability": 0},
            "dataset": with_weights(SAID),
            "training": {
                "batch_size": BATCH, "samples": 0, "max_steps": STEPS, "epochs": 9,
                "log_interval": 4,
                "eval_interval": 6, "eval_batches": 2, "save_interval": 100, "bad_records": 0,
                "cache": False, "lr": 1e-3, "workers": workers, "shuffle_block": 8,
            },
        }).with_setting("dataset.audiocaps.streaming", True)  # fmt: skip
        WatchedFlow.seen = []
        reporter = None if stop is None else StopAt(stop)
        train(resolve(draft, registry), output_dir=folder, registry=registry, reporter=reporter,
              resume=resume)  # fmt: skip
        return WatchedFlow.seen

    return run


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "samples_per_s"}
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def test_draws_are_two_to_one_to_one_and_a_stopped_run_goes_on_in_place(mixed, tmp_path):
    whole = mixed(tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        mixed(tmp_path / "parts", stop=5, workers=2)
    before = WatchedFlow.seen
    after = mixed(tmp_path / "parts", resume=True)
    assert [len(before), len(after)] == [5, STEPS - 5]
    assert before + after == whole
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "whole")
    left, right = (
        load_file(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "parts")
    )
    assert all(torch.equal(left[name], right[name]) for name in left)

    drawn = Counter(record.partition("/")[0] for step in whole for record, _ in step)
    total = STEPS * BATCH
    assert drawn.total() == total
    for label, share in (("coco", 0.5), ("audiocaps", 0.25), ("wikitext", 0.25)):
        # Three standard deviations of independent draws.
        assert abs(drawn[label] - share * total) < 3 * (total * share * (1 - share)) ** 0.5
    logged = [line for line in metrics(tmp_path / "whole") if line["split"] == "train"]
    assert {label: logged[-1][f"samples_{label}"] for label in drawn} == drawn
    assert "epoch" not in logged[-1]

    served = {}
    for step in whole:
        for record, task in step:
            served.setdefault(record.partition("/")[0], set()).add(task)
    assert served["wikitext"] == {"t2t"}
    assert {"t2i", "i2t"} <= served["coco"] <= {"t2i", "i2t", "t2t"}
    assert {"t2a", "a2t"} <= served["audiocaps"] <= {"t2a", "a2t", "t2t"}
