"""One step of several batches, and of several processes, is the step of one large batch."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from omniflow.draft import Draft
from omniflow.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    PluginError,
    TrainingError,
    UsageError,
)
from omniflow.recipe import TrainingOptions
from omniflow.resolve import resolve
from omniflow.training.launch import launch
from omniflow.training.processes import LostProcessError, Processes
from omniflow.training.sharding import check_sharding
from omniflow.training.step import Shares
from omniflow.training.trainer import train
from omniflow.training.updates import Updates
from omniflow_cli.many_processes import process_count

LINES = [f"{'word ' * (number % 7)}number {number}" for number in range(24)]


@pytest.fixture
def recipe(registry, random_backbone, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(LINES))

    gaps = [["text"], *[[line if number % 5 else ""] for number, line in enumerate(LINES)]]
    (tmp_path / "gaps.csv").write_text("".join(f'"{row[0]}"\n' for row in gaps))

    def make(objective, data=("text", "lines.txt"), **training):
        model = {"text-decoder": {"head": {"name": "mlp", "hidden_dim": 16}, "refiner": "mlp"}}
        options = {
            "lr": 1e-3, "samples": 0, "max_steps": 3, "log_interval": 1, "eval_interval": 2,
            "save_interval": 2,
            "precision": "fp32", "device": "cpu", "cache": False, "ema_decay": 0.0, **training,
        }  # fmt: skip
        draft = Draft.from_mapping(
            {
                "backbone": {"name": "folder", "path": str(random_backbone)},
                "objective": {"name": objective, "tasks": ["t2t"]},
                "dataset": {"name": data[0], "path": str(tmp_path / data[1])},
                "training": options,
                **model.get(objective, {"head": "linear", "refiner": "none"}),
            }
        )
        return resolve(draft, registry)

    return make


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    clock = {"seconds", "samples_per_s"}
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


def assert_same_run(one, other):
    for left, right in zip(metrics(one), metrics(other), strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            # Sums over other batches round otherwise.
            expected = value if isinstance(value, str) else pytest.approx(value, rel=2e-5)
            assert right[name] == expected, name
    for file in ("final/model.safetensors", "latest/training_state/tensors.safetensors"):
        left, right = (load_file(folder / file) for folder in (one, other))
        # In parts, a weight that no loss depends on has a gradient of zero, and else none.
        unused = {name for name in right.keys() - left.keys() if not right[name].any()}
        unused |= {f"{name.rsplit('.', 1)[0]}.step" for name in unused}
        assert left.keys() == right.keys() - unused
        for name, tensor in left.items():
            # Attention does not depend on the bias of its keys: its gradient is a rounding error,
            # of which the optimizer makes steps of full length.
            if not name.endswith("_k.bias"):
                torch.testing.assert_close(right[name], tensor, rtol=2e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("objective", ["text-decoder", "flow"])
def test_two_small_batches_make_the_step_of_a_large_one(recipe, registry, tmp_path, objective):
    for name, size, parts in (("large", 8, 1), ("small", 4, 2), ("single", 1, 8)):
        train(
            recipe(objective, batch_size=size, grad_accum=parts, eval_batches=8 // size),
            output_dir=tmp_path / name, registry=registry,
        )  # fmt: skip
    assert_same_run(tmp_path / "large", tmp_path / "small")
    assert_same_run(tmp_path / "large", tmp_path / "single")


#: Trains by some recipes in one process after the other, the last of them as the command line does.
WORKER = """
import sys
from pathlib import Path

from omniflow.draft import Draft
from omniflow.plugins import load_plugins
from omniflow.resolve import resolve
from omniflow.training.trainer import train
from omniflow_cli.app import main

registry = load_plugins().registry
*first, last = map(Path, sys.argv[1:])
for folder in first:
    recipe = resolve(Draft.from_file(f"{folder}.yaml"), registry)
    train(recipe, output_dir=folder, registry=registry)
    longer = Path(f"{folder}-longer.yaml")
    if longer.exists():
        recipe = resolve(Draft.from_file(longer), registry)
        train(recipe, output_dir=folder, registry=registry, resume=True)
said = ["--recipe", f"{last}.yaml", "--output-dir", str(last), "--num-processes", "2"]
sys.exit(main(["train", *said]))
"""


def test_two_processes_agree_with_one_that_has_twice_the_batch(recipe, registry, tmp_path):
    kinds = {
        "added": ("flow", 2), "gaps": ("flow", 1),
        "sharded": ("flow", 2), "sharded-texts": ("text-decoder", 1), "texts": ("text-decoder", 1),
    }  # fmt: skip
    sharded = {"ema_decay": 0.5, "gradient_checkpointing": True, "weight_decay": 0.0}

    def recipe_of(name, size, **training):
        objective, parts = kinds[name]
        sizes = {"batch_size": size, "grad_accum": parts, "eval_batches": 1}
        data = {"data": ("csv", "gaps.csv"), "bad_records": 1.0} if name == "gaps" else {}
        said = sharded if name == "sharded" else {}
        return recipe(objective, **sizes, **data, **said, **training)

    for name in kinds:
        train(recipe_of(name, 8), output_dir=tmp_path / f"{name}-one", registry=registry)
        is_sharded = name.startswith("sharded")
        (tmp_path / f"{name}.yaml").write_text(recipe_of(name, 4, shard=is_sharded).to_yaml())
        if is_sharded:
            # Goes on in two processes as well.
            longer = recipe_of(name, 8, max_steps=4)
            train(longer, output_dir=tmp_path / f"{name}-one", registry=registry, resume=True)
            longer = recipe_of(name, 4, max_steps=4, shard=True)
            (tmp_path / f"{name}-longer.yaml").write_text(longer.to_yaml())
    folders = [str(tmp_path / name) for name in kinds]
    assert launch([sys.executable, "-c", WORKER, *folders], 2) == 0
    for name in kinds:
        assert_same_run(tmp_path / f"{name}-one", tmp_path / name)
    one, two = (
        sorted((tmp_path / name / "skipped.jsonl").read_text().splitlines())
        for name in ("gaps-one", "gaps")
    )
    assert one == two
    assert len(one) >= 3
    # What two have saved, one goes on with: positions count samples.
    longer = recipe_of("texts", 8, max_steps=4)
    for name in ("texts-one", "texts"):
        train(longer, output_dir=tmp_path / name, registry=registry, resume=True)
    assert_same_run(tmp_path / "texts-one", tmp_path / "texts")


@pytest.mark.parametrize("said", ["0", "-1", "two", "1.5"])
def test_the_number_of_processes_is_a_whole_number(said):
    with pytest.raises(ConfigError, match=f"num_processes is '{said}', expected a whole number"):
        process_count(said)
    assert process_count("3") == 3
    assert process_count(None) == 1


def test_a_loss_that_nobody_counts_is_refused():
    shares = Shares.of([{"ce": 6.0}], Processes())
    with pytest.raises(PluginError, match="returns a loss 'odd' that it does not count"):
        shares.key("odd")


def test_a_checkpoint_that_does_not_say_its_position_is_refused(recipe, registry, tmp_path):
    said = recipe("text-decoder", batch_size=4)
    train(said, output_dir=tmp_path / "run", registry=registry)
    state = tmp_path / "run/latest/training_state/state.json"
    values = json.loads(state.read_text())
    assert values.pop("position") == 3 * 4
    state.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="does not say how many samples it has read"):
        train(said, output_dir=tmp_path / "run", registry=registry, resume=True)


def test_shares_are_counts_over_the_sum_of_all():
    shares = Shares.of([{"ce": 6.0, "head": 2.0}, {"ce": 2.0}], Processes())
    assert shares.totals == {"ce": 8.0, "head": 2.0}
    assert shares.key("ce") == "ce"
    assert shares.key("vq") == "head"


def test_one_process_agrees_with_itself():
    alone = Processes()
    assert alone.is_main
    assert alone.gather({"a": 1}) == [{"a": 1}]
    assert alone.sum({"a": 0.5}) == {"a": 0.5}
    with pytest.raises(ConfigError):
        alone.on_main(lambda: (_ for _ in ()).throw(ConfigError("a", 1, expected="2")))


@pytest.mark.parametrize("name", ["FSDP", "DEEPSPEED"])
def test_what_accelerate_would_do_to_the_weights_is_refused(monkeypatch, name):
    monkeypatch.setenv(f"ACCELERATE_USE_{name}", "true")
    with pytest.raises(UsageError, match=f"accelerate is set to use {name}.*--shard"):
        Processes.join("cpu")


@pytest.mark.parametrize("other", [{"precision": "fp16"}, {"compile": True}])
def test_what_does_not_work_in_parts_is_refused(other):
    with pytest.raises(ConfigError, match="training.shard is True, expected false with"):
        check_sharding(TrainingOptions(shard=True, **other))


def test_processes_with_parts_of_the_weights_have_to_do_the_same():
    def check(*passes):
        own, *others = passes
        updates = SimpleNamespace(
            shards=object(),
            objective=SimpleNamespace(passes=lambda batch: own),
            processes=SimpleNamespace(gather=lambda value: [value, *[[one] for one in others]]),
        )
        Updates._check_passes(updates, ["a batch"], step=4)

    check(["t2i"], ["t2i"])
    with pytest.raises(DataError, match="step 5 serve different tasks in different processes"):
        check(["t2i"], ["t2i", "t2a"])


def test_several_processes_need_devices_that_they_can_share(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="training.device is 'mps', expected auto, cuda or cpu"):
        Processes.join("mps")


def script(body):
    return [sys.executable, "-c", f"import os, sys, time; rank = os.environ['RANK']\n{body}"]


def test_the_code_of_the_main_process_is_the_runs():
    assert launch(script("sys.exit(0)"), 2) == 0
    assert launch(script("sys.exit(2)"), 2) == 2
    lost = LostProcessError.exit_code
    assert launch(script(f"sys.exit(3 if rank == '0' else {lost})"), 2) == 3


def test_a_process_that_fails_is_named_with_what_it_said():
    body = f"""
if rank == '1':
    sys.exit('error: no such file')
sys.exit({LostProcessError.exit_code})"""
    with pytest.raises(TrainingError, match="process 1 of 2 ended with exit code 1") as caught:
        launch(script(body), 2)
    assert "error: no such file" in str(caught.value.render())
    assert "--resume auto" in caught.value.render()


def test_a_process_that_is_killed_ends_the_others(monkeypatch):
    monkeypatch.setattr("omniflow.training.launch.GRACE_S", 0.2)
    body = "os.kill(os.getpid(), 9) if rank == '1' else time.sleep(60)"
    with pytest.raises(TrainingError, match="process 1 of 2 was ended by SIGKILL"):
        launch(script(body), 2)


@pytest.mark.parametrize("number", [2, 15])
def test_a_signal_is_handed_on_and_the_others_are_waited_for(number):
    body = f"""
import signal
def leave(number, frame):
    time.sleep(0.3 * int(rank))
    os._exit(128 + number)
signal.signal({number}, leave)
if rank == '0':
    time.sleep(0.5)
    os.kill(os.getppid(), {number})
time.sleep(60)"""
    assert launch(script(body), 2) == 128 + number
