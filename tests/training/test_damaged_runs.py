"""Going on in a run's folder of which something is gone or damaged."""

import shutil

import pytest

from omniflow.errors import CheckpointError
from omniflow.training.run_folder import RunFolder
from omniflow.training.trainer import train
from omniflow_cli.run_place import choose_place


@pytest.fixture
def run(short_recipe, small_registry, tmp_path):
    """A run of 4 of 6 steps, and what takes the rest of them."""
    folder = tmp_path / "run"
    train(short_recipe(samples=0, max_steps=4), output_dir=folder, registry=small_registry)

    def go_on():
        return train(
            short_recipe(samples=0, lr_schedule="constant"),
            output_dir=folder,
            registry=small_registry,
            resume=True,
        )

    return folder, go_on


def test_a_run_goes_on_without_its_link_to_the_newest_checkpoint(run):
    folder, go_on = run
    (folder / "latest").unlink()
    assert choose_place(str(folder), "auto", lambda: "").is_resumed
    assert go_on().steps == 6
    assert (folder / "latest").resolve().name == "step-6"


def test_a_damaged_checkpoint_is_told_with_the_one_before_it(run, runs):
    folder, go_on = run
    damaged = folder / "checkpoints" / "step-4"
    tensors = damaged / "training_state" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="not a whole safetensors file") as caught:
        go_on()
    assert f"remove {damaged} to go on from step-2" in caught.value.render()
    assert "step-4" in {path.name for path in (folder / "checkpoints").iterdir()}

    shutil.rmtree(damaged)
    assert RunFolder(folder).newest.name == "step-2"
    assert go_on().steps == 6
    steps = [line["step"] for line in runs.metrics(folder) if line["split"] == "train"]
    assert steps == [2, 4, 6]


def test_a_state_that_is_none_is_told(run):
    folder, go_on = run
    for state in ("[]", '{"step": 4}', '{"step": "four"}'):
        (folder / "latest" / "training_state" / "state.json").write_text(state)
        with pytest.raises(CheckpointError, match="it does not say"):
            go_on()


@pytest.mark.parametrize("end", [b"\0" * 40, b"\xff\xfe\n", b"[]\n", b"{}\n", b'{"step": "x"}\n'])
def test_what_stands_behind_the_last_good_line_is_dropped(tmp_path, end):
    content = b'{"step": 2}\n{"step": 4}\n'
    (tmp_path / "metrics.jsonl").write_bytes(content + b'{"step": 6}\n' + end)
    RunFolder(tmp_path).forget_metrics_after(4)
    assert (tmp_path / "metrics.jsonl").read_bytes() == content
