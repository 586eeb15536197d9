"""How a dataset of a recipe is mixed with the others: its weight, its tasks, its label."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omniflow.errors import ConfigError
from omniflow.tasks import Task

if TYPE_CHECKING:
    from omniflow.recipe import Choice


@dataclass(frozen=True, kw_only=True)
class Mixing:
    """What an entry of `dataset` may hold beside the options of its component.

    Args:
        weight: How often it is drawn beside the others, above 0; proportions alone count. When
            null, 1 beside others that have one; without any, every sample is read once an epoch.
        validation_weight: The same in validation, 0 to leave it out there; when null, its weight.
        tasks: Tasks that its samples may serve, with their weights, or a list of equally frequent
            ones; when null, those of the objective.
        label: What it is called in `--set`, figures and messages; when null, its name.
    """

    weight: float | None = None
    validation_weight: float | None = None
    tasks: dict[str, float] | list[str] | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 < self.weight < math.inf:
            raise ConfigError("weight", self.weight, expected="a number above 0")
        if self.validation_weight is not None and not 0 <= self.validation_weight < math.inf:
            raise ConfigError("validation_weight", self.validation_weight, expected="a number >= 0")
        if self.label is not None and not re.fullmatch(r"[\w-]+", self.label):
            raise ConfigError(
                "label", self.label, expected="letters, digits, hyphens and underscores"
            )
        tasks = self.task_weights()
        for task, weight in (tasks or {}).items():
            if not 0 <= weight < math.inf:
                raise ConfigError(f"tasks.{task}", weight, expected="a number >= 0")
        if tasks is not None and not any(tasks.values()):
            raise ConfigError("tasks", self.tasks, expected="at least one task of weight above 0")

    def task_weights(self) -> dict[Task, float] | None:
        """The tasks of its own; None where there are none."""
        if self.tasks is None:
            return None
        said = self.tasks if isinstance(self.tasks, Mapping) else dict.fromkeys(self.tasks, 1.0)
        return {Task.parse(name): weight for name, weight in said.items()}

    def to_dict(self) -> dict[str, Any]:
        """What was said."""
        return {name: value for name, value in vars(self).items() if value is not None}


#: Words that a dataset's own options cannot be called.
MIXING_KEYS = tuple(Mixing.__dataclass_fields__)


def labels_of(choices: Sequence[Choice]) -> list[str]:
    """What the datasets are called: their labels or names, numbered where those are alike."""
    said = [None if choice.mixing is None else choice.mixing.label for choice in choices]
    names = [choice.name.rpartition(":")[2] for choice in choices]
    wanted = [label or name for label, name in zip(said, names, strict=True)]
    return [
        name if label or wanted.count(name) == 1 else f"{name}-{position}"
        for position, (label, name) in enumerate(zip(said, wanted, strict=True))
    ]


def weights_of(choices: Sequence[Choice], split: str) -> list[float | None]:
    """The weights in a split: of all datasets, 1 where none was said, or of none of them.

    A weight of 0 leaves a dataset out, whether the others have weights or not.
    """
    mixings = [choice.mixing or Mixing() for choice in choices]
    weights = [
        mixing.weight
        if split == "train" or mixing.validation_weight is None
        else mixing.validation_weight
        for mixing in mixings
    ]
    if any(weights) or any(mixing.weight is not None for mixing in mixings):
        return [1.0 if weight is None else weight for weight in weights]
    return weights
