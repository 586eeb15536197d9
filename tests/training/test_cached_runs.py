"""Whole runs with and without the cache: the same weights and figures, bit for bit."""

import json

import pytest
import torch
from safetensors.torch import load_file

from omniflow.cache.limit import contents
from omniflow.draft import Draft
from omniflow.errors import UsageError
from omniflow.resolve import resolve
from omniflow.training.filling import fill_cache
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train

OBJECTIVES = {
    "text-decoder": {"name": "text-decoder"},
    # Every task that reads a picture, a sound or a text as a condition, and one that makes all.
    "flow": {"name": "flow", "tasks": ["i2t", "a2i", "t2a", "2iat"], "absent_noise_share": 0.0},
}


class Killed(Reporter):
    """Ends a run as nothing would that could still write something."""

    def __init__(self, step):
        self.step = step

    def stepped(self, step):
        if step == self.step:
            raise KilledError


class KilledError(BaseException):
    pass


@pytest.fixture
def backbone(parity_data):
    """Every part that there is, with a few thousand random weights each."""
    folder = parity_data / "pipeline_tiny"
    parts = {
        "t5": "flan_t5", "clip": "clip_vit_l", "audio_encoder": "languagebind_audio",
        "audio_vae": "audioldm2/vae",
    }  # fmt: skip
    return {
        "name": "folder",
        "path": str(folder / "checkpoint"),
        **{name: str(folder / "external" / path) for name, path in parts.items()},
    }


@pytest.fixture
def recipe(registry, tmp_path, backbone):
    def make(objective, **training):
        options = {
            "batch_size": 4, "samples": 0, "max_steps": 5, "log_interval": 1, "eval_interval": 5,
            "save_interval": 2, "eval_batches": 1, "epochs": 9, "device": "cpu",
            "cache_dir": str(tmp_path / "cache"), **training,
        }  # fmt: skip
        draft = Draft.from_mapping(
            {
                "backbone": backbone,
                "head": "linear",
                "objective": OBJECTIVES[objective],
                "dataset": {"name": "scenes", "size": 10},
                "training": options,
            }
        )
        return resolve(draft, registry)

    return make


def outcome(folder):
    """Weights and figures of a run, without what a clock says."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "samples_per_s"}
    figures = [{name: line[name] for name in line if name not in clock} for line in lines]
    return load_file(folder / "final" / "model.safetensors"), figures


def assert_same(left, right):
    (weights, figures), (other_weights, other_figures) = outcome(left), outcome(right)
    assert figures == other_figures
    assert weights.keys() == other_weights.keys()
    for name in weights:
        assert torch.equal(weights[name], other_weights[name]), name


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_cache_changes_no_bit_of_a_run(recipe, registry, tmp_path, objective):
    train(recipe(objective, cache=False), output_dir=tmp_path / "without", registry=registry)
    assert not (tmp_path / "cache").exists()
    for name in ("filling", "filled"):
        train(recipe(objective), output_dir=tmp_path / name, registry=registry)
        assert_same(tmp_path / "without", tmp_path / name)
    found = {space.work: space.entries for space in contents(tmp_path / "cache")}
    if objective == "text-decoder":
        # Ten samples of the training split and four of the other.
        assert found == {"text_latents": 14}
    else:
        assert set(found) >= {"text_latents", "image_latents", "audio_latents", "image_pooled"}


def test_what_a_killed_process_had_not_written_is_computed_to_the_same_bits(
    recipe, registry, tmp_path, monkeypatch
):
    settled = recipe("text-decoder")
    train(recipe("text-decoder", cache=False), output_dir=tmp_path / "whole", registry=registry)
    with monkeypatch.context() as patch:
        # Nothing of the cache is written at the end: the process is gone.
        patch.setattr("omniflow.cache.store.CacheStore.close", lambda store: None)
        with pytest.raises(KilledError):
            train(settled, output_dir=tmp_path / "run", registry=registry, reporter=Killed(3))
    assert not (tmp_path / "cache").exists()
    train(settled, output_dir=tmp_path / "run", registry=registry, resume=True)
    assert outcome(tmp_path / "run")[0].keys() == outcome(tmp_path / "whole")[0].keys()
    for name, tensor in outcome(tmp_path / "whole")[0].items():
        assert torch.equal(outcome(tmp_path / "run")[0][name], tensor), name


def test_a_run_finds_everything_that_was_filled_ahead(recipe, registry, tmp_path, caplog):
    settled = recipe("flow")
    filling = fill_cache(settled, registry=registry)
    assert filling.samples == 14
    assert filling.computed >= 6 * 14 - 2
    caplog.set_level("INFO")
    train(settled, output_dir=tmp_path / "run", registry=registry)
    [line] = [record.getMessage() for record in caplog.records if "values found" in record.msg]
    assert ", 0 computed, 0 written, 0 damaged shards" in line


def test_a_file_in_the_place_of_the_cache_is_refused_before_anything_is_written(
    recipe, registry, tmp_path
):
    (tmp_path / "cache").write_text("")
    with pytest.raises(UsageError, match="expected a folder for the cache"):
        train(recipe("text-decoder"), output_dir=tmp_path / "run", registry=registry)
    assert not (tmp_path / "run").exists()
