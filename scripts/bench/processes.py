"""Two processes against one with twice the batch: the same numbers, and how much faster.

    python scripts/bench/processes.py                            # the table of docs/performance.md
    python scripts/bench/processes.py --steps 5 --rounds 1 --objectives text-decoder

Both train on `tiny` and `scenes` on the CPU, a thread a process; gradients pass over gloo. They
take turns. Efficiency is the time of one process over twice that of two, and needs two free cores;
of the processor's time, which leaves out waiting, it says on any machine what sharing adds.
Differences are the largest of any logged figure (relative) and of any weight at the end (absolute).
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from omniflow.draft import Draft
from omniflow.plugins import load_plugins
from omniflow.resolve import resolve
from omniflow.training.launch import launch
from omniflow.training.processes import Processes
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train

#: Steps whose times are not looked at.
WARM_UP = 2

#: Objective -> what is said besides. No averages, which would follow the weights at a distance.
OBJECTIVES = {
    "text-decoder": {"head": "mlp", "refiner": "mlp", "dataset": {"name": "scenes", "size": 512}},
    "flow": {
        "objective": {"name": "flow", "tasks": ["t2i", "i2t"]},
        "dataset": {"name": "scenes", "size": 256, "audio": False},
    },
}


class Clock(Reporter):
    """Notes when steps end, on the wall and for this process."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def stepped(self, step: int) -> None:
        """Note it."""
        self.ends.append((time.perf_counter(), time.process_time()))

    def seconds(self) -> list[float]:
        """Median seconds of a step: on the wall, of this process."""
        steps = list(zip(self.ends, self.ends[1:], strict=False))[WARM_UP:-1]
        return [statistics.median(end[i] - start[i] for start, end in steps) for i in (0, 1)]


def work(recipe_file: str, folder: Path) -> None:
    """What each process does: train, and let the main one write down how long steps took."""
    torch.set_num_threads(1)
    registry = load_plugins().registry
    clock = Clock()
    recipe = resolve(Draft.from_file(recipe_file), registry)
    train(recipe, output_dir=folder, registry=registry, reporter=clock)
    if Processes.join("cpu").is_main:
        (folder / "steps.json").write_text(json.dumps(clock.seconds()))


def run(
    objective: str, count: int, batch: int, steps: int, folder: Path, cache: Path
) -> list[float]:
    """Train in so many processes; returns the median seconds of a step, see `Clock.seconds`."""
    said = {
        "objective": objective,
        **OBJECTIVES[objective],
        "training": {
            "batch_size": batch // count, "max_steps": WARM_UP + steps + 2, "log_interval": 1,
            "eval_batches": 1, "eval_interval": 10**6, "save_interval": 10**6,
            "precision": "fp32", "device": "cpu", "ema_decay": 0.0, "cache_dir": str(cache),
            "warmup_steps": 0, "epochs": 10**4, "lr": 1e-4,
        },
    }  # fmt: skip
    recipe = resolve(Draft.from_mapping(said), load_plugins().registry)
    folder.mkdir()
    file = folder / "recipe.yaml"
    file.write_text(recipe.to_yaml())
    command = [sys.executable, __file__, "--work", str(file), str(folder / "run")]
    if launch(command, count) != 0:
        sys.exit(f"{count} processes have failed")
    seconds: list[float] = json.loads((folder / "run/steps.json").read_text())
    return seconds


def differences(one: Path, two: Path) -> tuple[float, float]:
    """Largest relative one of the training figures of all steps, largest one of the weights."""
    figures = 0.0
    clock = {"seconds", "samples_per_s"}
    files = [(run / "metrics.jsonl").read_text().splitlines() for run in (one, two)]
    for left, right in zip(*files, strict=True):
        ours, theirs = json.loads(left), json.loads(right)
        for name in ours.keys() - clock:
            value, other = ours[name], theirs[name]
            if isinstance(value, float) and not math.isclose(value, other, rel_tol=1e-12):
                figures = max(figures, abs(value - other) / max(abs(value), abs(other)))
    left, right = (load_file(run / "final/model.safetensors") for run in (one, two))
    weights = max(float((left[name] - right[name]).abs().max()) for name in left)
    return figures, weights


def main() -> None:
    """Train by turns and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=48, help="samples a step")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--objectives", nargs="*", choices=tuple(OBJECTIVES),
                        default=tuple(OBJECTIVES))  # fmt: skip
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.work[0], Path(options.work[1]))
        return
    print(
        "| objective | one, ms a step | two, ms a step | faster | efficiency "
        "| of the processor's time | difference of figures | of weights |"
    )
    print("| --- |" + " ---: |" * 7, flush=True)
    for objective in options.objectives:
        with tempfile.TemporaryDirectory() as name:
            folder, seconds = Path(name), {1: [], 2: []}
            for turn in range(options.rounds):
                for count, times in seconds.items():
                    place = folder / f"{count}-{turn}"
                    arguments = (options.batch, options.steps, place, folder / "cache")
                    times.append(run(objective, count, *arguments))
            (one, one_cpu), (two, two_cpu) = (
                [min(of_kind) for of_kind in zip(*times, strict=True)] for times in seconds.values()
            )
            figures, weights = differences(folder / "1-0/run", folder / "2-0/run")
        print(
            f"| {objective} | {1000 * one:.1f} | {1000 * two:.1f} | {one / two:.2f} x "
            f"| {one / two / 2:.0%} | {one_cpu / two_cpu / 2:.0%} "
            f"| {figures:.1e} | {weights:.1e} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
