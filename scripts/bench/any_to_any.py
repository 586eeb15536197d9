"""Attribute accuracy of every task on scenes that were never trained on, as a markdown table.

    python scripts/bench/any_to_any.py                             # the table in the docs
    python scripts/bench/any_to_any.py --absent noise --tasks t2i  # absent streams as noise

What is made is read by the metric `scenes`: attributes of the true scene that are right, of those
that are true or were read for nothing. Inputs are pictures, captions and sounds of the test split,
whose combinations do not occur in training.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

import omniflow
from omniflow.datasets.scenes import ScenesDataset
from omniflow.interfaces import Sample, Score
from omniflow.metrics.scenes import score_scenes
from omniflow.model import OmniFlowModel
from omniflow.tasks import Task

TASKS = ("t2i", "i2t", "t2a", "a2t", "i2a", "a2i", "it2a", "at2i", "ia2t")


def generate(
    model: OmniFlowModel, task: Task, samples: list[Sample], start: int, settings: dict[str, Any]
) -> list[Any]:
    """What the model makes of some samples, in one batch."""
    given = {
        "text": ("prompt", [sample.text for sample in samples]),
        "image": ("image", [sample.image for sample in samples]),
        "audio": ("audio", [sample.audio for sample in samples]),
    }
    made = model.generate(task, seed=start, **dict(given[name] for name in task.given), **settings)
    return {"text": made.texts, "image": made.images, "audio": made.sounds}[task.made[0]]


def measure(
    model: OmniFlowModel, name: str, scenes: ScenesDataset, batch: int, settings: dict[str, Any]
) -> tuple[Score, float]:
    """The score of a task, and seconds a sample, reading left out."""
    task, count = Task.parse(name), len(scenes)
    outputs: list[Any] = []
    started = time.perf_counter()
    for start in range(0, count, batch):
        rows = range(start, min(start + batch, count))
        outputs += generate(model, task, [scenes[row] for row in rows], start, settings)
    seconds = time.perf_counter() - started
    return score_scenes(outputs, [scenes.scene(row) for row in range(count)]), seconds / count


def build(folder: str | None) -> OmniFlowModel:
    """The embedded model, or one in a folder, with its own last text projection."""
    if folder is None:
        return omniflow.build(head="linear", refiner="none")
    backbone = {"name": "folder", "path": folder}
    return omniflow.build(backbone=backbone, head="linear", refiner="none")


def main() -> None:
    """Measure the tasks and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--tasks", nargs="*", default=TASKS)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--folder", help="a model in the published layout instead of tiny")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--absent", choices=("noise", "drop"))
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--solver", choices=("euler", "heun", "ab2"))
    parser.add_argument("--clip-tokens", choices=("yes", "no"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = {
        name: getattr(options, name)
        for name in ("absent", "guidance", "steps", "solver")
        if getattr(options, name) is not None
    }
    if options.clip_tokens is not None:
        settings["clip_tokens"] = options.clip_tokens == "yes"
    model = build(options.folder)
    scenes = ScenesDataset(split=options.split, size=options.samples)
    columns = ("shape", "colour", "size", "relation", "place", "background", "count")
    print("| task | accuracy | whole scene |", " | ".join(columns), "| s a sample |")
    print("| --- | ---: | ---: |", " ---: |" * (len(columns) + 1))
    for name in options.tasks:
        score, seconds = measure(model, name, scenes, options.batch, settings)
        parts = " | ".join(f"{score.details.get(column, 0):.1%}" for column in columns)
        whole = score.details["exact"]
        print(f"| {name} | {score.value:.1%} | {whole:.1%} | {parts} | {seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
