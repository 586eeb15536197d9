"""Out of memory, a full disk: what is left of a run, and what a person is told to do."""

import errno
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from omniflow.draft import Draft
from omniflow.errors import OmniFlowError, TrainingError, UsageError
from omniflow.interfaces import Head, HeadOutput
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.failures import failures_told
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train

CPU = torch.device("cpu")

#: What torch 2.13 says when the CPU's memory is at its end.
ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


class GreedyHead(Head):
    """Has no memory left after some training calls.

    Args:
        kind: What is raised then.
        after: Training calls that go well.
    """

    def __init__(
        self, *, feature_dim: int, latent_dim: int, kind: str = "python", after: int = 4
    ) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(feature_dim, latent_dim)
        self.kind = kind
        self.left = after

    def forward(self, features):
        self.left -= self.training
        if self.left < 0:
            if self.kind == "allocator":
                torch.empty(1 << 60)
            raise {"python": MemoryError(), "card": torch.OutOfMemoryError("CUDA out of memory")}[
                self.kind
            ]
        return HeadOutput(latents=self.layer(features))


@pytest.fixture
def recipe(registry, random_backbone):
    registry.add([Component("head", "greedy", GreedyHead, "Greedy", Origin("tests", "0"))])

    def make(**head):
        draft = Draft.from_mapping(
            {
                "backbone": {"name": "folder", "path": str(random_backbone)},
                "head": {"name": "greedy", **head},
                "dataset": {"name": "scenes", "size": 20},
                "training": {
                    "batch_size": 2, "samples": 0, "max_steps": 8, "log_interval": 1,
                    "save_interval": 3,
                    "eval_batches": 1, "device": "cpu",
                },
            }
        )  # fmt: skip
        return resolve(draft, registry)

    return make


@pytest.mark.parametrize("kind", ["python", "card", "allocator"])
def test_a_run_without_memory_keeps_its_state_and_gives_advice(recipe, registry, tmp_path, kind):
    with pytest.raises(TrainingError, match="out of memory on cpu after step 4") as caught:
        train(recipe(kind=kind), output_dir=tmp_path / "run", registry=registry)
    told = caught.value.render()
    assert f"state kept in {tmp_path / 'run/checkpoints/step-3'}" in told
    assert "--batch-size with --grad-accum" in told
    assert "--resume auto" in told
    assert caught.value.exit_code == 1
    assert load_file(tmp_path / "run/latest/model.safetensors")


def test_before_the_first_checkpoint_nothing_is_said_to_be_kept(recipe, registry, tmp_path):
    with pytest.raises(TrainingError, match="after step 1") as caught:
        train(recipe(after=1), output_dir=tmp_path / "run", registry=registry)
    assert "no checkpoint was due before that" in caught.value.render()


def test_a_disk_that_is_full_at_a_checkpoint_leaves_the_last_one_whole(
    recipe, registry, tmp_path, monkeypatch
):
    def save(tensors, path, metadata=None):
        if "step-6" in str(path):
            raise SafetensorError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            )
        save_file(tensors, path, metadata)

    monkeypatch.setattr("safetensors.torch.save_file", save)
    with pytest.raises(TrainingError, match="the disk is full after step 6") as caught:
        train(recipe(after=99), output_dir=tmp_path / "run", registry=registry)
    told = caught.value.render()
    assert f"state kept in {tmp_path / 'run/checkpoints/step-3'}" in told
    assert "--keep 1" in told
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-3"]
    assert load_file(tmp_path / "run/latest/training_state/tensors.safetensors")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a full disk, as Linux has it")
def test_a_disk_that_is_full_at_a_log_line_is_told_as_well(recipe, registry, tmp_path):
    def fill(reporter, step):
        if step == 4:
            (tmp_path / "run/metrics.jsonl").unlink()
            (tmp_path / "run/metrics.jsonl").symlink_to("/dev/full")

    reporter = type("Filler", (Reporter,), {"stepped": fill})()
    with pytest.raises(TrainingError, match="the disk is full after step 4") as caught:
        train(recipe(after=99), output_dir=tmp_path / "run", registry=registry, reporter=reporter)
    assert f"state kept in {tmp_path / 'run/checkpoints/step-3'}" in caught.value.render()


def test_a_line_that_cannot_be_written_is_told_with_what_is_left(recipe, registry, tmp_path):
    def spoil(reporter, step):
        if step == 4:
            (tmp_path / "run/metrics.jsonl").unlink()
            (tmp_path / "run/metrics.jsonl").mkdir()

    reporter = type("Spoiler", (Reporter,), {"stepped": spoil})()
    with pytest.raises(OmniFlowError, match=r"metrics.jsonl: cannot be written") as caught:
        train(recipe(after=99), output_dir=tmp_path / "run", registry=registry, reporter=reporter)
    assert f"state kept in {tmp_path / 'run/checkpoints/step-3'}" in caught.value.render()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        OSError(errno.EACCES, "Permission denied"),
        UsageError("there is no such folder"),
        TrainingError("loss is not finite at step 3"),
    ],
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, failures_told(CPU, "now"):
        raise error
    assert caught.value is error


def test_the_lack_of_room_is_found_behind_another_error():
    def fail():
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise OmniFlowError("cannot be written", where="runs/a/best") from error

    with pytest.raises(TrainingError) as caught, failures_told(CPU, "after step 2"):
        fail()
    assert caught.value.problem == "the disk is full after step 2 (runs/a/best)"


def test_what_the_allocator_says_is_known():
    with pytest.raises(TrainingError, match="out of memory"), failures_told(CPU, "now"):
        raise RuntimeError(ALLOCATOR)
