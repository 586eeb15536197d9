"""The hooks: a line in `runs.csv`, beside the folder of a run, for every run that ends."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omniflow import hookimpl
from omniflow.hooks import Ending

COLUMNS = ("ended", "run", "head", "refiner", "dataset", "how", "steps", "best", "error")

#: What has been told of the runs of this process, by their folders.
_told: dict[Path, dict[str, str]] = {}


@hookimpl
def omniflow_run_started(folder: Path, recipe: Mapping[str, Any]) -> None:
    """Remember what the run is made of."""
    datasets = " ".join(each["name"] for each in recipe["dataset"])
    names = {kind: recipe[kind]["name"] for kind in ("head", "refiner")}
    _told[folder] = {**names, "dataset": datasets, "best": ""}


@hookimpl
def omniflow_evaluated(folder: Path, step: int, figures: Mapping[str, Any], is_best: bool) -> None:
    """Remember what the best evaluation so far measured."""
    if is_best:
        measured = (
            f"{name}={value:.4g}"
            for name, value in figures.items()
            if isinstance(value, int | float) and name not in ("step", "seconds")
        )
        _told[folder]["best"] = " ".join([f"step={step}", *measured])


@hookimpl
def omniflow_run_ended(folder: Path, how: Ending, step: int, error: str) -> None:
    """Write the line; what is in a run's own folder stays as it is."""
    line = {
        **_told.pop(folder),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "run": folder.name,
        "how": how,
        "steps": str(step),
        "error": error,
    }
    ledger = folder.parent / "runs.csv"
    is_new = not ledger.exists()
    with ledger.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(line)
