"""The splits of a recipe's datasets, as a run reads them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from omniflow.assembly import construct_component
from omniflow.errors import ConfigError, DataError
from omniflow.mixing import labels_of, weights_of
from omniflow.training.mixture import MixedDataset, Part
from omniflow.training.serving import ServingDataset

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset
    from omniflow.recipe import Choice, Recipe
    from omniflow.registry import Registry
    from omniflow.tasks import Task


def open_datasets(
    recipe: Recipe,
    registry: Registry,
    split: str,
    modalities: Collection[str],
    tasks: Mapping[Task, float] | None = None,
) -> Dataset:
    """One split of the recipe's datasets, as one dataset that brings the given modalities.

    Args:
        recipe: The recipe.
        registry: Where its names are looked up.
        split: The split. Datasets of weight 0 in it are not opened.
        modalities: What samples have to bring.
        tasks: The tasks of the run with their weights, of which samples have to serve one.

    Raises:
        ConfigError: If a dataset has tasks that the run has not, or a stream lacks a weight.
        DataError: If no dataset is named, or one of them has nothing in this split, or nothing that
            serves a task.
    """
    if not recipe.dataset:
        raise DataError("the recipe names no dataset", expected="at least one, such as scenes")
    parts: list[Part] = []
    choices = zip(
        recipe.dataset, labels_of(recipe.dataset), weights_of(recipe.dataset, split), strict=True
    )
    for choice, label, weight in choices:
        if weight == 0:
            continue
        own = tasks_of(choice, label, tasks or {})
        opened = construct_component(registry, "dataset", choice, split=split)
        dataset = ServingDataset(
            opened, label, tasks or {} if own is None else own, own is not None
        )
        dataset.restrict_to(modalities)
        if next(dataset.records(), None) is None:
            raise DataError(f"the {split} split of dataset {label} is empty")
        dataset.require_use()
        parts.append(Part(label, dataset, weight))
    if not parts:
        raise DataError(
            f"no dataset is left for {split}", expected="one with a validation_weight above 0"
        )
    return parts[0].dataset if len(parts) == 1 else MixedDataset(parts)


def tasks_of(choice: Choice, label: str, tasks: Mapping[Task, float]) -> dict[Task, float] | None:
    """The tasks that a dataset has of its own; None if it has none.

    Raises:
        ConfigError: If they are not among those of the run.
    """
    own = None if choice.mixing is None else choice.mixing.task_weights()
    for task, weight in (own or {}).items():
        if weight > 0 and not tasks.get(task, 0) > 0:
            raise ConfigError(
                f"dataset.{label}.tasks",
                str(task),
                where=choice.where.get("tasks"),
                expected=f"tasks of the objective: {', '.join(map(str, tasks)) or 'it has none'}",
            )
    return own
