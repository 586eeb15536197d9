"""Short whole runs on a small backbone, and what two of them are compared by."""

import json
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from omniflow.draft import Draft
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.reporter import Reporter


class _StopAt(Reporter):
    """Sends the process a signal after a step."""

    def __init__(self, step, number=signal.SIGTERM):
        self.step = step
        self.number = number

    def stepped(self, step):
        if step == self.step:
            os.kill(os.getpid(), self.number)


def _metrics(folder):
    """The lines of metrics.jsonl without what the clock decides."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "samples_per_s"}
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def _assert_same_tensors(left, right):
    left, right = load_file(left), load_file(right)
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def _assert_same_run(left, right):
    """Weights, training state and metrics, to the last bit."""
    for name in ("final", "best", "latest"):
        _assert_same_tensors(*(run / name / "model.safetensors" for run in (left, right)))
    state = "latest/training_state/tensors.safetensors"
    _assert_same_tensors(left / state, right / state)
    assert _metrics(left) == _metrics(right)


@pytest.fixture(scope="session")
def runs():
    """How short runs are stopped, read and compared."""
    return SimpleNamespace(StopAt=_StopAt, metrics=_metrics, assert_same=_assert_same_run)


@pytest.fixture
def small_registry(registry, small_backbone):
    """The built-in components, and the small backbone."""
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    return registry


@pytest.fixture
def short_recipe(small_registry):
    """A recipe of a few steps: of a vq head and a refiner, or of another objective."""

    def make(objective="text-decoder", **training):
        said = {
            "backbone": "small",
            "objective": objective,
            "dataset": {"name": "scenes", "size": 12, "image": objective == "flow",
                        "audio": objective == "flow"},
            "training": {
                "batch_size": 4, "max_steps": 6, "log_interval": 2, "eval_interval": 3,
                "save_interval": 2, "eval_batches": 1, "lr": 1e-2,
                # Its pictures and sounds cannot be decoded.
                "samples": 0 if objective == "flow" else 4, **training,
            },
        }  # fmt: skip
        if objective == "text-decoder":
            said["head"] = {"name": "vq", "hidden_dim": 16, "codebook_size": 8}
            said["refiner"] = "mlp"
        return resolve(Draft.from_mapping(said), small_registry)

    return make
