import json
import os
import signal

import pytest
import torch
from safetensors.torch import load_file

from omniflow.draft import Draft
from omniflow.errors import ConfigError, DataError, TrainingError, UsageError
from omniflow.interfaces import Dataset, Head, HeadOutput, Sample
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train

TEST = Origin("tests", "0")


class FewTexts(Dataset):
    """Two dozen short texts; the other splits have three.

    Args:
        count: Training texts.
    """

    def __init__(self, *, split: str, count: int = 24) -> None:
        self.split = split
        self.count = count if split == "train" else min(count, 3)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Sample(id=f"{self.split}-{index}", text=f"{self.split} text number {index}")


class BreakingHead(Head):
    """Gives a loss that is no number from one step on.

    Args:
        after: Training calls that go well.
    """

    def __init__(self, *, feature_dim: int, latent_dim: int, after: int = 3) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(feature_dim, latent_dim)
        self.left = after

    def forward(self, features):
        self.left -= self.training
        latents = self.layer(features)
        factor = 1.0 if self.left >= 0 else float("nan")
        return HeadOutput(latents=latents, losses={"odd": latents.mean() * factor})


class Recorder(Reporter):
    """Keeps what it is told; `at` maps a step to something to do there."""

    def __init__(self, at=None):
        self.at = at or {}
        self.steps = []

    def stepped(self, step):
        self.steps.append(step)
        self.at.get(step, lambda: None)()


@pytest.fixture
def registry(registry):
    registry.add(
        [
            Component("dataset", "few", FewTexts, "A few texts", TEST),
            Component("head", "breaking", BreakingHead, "Breaks", TEST),
        ]
    )
    return registry


@pytest.fixture
def recipe(registry, random_backbone):
    def make(head="vq", **training):
        sizes = {"vq": {"hidden_dim": 16, "codebook_size": 8}, "mlp": {"hidden_dim": 16}}
        options = {
            "batch_size": 5, "samples": 0, "max_steps": 9, "log_interval": 2, "eval_interval": 4,
            "save_interval": 3, "lr": 1e-2, **training,
        }  # fmt: skip
        draft = Draft.from_mapping(
            {
                "backbone": {"name": "folder", "path": str(random_backbone)},
                "head": {"name": head, **sizes.get(head, {})},
                "refiner": "mlp",
                "dataset": "few",
                "training": options,
            }
        )
        return resolve(draft, registry)

    return make


def tensors(folder):
    return load_file(folder / "model.safetensors")


def assert_same_tensors(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def metrics(folder):
    """The lines of metrics.jsonl without what the clock decides."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "samples_per_s"}
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def test_a_recipe_read_back_repeats_the_run_bit_for_bit(recipe, registry, tmp_path):
    train(recipe(), output_dir=tmp_path / "first", registry=registry)
    again = resolve(Draft.from_file(str(tmp_path / "first" / "recipe.yaml")), registry)
    assert again == recipe()
    train(again, output_dir=tmp_path / "second", registry=registry)
    assert_same_tensors(tensors(tmp_path / "first/final"), tensors(tmp_path / "second/final"))
    assert metrics(tmp_path / "first") == metrics(tmp_path / "second")


def test_another_seed_gives_another_run(recipe, registry, tmp_path):
    for seed in (1, 2):
        train(recipe(seed=seed), output_dir=tmp_path / str(seed), registry=registry)
    first, second = (tensors(tmp_path / str(seed) / "final") for seed in (1, 2))
    assert not torch.equal(first["refiner.down.weight"], second["refiner.down.weight"])


@pytest.mark.parametrize("stop_at", [1, 3, 4, 8])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_as_if_it_had_not_been_stopped(
    recipe, registry, tmp_path, stop_at, number
):
    train(recipe(), output_dir=tmp_path / "whole", registry=registry)
    stopper = Recorder({stop_at: lambda: os.kill(os.getpid(), number)})
    with pytest.raises(InterruptedRunError, match=f"after step {stop_at}; state saved") as caught:
        train(recipe(), output_dir=tmp_path / "cut", registry=registry, reporter=stopper)
    assert caught.value.signal_number == number
    rest = Recorder()
    train(recipe(), output_dir=tmp_path / "cut", registry=registry, resume=True, reporter=rest)
    assert rest.steps == list(range(stop_at + 1, 10))
    for name in ("final", "best", "latest"):
        assert_same_tensors(tensors(tmp_path / "whole" / name), tensors(tmp_path / "cut" / name))
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_metrics_of_steps_that_are_taken_again_are_forgotten(recipe, registry, tmp_path):
    train(recipe(), output_dir=tmp_path / "run", registry=registry)
    expected = metrics(tmp_path / "run")
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "loss": 1.0}\n{"step": 12, "lo')
    train(recipe(), output_dir=tmp_path / "run", registry=registry, resume=True)
    assert metrics(tmp_path / "run") == expected


def test_best_is_the_evaluation_with_the_lowest_perplexity(recipe, registry, tmp_path):
    result = train(recipe(lr=0.5), output_dir=tmp_path / "run", registry=registry)
    evaluations = [line for line in metrics(tmp_path / "run") if line["split"] == "validation"]
    assert [line["step"] for line in evaluations] == [0, 4, 8, 9]
    lowest = min(evaluations, key=lambda line: line["ppl"])
    assert result.best["step"] == lowest["step"]
    assert result.first["ppl"] == evaluations[0]["ppl"]


def test_the_newest_checkpoints_stay_and_latest_is_the_last(recipe, registry, tmp_path):
    train(recipe(save_interval=2, keep=2), output_dir=tmp_path / "run", registry=registry)
    kept = sorted(path.name for path in (tmp_path / "run/checkpoints").iterdir())
    assert kept == ["step-8", "step-9"]
    assert (tmp_path / "run/latest").resolve().name == "step-9"
    assert_same_tensors(tensors(tmp_path / "run/latest"), tensors(tmp_path / "run/final"))


def test_every_loss_is_logged_under_its_own_name(recipe, registry, tmp_path):
    train(recipe(), output_dir=tmp_path / "run", registry=registry)
    lines = [line for line in metrics(tmp_path / "run") if line["split"] == "train"]
    assert [line["step"] for line in lines] == [2, 4, 6, 8, 9]
    for line in lines:
        expected = line["ce"] + 0.1 * line["mse"] + line["vq"]
        assert line["loss"] == pytest.approx(expected, rel=1e-4)
        assert line["grad_norm"] > 0
        assert line["code_perplexity"] >= 1


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(
    recipe, registry, tmp_path
):
    with pytest.raises(TrainingError, match="loss is not finite at step 4") as caught:
        train(recipe("breaking"), output_dir=tmp_path / "run", registry=registry)
    assert "odd: nan" in str(caught.value)
    assert "step-3" in str(caught.value)
    for name in ("latest", "best"):
        state = tensors(tmp_path / "run" / name)
        assert all(tensor.isfinite().all() for tensor in state.values())


def test_a_weight_that_matches_no_loss_is_refused(recipe, registry, tmp_path):
    odd = Draft.from_mapping(recipe().to_dict()).with_setting("objective.weights.vqq", 2.0)
    with pytest.raises(ConfigError, match="weights.vqq"):
        train(resolve(odd, registry), output_dir=tmp_path / "run", registry=registry)
    assert not (tmp_path / "run").exists()


def test_gradients_of_several_batches_make_one_step(recipe, registry, tmp_path):
    recorder = Recorder()
    result = train(
        recipe("mlp", grad_accum=2, max_steps=None, epochs=1),
        output_dir=tmp_path / "run", registry=registry, reporter=recorder,
    )  # fmt: skip
    assert recorder.steps == [1, 2, 3]
    assert result.steps == 3


def test_a_folder_in_use_is_left_alone(recipe, registry, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="the folder is not empty"):
        train(recipe(), output_dir=tmp_path / "run", registry=registry)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_nothing_is_written_when_the_data_do_not_fit(recipe, registry, tmp_path):
    empty = Draft.from_mapping(recipe().to_dict()).with_setting("dataset.count", 0)
    with pytest.raises(DataError, match="the train split of dataset few is empty"):
        train(resolve(empty, registry), output_dir=tmp_path / "run", registry=registry)
    assert not (tmp_path / "run").exists()


def test_resuming_needs_a_checkpoint(recipe, registry, tmp_path):
    with pytest.raises(UsageError, match="there is no checkpoint to resume from"):
        train(recipe(), output_dir=tmp_path / "run", registry=registry, resume=True)


def test_a_device_that_is_not_there_is_refused_with_those_that_are(recipe, registry, tmp_path):
    with pytest.raises(ConfigError, match="training.device is 'tpu', expected one of auto, cpu"):
        train(recipe(device="tpu"), output_dir=tmp_path / "run", registry=registry)
    assert not (tmp_path / "run").exists()


def test_bf16_trains_and_keeps_the_trained_parts_in_fp32(recipe, registry, tmp_path):
    train(recipe(precision="bf16"), output_dir=tmp_path / "run", registry=registry)
    state = tensors(tmp_path / "run/final")
    assert all(t.dtype == torch.float32 for t in state.values() if t.is_floating_point())
