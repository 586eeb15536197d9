"""What the folder of a run tells about it: recipe, figures along the steps, sizes and samples."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

RECIPE, METRICS = "recipe.yaml", "metrics.jsonl"

#: Where the sizes of a run's model are told; the first one there is.
_MODELS = ("best", "final", "latest")

#: Keys of a line of the log that are no figures.
_NO_FIGURES = frozenset({"step", "split"})

#: Ten times as fast where PyYAML comes with libyaml: a run reads its recipe at every evaluation.
_YamlLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Curve = list[tuple[int, float]]


@dataclass(frozen=True)
class RunRecord:
    """A run, as its folder tells it.

    Args:
        folder: The folder.
        recipe: The resolved recipe as plain data; empty when it cannot be read.
        curves: Split -> figure -> its values along the steps.
        steps: Last step in the log.
        training_seconds: Time of the steps, evaluations left out; None without a log line.
        parameters: Part of the model -> its parameters; None when no checkpoint tells.
        trainable: How many are trained; None likewise.
        notes: What is missing or damaged, a sentence each.
    """

    folder: Path
    recipe: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Curve]] = field(default_factory=dict)
    steps: int = 0
    training_seconds: float | None = None
    parameters: Mapping[str, int] | None = None
    trainable: int | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def nothing(cls) -> RunRecord:
        """What is known of a run that nobody named."""
        return cls(Path())

    def best(self, name: str) -> tuple[int, float] | None:
        """Step and value of the lowest validation figure of a name; None when there is none."""
        curve = self.curves.get("validation", {}).get(name)
        return min(curve, key=lambda point: point[1]) if curve else None

    def last(self, name: str, split: str = "train") -> float | None:
        """The last value of a figure."""
        curve = self.curves.get(split, {}).get(name)
        return curve[-1][1] if curve else None

    @property
    def codebook_size(self) -> int | None:
        """Codes of the head, where it has a codebook."""
        size = self.recipe.get("head", {}).get("codebook_size")
        return size if isinstance(size, int) else None


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return (folder / RECIPE).is_file() or (folder / METRICS).is_file()


def read_run(folder: Path) -> RunRecord:
    """Read what a run has written; what is missing is noted, and nothing stands in for it."""
    notes: list[str] = []
    recipe = _recipe(folder, notes)
    curves, seconds, steps = _log(folder, notes)
    if not curves.get("validation"):
        notes.append("it has no validation yet")
    parameters, trainable = _sizes(folder, notes)
    return RunRecord(
        folder=folder,
        recipe=recipe,
        curves=curves,
        steps=steps,
        training_seconds=seconds,
        parameters=parameters,
        trainable=trainable,
        notes=tuple(notes),
    )


def _recipe(folder: Path, notes: list[str]) -> Mapping[str, Any]:
    try:
        content = yaml.load((folder / RECIPE).read_text(encoding="utf-8"), _YamlLoader)
    except FileNotFoundError:
        notes.append(f"it has no {RECIPE}")
        return {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        notes.append(f"its {RECIPE} cannot be read ({type(error).__name__})")
        return {}
    if not isinstance(content, dict):
        notes.append(f"its {RECIPE} is no recipe")
        return {}
    return content


def _log(folder: Path, notes: list[str]) -> tuple[dict[str, dict[str, Curve]], float | None, int]:
    """Curves by split and name, seconds of all steps, and the last step."""
    curves: dict[str, dict[str, Curve]] = {}
    seconds, steps = None, 0
    for line in _lines(folder, notes):
        step, split = line["step"], line["split"]
        steps = max(steps, step)
        if split == "train" and isinstance(line.get("seconds"), int | float):
            seconds = (seconds or 0.0) + line["seconds"]
        of_split = curves.setdefault(split, {})
        for name, value in line.items():
            if name not in _NO_FIGURES and _is_figure(value):
                of_split.setdefault(name, []).append((step, float(value)))
    return curves, seconds, steps


def _lines(folder: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    damaged = 0
    try:
        with (folder / METRICS).open(encoding="utf-8", errors="replace") as file:
            for text in file:
                line = _line(text)
                if line is None:
                    damaged += 1
                else:
                    yield line
    except FileNotFoundError:
        notes.append(f"it has no {METRICS}")
    except OSError as error:
        notes.append(f"its {METRICS} cannot be read ({error.strerror or error})")
    if damaged:
        notes.append(f"{damaged} of the lines of its {METRICS} cannot be read and are left out")


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_whole = (
        isinstance(line, dict)
        and isinstance(line.get("step"), int)
        and isinstance(line.get("split"), str)
    )
    return line if is_whole else None


def _is_figure(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isfinite(value)


def _sizes(folder: Path, notes: list[str]) -> tuple[Mapping[str, int] | None, int | None]:
    for name in _MODELS:
        path = folder / name / "config.json"
        if not path.is_file():
            continue
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            return dict(config["parameters"]), int(config["trainable"])
        except (OSError, ValueError, TypeError):
            notes.append(f"{name}/config.json cannot be read")
            return None, None
        except KeyError:
            notes.append("its checkpoints do not tell how many parameters the model has")
            return None, None
    notes.append("it has no checkpoint yet, so parameters are not known")
    return None, None
