"""What a step costs against the size of the data: from a thousand texts to a million.

    OMP_NUM_THREADS=1 python scripts/bench/dataset_size.py

Every row is a run of its own on `tiny` with dataset `text`, read by position or streamed. Seconds
are those of the processor, so that other work on the machine does not count. Memory is the most
that a run has held, what it has loaded before it opens the data included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from omniflow.assembly import assemble, construct_component
from omniflow.draft import Draft
from omniflow.interfaces import Objective
from omniflow.plugins import load_plugins
from omniflow.recipe import Recipe
from omniflow.resolve import resolve
from omniflow.training.order import SampleOrder
from omniflow.training.reporter import Reporter
from omniflow.training.splits import open_datasets
from omniflow.training.trainer import train

WORDS = (
    "a", "red", "blue", "large", "small", "circle", "square", "line", "above", "below", "near",
    "left", "right", "of", "the", "and", "two",
)  # fmt: skip


class Clock(Reporter):
    """Processor seconds at the end of every step."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def stepped(self, step: int) -> None:
        """Look at the clock."""
        self.times.append(time.process_time())


def write_texts(path: Path, count: int) -> None:
    """So many different lines, about 60 characters each."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            draws = (number * 2654435761 >> shift for shift in range(0, 33, 3))
            words = " ".join(WORDS[draw % len(WORDS)] for draw in draws)
            file.write(f"{words} {number}\n")


def settled(path: Path, *, streaming: bool, steps: int) -> Recipe:
    """The recipe of a run on a file."""
    said = {
        "backbone": "tiny",
        "head": {"name": "mlp", "hidden_dim": 256},
        "refiner": "mlp",
        "dataset": {"name": "text", "path": str(path), "streaming": streaming},
        "training": {
            "batch_size": 16, "epochs": 1000, "max_steps": steps, "eval_batches": 1,
            "log_interval": 10, "cache": False, "device": "cpu",
        },
    }  # fmt: skip
    return resolve(Draft.from_mapping(said), load_plugins().registry)


def measure(path: Path, folder: Path, *, streaming: bool, steps: int) -> dict[str, float]:
    """Seconds and memory of a run, and of what it does with the data alone."""
    registry = load_plugins().registry
    recipe = settled(path, streaming=streaming, steps=steps)
    before = time.process_time()
    objective: Objective = construct_component(registry, "objective", recipe.objective)
    dataset = open_datasets(recipe, registry, "train", objective.modalities)
    opened = time.process_time()
    order = SampleOrder(dataset, 0)
    order.samples(range(16))
    first = time.process_time()
    for start in range(16, 1616, 16):
        order.samples(range(start, start + 16))
    read = time.process_time()
    del order
    clock = Clock()
    # The index that is in use is shared, as it is by the splits of a run.
    train(recipe, output_dir=folder, registry=registry, reporter=clock)
    steps_taken = [after - step for step, after in zip(clock.times, clock.times[1:], strict=False)]
    return {
        "opening": opened - before,
        "first": first - opened,
        "batch": (read - first) / 100,
        "step": statistics.median(steps_taken),
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def in_a_fork(path: Path, folder: Path, **options: Any) -> dict[str, float]:
    """`measure` in a process of its own, which has everything imported already."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        figures = measure(path, folder, **options)
        os.write(writing, json.dumps(figures).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        told = pipe.read()
    if os.waitpid(child, 0)[1] or not told:
        raise SystemExit(f"the run on {path} failed")
    figures: dict[str, float] = json.loads(told)
    return figures


def row(kind: str, records: str, figures: Mapping[str, float], unit: str = "") -> None:
    """Print a line of the table."""
    digits = {"opening": 2, "first": 4, "batch": 5, "step": 4, "memory": 0}
    shown = [f"{figures[name]:.{2 if unit else places}f}" for name, places in digits.items()]
    print(f"| {kind} | {records} | {' | '.join(shown)} |", flush=True)


def main() -> None:
    """Measure both ways of reading at every size and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--records", type=int, nargs="+", default=[1_000, 10_000, 100_000, 1_000_000]
    )
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for count in arguments.records:
            write_texts(place / f"{count}.txt", count)
        # Loads all that is loaded when it is first needed.
        assemble(
            settled(place / f"{arguments.records[0]}.txt", streaming=False, steps=1),
            load_plugins().registry,
        )
        print(
            f"torch {torch.__version__}, {torch.get_num_threads()} thread(s); median of "
            f"{arguments.steps - 1} steps of 16 texts\n"
        )
        print(
            "| read | records | opening, s | first batch, s | a batch, s | a step, s | peak, MB |"
        )
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        for kind in ("by position", "streamed"):
            rows = []
            for count in arguments.records:
                run = place / f"{kind[:2]}-{count}"
                options = {"streaming": kind == "streamed", "steps": arguments.steps}
                rows.append(in_a_fork(place / f"{count}.txt", run, **options))
                row(kind, f"{count:,}", rows[-1])
            row(kind, "ratio", {key: rows[-1][key] / rows[0][key] for key in rows[0]}, unit="x")


if __name__ == "__main__":
    main()
