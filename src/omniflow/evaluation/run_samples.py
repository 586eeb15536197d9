"""What a run made at its evaluations: `samples/step-N.json` in its folder, media beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FORMAT = "omniflow.samples/1"

#: The folder in a run.
FOLDER = "samples"

_NAME = re.compile(r"step-(\d+)\.json")


@dataclass(frozen=True)
class RunSample:
    """One sample after so many steps.

    Args:
        id: Of the record of the validation split.
        task: What is given and what is made.
        given: Modality -> the text, or the file of the picture or sound, that was given.
        made: Modality -> what was made of it, likewise.
        reference: The record's own text; None where it has none.
        noise_level: Level that a given text started from; None where no text is given and made.
    """

    id: str
    task: str
    given: Mapping[str, str]
    made: Mapping[str, str]
    reference: str | None = None
    noise_level: float | None = None


def samples_path(run: Path, step: int) -> Path:
    """The file of a step."""
    return run / FOLDER / f"step-{step}.json"


def sampled_steps(run: Path) -> list[int]:
    """The steps that have samples, in their order."""
    found = (_NAME.fullmatch(path.name) for path in (run / FOLDER).glob("step-*.json"))
    return sorted(int(match[1]) for match in found if match)


def read_samples(run: Path, step: int) -> list[RunSample] | None:
    """The samples of a step; names of files are paths. None when they cannot be read."""
    path = samples_path(run, step)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            return None
        return [_from_json(one, path.parent) for one in content["samples"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def to_json(step: int, samples: list[RunSample]) -> dict[str, Any]:
    """The content of a step's file; paths must be names beside it."""
    return {
        "format": FORMAT,
        "step": step,
        "samples": [
            {
                "id": one.id,
                "task": one.task,
                "noise_level": one.noise_level,
                "given": dict(one.given),
                "made": dict(one.made),
                "reference": one.reference,
            }
            for one in samples
        ],
    }


def _from_json(one: Mapping[str, Any], folder: Path) -> RunSample:
    return RunSample(
        id=str(one["id"]),
        task=str(one["task"]),
        given=_placed(one["given"], folder),
        made=_placed(one["made"], folder),
        reference=one.get("reference"),
        noise_level=one.get("noise_level"),
    )


def _placed(values: Mapping[str, str], folder: Path) -> dict[str, str]:
    return {
        name: value if name == "text" else str(folder / value) for name, value in values.items()
    }
