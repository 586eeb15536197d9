"""Runs that are killed by SIGKILL at random moments and resumed end as if nobody had."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from omniflow.draft import Draft
from omniflow.plugins import load_plugins
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.trainer import train

DRIVER = Path(__file__).with_name("killing.py")
CLIP = Path(__file__).parents[1] / "parity/data/pipeline_tiny/external/clip_vit_l"
LINES = [f"{'word ' * (number % 7)}number {number}" for number in range(40)]

#: Objective, dataset, how its data are read, loader workers.
CASES = [
    ("text-decoder", "text", "mapped", 0),
    ("text-decoder", "text", "streaming", 2),
    ("flow", "scenes", "mapped", 2),
]

#: Before an operation on a file, and a moment after one; in every case.
KILLS = ["before", "after"]


def recipe_of(case, backbone, folder, registry):
    objective, dataset, reading, workers = case
    is_flow = objective == "flow"
    tasks = ["t2t"] if dataset == "text" else ["t2i", "i2t", "2it"]
    text = {"path": str(folder / "lines.txt"), "streaming": reading == "streaming"}
    said = {
        "backbone": {"name": "folder", "path": str(backbone), "clip": str(CLIP)},
        "objective": {"name": objective, "tasks": tasks if is_flow else ["t2t"]},
        "dataset": {
            "text": {"name": "text", "validation_share": 0.2, **text},
            "scenes": {"name": "scenes", "size": 12, "audio": False},
        }[dataset],
        "training": {
            "batch_size": 3, "samples": 0, "max_steps": 8, "log_interval": 3, "eval_interval": 4,
            "save_interval": 1, "keep": 2, "eval_batches": 1, "lr": 1e-2, "shuffle_block": 10,
            "workers": workers,
        },
        **({"head": {"name": "vq", "hidden_dim": 16, "codebook_size": 8}, "refiner": "mlp"}
            if not is_flow else {}),
    }  # fmt: skip
    return resolve(Draft.from_mapping(said), registry)


def name_of(case):
    return "-".join(map(str, case))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def endings(folder, random_backbone):
    """Case -> how every attempt ended."""
    registry = load_plugins().registry
    (folder / "lines.txt").write_text("\n".join(LINES))
    said = []
    for seed, case in enumerate(CASES):
        run = folder / name_of(case)
        file = folder / f"{run.name}.yaml"
        file.write_text(recipe_of(case, random_backbone, folder, registry).to_yaml())
        said.append({"recipe": str(file), "folder": str(run), "seed": seed, "kills": KILLS})
    (folder / "cases.json").write_text(json.dumps(said))
    files = [str(folder / "cases.json"), str(folder / "endings.json")]
    done = subprocess.run(
        [sys.executable, str(DRIVER), *files], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ended = json.loads((folder / "endings.json").read_text())
    assert all(each[-1] == "finished" for each in ended), done.stderr
    return dict(zip(CASES, ended, strict=True))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_killed_run_ends_as_if_it_had_not_been_killed(endings, folder, runs, case):
    assert endings[case] == ["finished", *["killed"] * len(KILLS), "finished"]
    whole, killed = folder / f"{name_of(case)}-whole", folder / name_of(case)
    runs.assert_same(whole, killed)
    for model in ("final", "best", "latest"):
        for file in ("model.safetensors", "config.json"):
            assert (whole / model / file).read_bytes() == (killed / model / file).read_bytes()
    # Nothing half-written stays behind.
    assert everything_in(killed) == everything_in(whole)


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_run_that_is_stopped_does_not_replace_the_checkpoint_it_has_just_saved(
    short_recipe, small_registry, runs, tmp_path
):
    class Counting(runs.StopAt):
        saved_at = ()

        def saved(self, folder):
            self.saved_at += (folder.name,)

    recipe = short_recipe()
    for step, saved in ((2, ("step-2",)), (3, ("step-2", "step-3"))):
        reporter, folder = Counting(step), tmp_path / str(step)
        with pytest.raises(InterruptedRunError, match=f"state saved in .*step-{step}"):
            train(recipe, output_dir=folder, registry=small_registry, reporter=reporter)
        assert reporter.saved_at == saved
        assert (folder / "latest").resolve().name == f"step-{step}"
